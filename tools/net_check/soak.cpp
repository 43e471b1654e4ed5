// Long load. Half of the connections send from rank 0, half from rank 1. Each has 32 requests under
// way, goes through the same groups of messages again and again, other bytes each time, and
// compares all of them; meanwhile the service threads register and deregister. What the processes
// hold is read three times: before the load, when it has settled, and under it at the end. Between
// the last two nothing may have grown: a program that trains for weeks makes more messages than any
// bound on one of them forgives.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <sstream>

#include "src/base/log.h"
#include "tools/net_check/checks.h"
#include "tools/net_check/usage.h"

namespace weft::netcheck {

namespace {

constexpr Nanos settle_most = 10 * nanos_per_s;
constexpr auto tick = std::chrono::milliseconds(20);
constexpr size_t churn_bytes = 256 << 10;
constexpr size_t groups_in_round = 40;  // at least the window: a place is busy but once
// What a transport may still touch for the first time: the rings of its queues, which are written
// entry by entry until they wrap (10 MiB in libfabric's tcp;ofi_rxm), buffers that a connection
// uses in turn, and pools, whose high-water marks the load reaches by chance. Twice what came on 2
// cores that were shared by 12 busy processes. With 64 connections the smallest block of malloc, 32
// bytes, lost with every message is above this after 790,000 of them.
constexpr uint64_t growth_kib_process = 16 << 10;
constexpr uint64_t growth_kib_connection = 128;

// A sanitizer keeps what was freed, and shadows of everything: its growth is no leak. g++ says by a
// macro that it is there, clang by a feature.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WEFT_NET_CHECK_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_NET_CHECK_SANITIZER
#endif
#if defined(WEFT_NET_CHECK_SANITIZER)
constexpr bool memory_judged = false;
#else
constexpr bool memory_judged = true;
#endif

// Sizes, rooms, groups and tags in an order that no two of them share.
std::vector<Group> groups_mixed(int group_most, size_t bytes_most) {
    constexpr size_t sizes[] = {8, 65536, 0, 8192, 8, 300, 65537, 8191, 1, 4096, 8193};
    constexpr int counts[] = {1, 1, 2, 1, 4, 1, 8};
    std::vector<Group> groups;
    size_t next = 0;
    for (size_t i = 0; i < groups_in_round; i++) {
        Group group;
        const int n = std::min(counts[i % std::size(counts)], group_most);
        for (int member = 0; member < n; member++, next++) {
            const bool long_one = i % 20 == 10 && member == 0;
            const size_t size =
                std::min(long_one ? size_t{1} << 20 : sizes[next % std::size(sizes)], bytes_most);
            const size_t more = next % 3 == 0 ? 100 : 0;
            group.push_back({size, size + more, n == 1 ? 5 : 100 - 7 * member, next % 5 * 8});
        }
        groups.push_back(std::move(group));
    }
    return groups;
}

std::string numbers_pack(const std::vector<size_t>& numbers) {
    std::ostringstream text;
    for (const size_t number : numbers) {
        text << number << ' ';
    }
    return text.str();
}

std::vector<size_t> numbers_unpack(const std::string& text) {
    std::istringstream words(text);
    return {std::istream_iterator<size_t>(words), std::istream_iterator<size_t>()};
}

class Soak {
  public:
    explicit Soak(Bench& bench) : bench_(bench) {}
    Result<void> open();
    Result<void> load();
    Result<void> close();

  private:
    Result<void> lines_make(int sender, int count);
    Result<void> work();
    void ends_note();
    bool done() const;
    Result<void> churn();
    Result<void> load_until(Nanos until);
    Result<void> rounds_agree();
    Result<void> judge(const Usage& settled, const Usage& end) const;
    Result<void> report(const Usage (&own)[3]);
    std::vector<Flow>& of(bool sends) { return sends ? sending_ : receiving_; }

