// What grants and puts cost over plain libfabric: the same pair of processes, on the same loopback,
// takes turns between a raw loop of fi_writedata with four in flight and puts of the link layer,
// each allowed by a grant; between a raw 8-byte write and an 8-byte put, each waited for until the
// peer is known to have it; and between a ping-pong of raw 8-byte writes and one of 8-byte messages
// (puts by value). Both poll without pause. Prints the median
// of the ratios of neighbouring turns; the absolute figures are of this machine and minute.
//
// With --raw only the raw loops run, for a comparison with what runs in processes of its own
// (perf/net_bars.py), and their figures are printed as name=number.
//
//   weft-fabric-bench [--raw] [PROVIDER [SOURCE]]     default: tcp;ofi_rxm 127.0.0.1
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "perf/link/processes.h"
#include "perf/link/raw_fabric.h"
#include "perf/link/wire_end.h"
#include "transports/hubs.h"
#include "transports/link.h"

namespace {

using namespace weft;
using bench::must;
using bench::now_us;
using bench::stop;
using bench::WireEnd;

constexpr size_t put_bytes = 1 << 20;
constexpr uint64_t in_flight = 4;
constexpr uint64_t puts = 512;  // a turn, long beside the grace of the service thread
constexpr uint64_t pings = 6000;
constexpr int turns = 21;
constexpr int raw_turns = 7;

// One rank of two, over links.
class LinkSide final : public LinkSink {
  public:
    LinkSide(int end, uint32_t rank, WireHub& hub, void* memory)
        : rank_(rank), memory_(memory), bell_(must(Doorbell::create())) {
        wire_ = must(hub.attach({bench::link_group, rank, 2, &bell_, {}}));
        std::vector<Links::Peer> peers(2);
        peers[peer()] = {wire_.get(), bench::swap(end, wire_->address())};
        links_ = std::make_unique<Links>(LinkConfig{rank, 2}, std::move(peers));
        const auto prepared = links_->prepare(peer());
        if (!prepared.ok()) {
            stop(prepared.error().what);
        }
        region_ = must(wire_->expose(memory, put_bytes));
        while (!links_->up(peer())) {
            drive();
        }
        bench::swap(end, ".");
    }
    ~LinkSide() override { wire_->conceal(region_); }

    void drive() { links_->progress(*this, clock_now(), 64); }
    void ping() {
        while (links_->send(peer(), {}, memory_, sizeof(uint64_t)) == Post::again) {
            drive();
        }
    }
    void grant() {
        GrantBody body;
        while (!links_->grant_open(peer(), region_, 0, put_bytes, 0, &body)) {
            drive();
        }
        MsgHeader header;
        header.kind = MsgKind::grant;
        while (links_->send(peer(), header, &body, body.message_bytes()) == Post::again) {
            drive();
        }
    }

    uint64_t messages = 0, filled = 0, delivered = 0;

  private:
    uint32_t peer() const { return 1 - rank_; }
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) override {
        if (header.kind == MsgKind::grant) {
            GrantBody body;
            if (!GrantBody::read(&body, payload, header.bytes)) {
                stop("a grant that is none");
            }
            links_->slot_release(slot);
            links_->put_start(peer(), body, memory_, region_, 0);
            return;
        }
        links_->slot_release(slot);
        messages++;
    }
    void on_grant_filled(uint64_t) override { filled++; }
    void on_put_delivered(uint64_t) override { delivered++; }
    void on_link_failure(uint32_t, Error error) override { stop(error.what); }

    const uint32_t rank_;
    void* memory_;
    Doorbell bell_;
    std::unique_ptr<Wire> wire_;
    std::unique_ptr<Links> links_;
    Region region_;
};

// One rank of two, over the wire alone: what a put costs once it is allowed.
class WireSide {
  public:
    WireSide(int pipe, uint32_t rank, WireHub& hub, void* memory)
        : memory_(memory), end_(pipe, rank, hub, WireEnd::Time::real) {
        const uint32_t token = must(end_.wire().tokens_reserve(1));
        region_ = must(end_.wire().expose(memory, sizeof(uint64_t)));
        const RemoteRef mine = end_.wire().ref(region_, 0, end_.peer());
        std::string told(reinterpret_cast<const char*>(&mine), sizeof mine);
        told.append(reinterpret_cast<const char*>(&token), sizeof token);
        told = end_.swap(told);
        std::memcpy(&to_, told.data(), sizeof to_);
        std::memcpy(&to_token_, told.data() + sizeof to_, sizeof to_token_);
    }
    ~WireSide() { end_.wire().conceal(region_); }
    WireSide(const WireSide&) = delete;
    WireSide& operator=(const WireSide&) = delete;

