#include "src/comm/probe.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "src/base/bytes.h"
#include "src/base/clock.h"

namespace weft {

namespace {

constexpr uint64_t small_bytes = 8;
constexpr uint64_t middle_bytes = 64 << 10;
constexpr uint64_t large_bytes_max = 1 << 20;
constexpr uint64_t large_bytes_min = 128 << 10;
constexpr int small_rounds = 8;
constexpr int large_rounds = 2;
// What the large rounds of a pair may take together; slow wires get a smaller size.
constexpr Nanos large_ns_max = 60 * nanos_per_ms;
constexpr uint32_t samples_max = 64;

class Pair {
  public:
    Pair(Shard& shard, int32_t peer)
        : shard_(shard), peer_(peer), out_(large_bytes_max), in_(out_) {}

    void lead(std::vector<tune::Sample>& samples);
    void follow();

  private:
    Call call(bool is_send, uint64_t bytes) {
        Call made;
        made.coll = Coll::send_recv;
        made.is_send = is_send;
        made.root = peer_;
        made.count = bytes;
        made.type = DataType::uint8;
        made.send = is_send ? out_.data() : nullptr;
        made.recv = is_send ? nullptr : in_.data();
        return made;
    }
    bool run(std::vector<Call> calls);
    // Half of a round trip, 0 if it came to nothing. Both parts are posted at once, so that hearing
    // of the delivery is not in it.
    Nanos round(uint64_t bytes);
    bool answer(uint64_t bytes) { return run({call(false, bytes)}) && run({call(true, bytes)}); }
    Nanos measure(uint64_t bytes, int rounds, std::vector<tune::Sample>& samples);

    Shard& shard_;
    int32_t peer_;
    std::vector<std::byte> out_, in_;
};

// As blocking calls wait, so that ranks without a core of their own measure what they will see.
bool Pair::run(std::vector<Call> calls) {
    const Result<TicketPtr> ticket = shard_.submit(std::move(calls));
    if (!ticket.ok()) {
        return false;
    }
    const Waitable wait{&shard_, ticket.value().get()};
    return wait_all(std::span(&wait, 1)).ok();
}

Nanos Pair::round(uint64_t bytes) {
    const Nanos begin = clock_now();
    return run({call(true, bytes), call(false, bytes)}) ? (clock_now() - begin) / 2 : 0;
}

// The first round connects, or touches memory for the first time: it does not count.
Nanos Pair::measure(uint64_t bytes, int rounds, std::vector<tune::Sample>& samples) {
    Nanos least = 0;
    for (int i = 0; i <= rounds; i++) {
        const Nanos took = round(bytes);
        if (i > 0 && took > 0) {
            samples.push_back({bytes, took});
            least = least == 0 ? took : std::min(least, took);
        }
    }
    return least;
}

void Pair::lead(std::vector<tune::Sample>& samples) {
    measure(small_bytes, small_rounds, samples);
    const Nanos middle = std::max<Nanos>(measure(middle_bytes, large_rounds, samples), 1);
    // There and back, and once for nothing.
    constexpr Nanos trips = 2 * (large_rounds + 1);
    uint64_t large = large_bytes_max;
    while (large > large_bytes_min &&
           middle * static_cast<Nanos>(large / middle_bytes) * trips > large_ns_max) {
        large /= 2;
    }
    std::memcpy(out_.data(), &large, sizeof(large));
    if (run({call(true, sizeof(large))})) {
        measure(large, large_rounds, samples);
    }
}

void Pair::follow() {
    for (int i = 0; i <= small_rounds && answer(small_bytes); i++) {
    }
    for (int i = 0; i <= large_rounds && answer(middle_bytes); i++) {
    }
    uint64_t large = 0;
    if (!run({call(false, sizeof(large))})) {
        return;
    }
    std::memcpy(&large, in_.data(), sizeof(large));
    large = std::clamp(large, large_bytes_min, large_bytes_max);
    for (int i = 0; i <= large_rounds && answer(large); i++) {
    }
}

std::vector<tune::Sample> pair_run(Shard& shard, int32_t peer) {
    std::vector<tune::Sample> samples;
    if (peer < 0) {
        return samples;
    }
    Pair pair(shard, peer);
    if (shard.config().rank < peer) {
        pair.lead(samples);
    } else {
        pair.follow();
    }
    return samples;
}

void encode(ByteWriter& out, const std::vector<tune::Sample>& samples) {
    out.u32(static_cast<uint32_t>(samples.size()));
    for (const tune::Sample& sample : samples) {
        out.u64(sample.bytes).i64(sample.ns);
    }
}

Result<void> decode(ByteReader& in, std::vector<tune::Sample>& samples) {
    const uint32_t count = TRY(in.count(samples_max));
    for (uint32_t i = 0; i < count; i++) {
        tune::Sample sample;
        sample.bytes = TRY(in.u64());
        sample.ns = TRY(in.i64());
        samples.push_back(sample);
    }
    return {};
}

}  // namespace

ProbePairs probe_pairs(const std::vector<std::vector<int32_t>>& hosts, int32_t rank) {
    ProbePairs pairs;
    for (size_t host = 0; host < hosts.size(); host++) {
        const std::vector<int32_t>& ranks = hosts[host];
        if (ranks.size() > 1 && (rank == ranks[0] || rank == ranks[1])) {
            pairs.inside = rank == ranks[0] ? ranks[1] : ranks[0];
        }
        const size_t other = host ^ 1;
        if (rank == ranks[0] && other < hosts.size()) {
            pairs.between = hosts[other][0];
        }
    }
    return pairs;
}

std::string probe_run(Shard& shard, const ProbePairs& pairs) {
    ByteWriter out;
    encode(out, pair_run(shard, pairs.inside));
    encode(out, pair_run(shard, pairs.between));
    return out.take();
}

Result<void> probe_merge(const std::vector<std::string>& blobs, tune::Table& table) {
    std::vector<tune::Sample> inside, between;
    for (const std::string& blob : blobs) {
        ByteReader in(blob);
        TRY(decode(in, inside));
        TRY(decode(in, between));
        TRY(in.end());
    }
    tune::Measured near, far;
    if (!inside.empty()) {
        near = TRY(tune::measured_of(std::move(inside)));
    }
    if (!between.empty()) {
        far = TRY(tune::measured_of(std::move(between)));
    }
    tune::table_measured(table, near.latency_ns > 0 ? &near : nullptr,
                         far.latency_ns > 0 ? &far : nullptr);
    return {};
}

}  // namespace weft
