// Two processes' worth of fabric in one: hubs, wires and sinks that remember what happened.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/base/log.h"
#include "src/base/reactor.h"
#include "tests/catch.h"
#include "transports/hubs.h"

namespace weft::test {

struct Arrival {
    Imm imm;
    std::string value;
};

class RecordingSink final : public WireSink {
  public:
    void on_arrival(Imm imm, const std::byte* value, uint32_t bytes) override {
        arrivals.push_back({imm, {reinterpret_cast<const char*>(value), bytes}});
    }
    void on_delivered(uint64_t cookie) override { delivered.push_back(cookie); }
    void on_failure(uint32_t peer, Error error) override {
        failures.emplace_back(peer, std::move(error.what));
    }
    std::vector<Arrival> arrivals;
    std::vector<uint64_t> delivered;
    std::vector<std::pair<uint32_t, std::string>> failures;
};

struct Rank {
    std::unique_ptr<Wire> wire;
    RecordingSink sink;
    uint32_t token = 0;
    void progress() { wire->progress(sink, clock_now(), 64); }
};

// libfabric's shm names its segments after the process: one that was killed and had the same number
// may have left some, and then no endpoint can be opened.
inline void segments_clear(pid_t process) {
    for (int endpoint = 0; endpoint < 16; ++endpoint) {
        unlink(format("/dev/shm/%d:%u:%d", process, getuid(), endpoint).c_str());
    }
}

inline std::unique_ptr<WireHub> hub_open(Reactor& reactor, const FabricOptions& options) {
    static std::once_flag once;
    std::call_once(once, [] { segments_clear(getpid()); });
    auto hub = fabric_hub_make(reactor, options);
    if (!hub.ok()) {
        FAIL(hub.error().what);
    }
    return std::move(hub).value();
}

inline Rank rank_attach(WireHub& hub, uint64_t group, uint32_t rank, uint32_t count,
                        Doorbell* doorbell = nullptr) {
    Rank made;
    auto wire = hub.attach({group, rank, count, doorbell});
    REQUIRE(wire.ok());
    made.wire = std::move(wire).value();
    auto token = made.wire->tokens_reserve(64);
    REQUIRE(token.ok());
    made.token = token.value();
    return made;
}

// Progresses all ranks until `done`, at most `seconds`.
inline bool drive(const std::vector<Rank*>& ranks, const std::function<bool()>& done,
                  int seconds = 20) {
    Nanos limit = clock_now() + seconds * nanos_per_s;
    while (!done()) {
        if (clock_now() > limit) {
            return false;
        }
        for (Rank* rank : ranks) {
            rank->progress();
        }
        std::this_thread::yield();
    }
    return true;
}

inline void connect_pair(Rank& a, uint32_t name_a, Rank& b, uint32_t name_b) {
    REQUIRE(a.wire->connect(name_b, b.wire->address(), "hello of a").ok());
    REQUIRE(b.wire->connect(name_a, a.wire->address(), "hello of b").ok());
    REQUIRE(drive({&a, &b}, [&] {
        return a.wire->state(name_b) == PeerState::up && b.wire->state(name_a) == PeerState::up;
    }));
    REQUIRE(a.wire->hello_of(name_b) == "hello of b");
    REQUIRE(b.wire->hello_of(name_a) == "hello of a");
}

// A put repeated while it answers `again`.
inline bool put_soon(Rank& from, const std::vector<Rank*>& ranks, const Put& put) {
    return drive(ranks, [&] { return from.wire->put(put) == Post::accepted; });
}

// The first NICs of the machine by PCI address, as rdma-core names them: rdmap16s27.
inline std::vector<std::string> nic_names(const std::string& provider, size_t count) {
    const auto reactor = reactor_make();
    FabricOptions options;
    options.provider = provider;
    std::vector<std::string> names;
    for (const std::string& nic : hub_open(*reactor, options)->nics()) {
        unsigned bus = 0, slot = 0;
        REQUIRE(std::sscanf(nic.c_str(), "%*x:%x:%x", &bus, &slot) == 2);
        names.push_back("rdmap" + std::to_string(bus) + "s" + std::to_string(slot));
    }
    names.resize(std::min(names.size(), count));
    return names;
}

inline FabricOptions options_of(const std::string& provider, size_t rails = 1) {
    FabricOptions options;
    options.provider = provider;
    if (provider.starts_with("efa")) {
        options.rails = nic_names(provider, rails);
        return options;
    }
    for (size_t i = 1; i <= rails && provider != "shm"; ++i) {
        options.rails.push_back("127.0.0." + std::to_string(i));
    }
    return options;
}

struct Pair {
    explicit Pair(const FabricOptions& options) : reactor(reactor_make()) {
        hub_a = hub_open(*reactor, options);
        hub_b = hub_open(*reactor, options);
        a = rank_attach(*hub_a, 7, 0, 2);
        b = rank_attach(*hub_b, 7, 1, 2);
    }
    std::vector<Rank*> both() { return {&a, &b}; }
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<WireHub> hub_a, hub_b;
    Rank a, b;
};

inline std::string provider() {
    const char* name = std::getenv("WEFT_TEST_PROVIDER");
    return name != nullptr ? name : "tcp;ofi_rxm";
}

inline std::string pattern(size_t bytes, uint32_t seed) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; ++i) {
        text[i] = static_cast<char>((i + 1) * 2654435761u * seed >> 24);
    }
    return text;
}

inline Put value_put(uint32_t peer, uint32_t token, const std::string& text, uint32_t piece = 0) {
    Put put;
    put.peer = peer;
    put.from = text.data();
    put.bytes = text.size();
    put.imm = {token, piece, 1};
    put.notify = false;
    return put;
}

struct Buffers {
    std::string source, target;
};

// A connected pair, memory on both sides and the put that fills b's from a's. The memory outlives
// the wires, whatever a test does.
struct MemoryPair : Buffers, Pair {
    MemoryPair(const FabricOptions& options, size_t bytes)
        : Buffers{pattern(bytes, 3), std::string(bytes, 'x')}, Pair(options) {
        connect_pair(a, 0, b, 1);
        from = a.wire->expose(source.data(), bytes).value();
        to = b.wire->expose(target.data(), bytes).value();
        put = value_put(1, b.token, source);
        put.to = b.wire->ref(to, 0, 0);
        put.from_region = from;
        put.notify = true;
    }
    Region from, to;
    Put put;
};

}  // namespace weft::test