    uint64_t arrived() const { return end_.arrived; }
    uint64_t delivered() const { return end_.delivered; }
    void drive() { end_.drive(); }
    void put_word() {
        Put put;
        put.peer = end_.peer();
        put.to = to_;
        put.from = memory_;
        put.bytes = sizeof(uint64_t);
        put.from_region = region_;
        put.imm.token = to_token_;
        end_.post(put);
    }

  private:
    void* memory_;
    WireEnd end_;
    Region region_;
    uint32_t to_token_ = 0;
    RemoteRef to_;
};

// Rank 0 puts to rank 1; the turn ends on both sides when rank 0 knows that all have arrived.
void raw_puts(bench::RawFabric& raw, bool sender) {
    const uint64_t arrived = raw.arrived;
    for (uint64_t i = 0; sender && i < puts; i++) {
        while (raw.written - raw.finished >= in_flight) {
            raw.poll();
        }
        raw.write(put_bytes);
    }
    while (raw.arrived < arrived + (sender ? 1 : puts)) {
        raw.poll();
    }
    if (!sender) {
        raw.write(sizeof(uint64_t));
    }
    while (raw.finished < raw.written) {
        raw.poll();
    }
}

void link_puts(LinkSide& side, bool sender) {
    const uint64_t filled = side.filled, delivered = side.delivered, messages = side.messages;
    if (sender) {
        while (side.delivered < delivered + puts || side.messages == messages) {
            side.drive();
        }
        return;
    }
    for (uint64_t granted = 0; side.filled < filled + puts;) {
        if (granted < puts && granted - (side.filled - filled) < in_flight) {
            side.grant();
            granted++;
        } else {
            side.drive();
        }
    }
    side.ping();
}

void raw_pings(bench::RawFabric& raw, bool first) {
    for (uint64_t i = 0; i < pings; i++) {
        const uint64_t arrived = raw.arrived;
        if (first) {
            raw.write(sizeof(uint64_t));
        }
        while (raw.arrived == arrived) {
            raw.poll();
        }
        if (!first) {
            raw.write(sizeof(uint64_t));
        }
    }
    while (raw.finished < raw.written) {
        raw.poll();
    }
}

void link_pings(LinkSide& side, bool first) {
    for (uint64_t i = 0; i < pings; i++) {
        const uint64_t messages = side.messages;
        if (first) {
            side.ping();
        }
        while (side.messages == messages) {
            side.drive();
        }
        if (!first) {
            side.ping();
        }
    }
}

// One after the other, each waited for: what a put costs until it is known that the peer has it.
void raw_deliveries(bench::RawFabric& raw, bool sender) {
    const uint64_t arrived = raw.arrived;
    for (uint64_t i = 0; sender && i < pings; i++) {
        raw.write_delivered(sizeof(uint64_t));
        while (raw.finished < raw.written) {
            raw.poll();
        }
    }
    while (!sender && raw.arrived < arrived + pings) {
        raw.poll();
    }
}

void our_deliveries(WireSide& wire, bool sender) {
    const uint64_t arrived = wire.arrived(), delivered = wire.delivered();
    for (uint64_t i = 0; sender && i < pings; i++) {
        wire.put_word();
        while (wire.delivered() < delivered + i + 1) {
            wire.drive();
        }
    }
    while (!sender && wire.arrived() < arrived + pings) {
        wire.drive();
    }
}