    Bench& bench_;
    std::vector<Lines> lines_;
    std::vector<Flow> sending_, receiving_;
    Memory churned_{churn_bytes};
    size_t churns_ = 0;
    // What the checking thread and the progress thread say to each other.
    std::atomic<bool> end_ = false;    // of what this side sends
    std::atomic<bool> ended_ = false;  // the progress thread goes no further
    // Of each connection, how many rounds there will have been; written before its flag is set.
    std::vector<size_t> own_rounds_, peer_rounds_;  // by who sends
    std::atomic<bool> own_known_ = false, peer_known_ = false;
    bool told_ = false, heard_ = false;  // of the progress thread
    // Last: it ends first, and with it the threads that use the rest.
    std::unique_ptr<Communicator> communicator_;
};

Result<void> Soak::open() {
    communicator_ = TRY(Communicator::open(bench_));
    const int count = bench_.limits.connections;
    TRY(lines_make(0, (count + 1) / 2));
    TRY(lines_make(1, count / 2));
    return bench_.channel.barrier();
}

Result<void> Soak::lines_make(int sender, int count) {
    if (count == 0) {
        return {};
    }
    lines_.push_back(TRY(lines_open(bench_, *communicator_, {0, sender, count})));
    Lines& lines = lines_.back();
    std::vector<Flow>& flows = of(lines.sends);
    for (size_t i = 0; i < lines.ends.size(); i++) {
        Transfer transfer;
        transfer.groups = groups_mixed(std::clamp(communicator_->properties().recvs_max, 1, 8),
                                       bench_.limits.bytes);
        transfer.window = netplugin::requests_max;
        transfer.endless = true;
        transfer.seed = 1 + i + 1000 * static_cast<size_t>(sender);
        flows.emplace_back(bench_, lines, i, std::move(transfer));
        TRY(flows.back().prepare());
    }
    return {};
}

bool Soak::done() const {
    const auto all = [](const std::vector<Flow>& flows) {
        return std::all_of(flows.begin(), flows.end(),
                           [](const Flow& flow) { return flow.done(); });
    };
    return all(sending_) && all(receiving_);
}

// Both sides of a connection end with the same round; the sending one chooses it.
void Soak::ends_note() {
    if (end_ && !told_) {
        for (Flow& flow : sending_) {
            own_rounds_.push_back(flow.rounds_least());
            flow.rounds_set(own_rounds_.back());
        }
        told_ = true;
        own_known_ = true;
    }
    if (!heard_ && peer_known_) {
        for (size_t i = 0; i < receiving_.size(); i++) {
            receiving_[i].rounds_set(peer_rounds_[i]);
        }
        heard_ = true;
    }
}

Result<void> Soak::work() {
    Patience patience(bench_, "no message of any connection goes on");
    while (!(told_ && heard_ && done())) {
        bool moved = false;
        for (std::vector<Flow>* flows : {&sending_, &receiving_}) {
            for (Flow& flow : *flows) {
                const bool some = TRY(flow.step());
                moved = moved || some;
            }
        }
        ends_note();
        if (moved) {
            patience.progress();
        } else {
            TRY(patience.pause());
        }
    }
    return {};
}

// As NCCL registers user buffers while others are in use.
Result<void> Soak::churn() {
    const Lines& lines = lines_[churns_ % lines_.size()];
    void* const comm = lines.ends[churns_ / lines_.size() % lines.ends.size()];
    churns_++;
    return communicator_->service.run([&]() -> Result<void> {
        Net& net = communicator_->net();
        void* mr = nullptr;
        const std::span<uint8_t> all = churned_.span();
        TRY(good(net.reg_mr(comm, all.data(), all.size(), netplugin::pointer_host, &mr), "regMr"));
        return good(net.dereg_mr(comm, mr), "deregMr");
    });
}

Result<void> Soak::load_until(Nanos until) {
    while (clock_now() < until && !ended_) {
        TRY(churn());
        std::this_thread::sleep_for(tick);
    }
    return {};
}

Result<void> Soak::rounds_agree() {
    end_ = true;
    while (!own_known_ && !ended_) {
        std::this_thread::sleep_for(tick);
    }
    if (!ended_) {
        TRY(bench_.channel.send(numbers_pack(own_rounds_)));
        const std::string said = TRY(bench_.channel.receive());
        peer_rounds_ = numbers_unpack(said);
        TRY(expect(peer_rounds_.size() == receiving_.size(),
                   "the two ranks differ in connections"));
        peer_known_ = true;
    }
    return communicator_->progress.finish();
}

Result<void> Soak::load() {
    const Nanos begin = clock_now();
    const Nanos settle = std::min(settle_most, bench_.limits.soak / 3);
    Usage usages[3];
    usages[0] = TRY(usage_now());
    communicator_->progress.start([this] {
        Result<void> result = work();
        ended_ = true;
        return result;
    });
    Result<void> went = load_until(begin + settle);
    if (went.ok()) {
        usages[1] = TRY(usage_now());
        went = load_until(begin + bench_.limits.soak);
        usages[2] = TRY(usage_now());
    }
    Result<void> ended = rounds_agree();  // in any case: the thread uses what is here
    TRY(std::move(went));
    TRY(std::move(ended));
    return report(usages);
}

Result<void> Soak::judge(const Usage& settled, const Usage& end) const {
    const uint64_t bound = growth_kib_process +
                           growth_kib_connection * static_cast<uint64_t>(bench_.limits.connections);
    TRY(expect(!memory_judged || end.resident_kib <= settled.resident_kib + bound,
               format("memory grows under load: from %llu to %llu KiB since it settled, with %d "
                      "connections at most %llu KiB may come",
                      static_cast<unsigned long long>(settled.resident_kib),
                      static_cast<unsigned long long>(end.resident_kib), bench_.limits.connections,
                      static_cast<unsigned long long>(bound))));
    TRY(expect(end.pinned_kib <= settled.pinned_kib + bound,
               format("registered memory grows under load: %llu KiB are pinned, then %llu",
                      static_cast<unsigned long long>(settled.pinned_kib),
                      static_cast<unsigned long long>(end.pinned_kib))));
    return expect(end.descriptors == settled.descriptors,
                  format("descriptors change under load: %llu are open, then %llu",
                         static_cast<unsigned long long>(settled.descriptors),
                         static_cast<unsigned long long>(end.descriptors)));
}

Result<void> Soak::report(const Usage (&own)[3]) {
    std::ostringstream text;
    size_t messages = 0, bytes = 0, registered = churn_bytes;
    for (const bool sends : {true, false}) {
        const std::vector<size_t>& rounds = sends ? own_rounds_ : peer_rounds_;
        for (size_t i = 0; i < rounds.size(); i++) {
            const Flow& flow = of(sends)[i];
            messages += rounds[i] * flow.round_messages();
            bytes += rounds[i] * flow.round_bytes();
            registered += flow.bytes();
        }
    }
    text << "connections=" << bench_.limits.connections
         << " seconds=" << bench_.limits.soak / nanos_per_s << " messages=" << messages
         << " mib=" << (bytes >> 20) << " registrations=" << churns_
         << " rank0_registered_kib=" << registered / 1024;
    constexpr const char* moments[] = {"begin", "settled", "end"};
    for (int i = 0; i < 3; i++) {
        TRY(bench_.channel.send(usage_pack(own[i])));
        const std::string said = TRY(bench_.channel.receive());
        const Usage peers = TRY(usage_unpack(said));
        const Usage* both[] = {&own[i], &peers};
        for (int rank = 0; rank < 2; rank++) {
            const Usage& one = *both[rank == bench_.rank ? 0 : 1];
            const std::string of_rank = " rank" + std::to_string(rank);
            const std::string at = std::string("_") + moments[i] + "=";
            text << of_rank << "_resident_kib" << at << one.resident_kib << of_rank << "_pinned_kib"
                 << at << one.pinned_kib << of_rank << "_descriptors" << at << one.descriptors;
        }
    }
    bench_.figures = text.str();
    return judge(own[1], own[2]);
}

Result<void> Soak::close() {
    for (const bool sends : {true, false}) {
        for (Flow& flow : of(sends)) {
            TRY(flow.release());
        }
    }
    TRY(bench_.channel.barrier());
    for (Lines& lines : lines_) {
        TRY(lines_close(lines));
    }
    return communicator_->close();
}

}  // namespace

Result<void> soak_run(Bench& bench) {
    Soak soak(bench);
    TRY(soak.open());
    TRY(soak.load());
    return soak.close();
}

}  // namespace weft::netcheck