template <class Turn>
double turn_us(int end, Turn turn) {
    bench::swap(end, ".");
    const double begin = now_us();
    turn();
    return now_us() - begin;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Each pair of neighbouring turns gives one ratio; who goes first changes from pair to pair.
template <class Raw, class Link>
void compare(int end, bool printer, const char* what, double unit, const char* unit_name, Raw raw,
             Link link) {
    std::vector<double> raws, links, ratios;
    for (int turn = -1; turn < turns; turn++) {
        double of_raw = 0, of_link = 0;
        if (turn % 2 == 0) {
            of_raw = turn_us(end, raw);
            of_link = turn_us(end, link);
        } else {
            of_link = turn_us(end, link);
            of_raw = turn_us(end, raw);
        }
        if (turn >= 0) {  // the first touches memory and connects
            raws.push_back(of_raw);
            links.push_back(of_link);
            ratios.push_back(of_raw / of_link);
        }
    }
    if (printer) {
        std::printf(
            "%s: raw %.2f %s, links %.2f %s; raw time / links' time %.3f (median of %d, %.3f to "
            "%.3f)\n",
            what, median(raws) * unit, unit_name, median(links) * unit, unit_name, median(ratios),
            turns, *std::min_element(ratios.begin(), ratios.end()),
            *std::max_element(ratios.begin(), ratios.end()));
        std::fflush(stdout);
    }
}

void* memory_make() {
    void* memory = std::aligned_alloc(4096, put_bytes);
    std::memset(memory, 1, put_bytes);
    return memory;
}

// The names are those of weft-net-check --bench.
void run_raw(int end, bool first, const std::string& provider, const std::string& source) {
    bench::RawFabric raw(provider, source, memory_make(), put_bytes,
                         [end](const std::string& mine) { return bench::swap(end, mine); });
    std::vector<double> put_us, ping_us;
    for (int turn = -1; turn < raw_turns; turn++) {
        const double of_puts = turn_us(end, [&] { raw_puts(raw, first); });
        const double of_pings = turn_us(end, [&] { raw_pings(raw, first); });
        if (turn >= 0) {  // as in compare
            put_us.push_back(of_puts / static_cast<double>(puts));
            ping_us.push_back(of_pings * 0.5 / static_cast<double>(pings));
        }
    }
    if (first) {
        std::printf("latency_us=%.3f mb_per_s_1m=%.1f\n", median(ping_us),
                    static_cast<double>(put_bytes) / median(put_us));
        std::fflush(stdout);
    }
    bench::swap(end, ".");
}

void run(int end, bool first, const std::string& provider, const std::string& source) {
    void* memory = memory_make();
    const auto reactor = reactor_make();
    FabricOptions options;
    options.provider = provider;
    if (!source.empty()) {
        options.rails = {source};
    }
    const auto hub = must(fabric_hub_make(*reactor, options));
    LinkSide side(end, first ? 0 : 1, *hub, memory);
    WireSide wire(end, first ? 0 : 1, *hub, memory);
    bench::RawFabric raw(provider, source, memory, put_bytes,
                         [end](const std::string& mine) { return bench::swap(end, mine); });
    const double per_put = 1.0 / static_cast<double>(puts);
    const double per_ping = 0.5 / static_cast<double>(pings);
    compare(
        end, first, "1 MiB puts, 4 in flight, time of one", per_put, "us",
        [&] { raw_puts(raw, first); }, [&] { link_puts(side, first); });
    compare(
        end, first, "8 bytes, put to completion", 2 * per_ping, "us",
        [&] { raw_deliveries(raw, first); }, [&] { our_deliveries(wire, first); });
    compare(
        end, first, "8 bytes as a message, half a round trip", per_ping, "us",
        [&] { raw_pings(raw, first); }, [&] { link_pings(side, first); });
    bench::swap(end, ".");
}

}  // namespace

int main(int argc, char** argv) {
    const bool raw = argc > 1 && std::strcmp(argv[1], "--raw") == 0;
    const int at = raw ? 2 : 1;
    const std::string provider = argc > at ? argv[at] : "tcp;ofi_rxm";
    const std::string source = argc > at + 1 ? argv[at + 1] : argc > at ? "" : "127.0.0.1";
    const bench::Pipes pipes;
    const pid_t child = ::fork();
    ::close(pipes.end[child == 0 ? 0 : 1]);
    (raw ? run_raw : run)(pipes.end[child == 0 ? 1 : 0], child != 0, provider, source);
    if (child == 0) {
        std::_Exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status == 0 ? 0 : 1;
}
