// The fabric wire over stand-in providers, two hubs in one process. The provider comes from
// WEFT_TEST_PROVIDER so that the long suite runs the same cases over all of them.
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

#include "tests/conformance/fabric/world.h"

namespace weft::test {
namespace {

TEST_CASE("fabric: connect in either order, hello before connect") {
    Pair pair(options_of(provider()));
    REQUIRE(pair.b.wire->connect(0, pair.a.wire->address(), "b first").ok());
    drive(
        pair.both(), [] { return false; }, 0);
    for (int i = 0; i < 2000; ++i) {
        pair.a.progress();
        pair.b.progress();
    }
    CHECK(pair.b.wire->state(0) == PeerState::connecting);
    CHECK(pair.a.wire->state(1) == PeerState::idle);
    REQUIRE(pair.a.wire->connect(1, pair.b.wire->address(), "a second").ok());
    REQUIRE(drive(pair.both(), [&] {
        return pair.a.wire->state(1) == PeerState::up && pair.b.wire->state(0) == PeerState::up;
    }));
    CHECK(pair.a.wire->hello_of(1) == "b first");
    CHECK(pair.b.wire->hello_of(0) == "a second");
}

TEST_CASE("fabric: values from 0 to the largest, both directions") {
    Pair pair(options_of(provider()));
    connect_pair(pair.a, 0, pair.b, 1);
    size_t largest = pair.a.wire->caps().inline_bytes;
    CHECK(largest >= 8192 + 64);
    for (size_t bytes :
         {size_t{0}, size_t{1}, size_t{8}, size_t{1000}, size_t{4097}, size_t{8192}, largest}) {
        std::string to_b = pattern(bytes, 3), to_a = pattern(bytes, 5);
        REQUIRE(put_soon(pair.a, pair.both(), value_put(1, pair.b.token + 3, to_b, 9)));
        REQUIRE(put_soon(pair.b, pair.both(), value_put(0, pair.a.token, to_a)));
        REQUIRE(drive(pair.both(), [&] {
            return !pair.a.sink.arrivals.empty() && !pair.b.sink.arrivals.empty();
        }));
        CHECK(pair.b.sink.arrivals[0].imm == Imm{pair.b.token + 3, 9, 1});
        CHECK((pair.b.sink.arrivals[0].value == to_b));
        CHECK((pair.a.sink.arrivals[0].value == to_a));
        pair.a.sink.arrivals.clear();
        pair.b.sink.arrivals.clear();
    }
    CHECK(pair.a.sink.delivered.empty());
}

TEST_CASE("fabric: a value that wants notice is reported delivered") {
    Pair pair(options_of(provider()));
    connect_pair(pair.a, 0, pair.b, 1);
    std::string text = "notice";
    Put put = value_put(1, pair.b.token, text);
    put.notify = true;
    put.cookie = 77;
    REQUIRE(put_soon(pair.a, pair.both(), put));
    REQUIRE(drive(pair.both(), [&] { return !pair.a.sink.delivered.empty(); }));
    CHECK(pair.a.sink.delivered == std::vector<uint64_t>{77});
}

void memory_puts(size_t rails, size_t bytes) {
    Pair pair(options_of(provider(), rails));
    connect_pair(pair.a, 0, pair.b, 1);
    const size_t count = 8;
    std::string source = pattern(bytes * count, 11);
    std::vector<char> target(bytes * count + 64, 'x');
    Region from = pair.a.wire->expose(source.data(), source.size()).value();
    Region to = pair.b.wire->expose(target.data(), target.size()).value();
    RemoteRef ref = pair.b.wire->ref(to, 32, 0);
    for (uint32_t i = 0; i < count; ++i) {
        Put put;
        put.peer = 1;
        put.to = ref;
        put.offset = i * bytes;
        put.from = source.data() + i * bytes;
        put.bytes = bytes;
        put.from_region = from;
        put.imm = {pair.b.token + 1, i, 2};
        put.cookie = 100 + i;
        REQUIRE(put_soon(pair.a, pair.both(), put));
    }
    REQUIRE(drive(pair.both(), [&] {
        return pair.a.sink.delivered.size() == count && pair.b.sink.arrivals.size() == count;
    }));
    CHECK(std::memcmp(target.data() + 32, source.data(), source.size()) == 0);
    CHECK(target[31] == 'x');
    CHECK(target[32 + source.size()] == 'x');
    CHECK(pair.a.wire->counters().put_bytes == source.size());
    pair.a.wire->conceal(from);
    pair.b.wire->conceal(to);
}

TEST_CASE("fabric: puts into memory, one rail") {
    memory_puts(1, 1);
    memory_puts(1, 100'000);
    memory_puts(1, 1 << 20);
}

TEST_CASE("fabric: puts into memory, several rails") {
    for (size_t rails : {2, 3, 4}) {
        memory_puts(rails, 300'000);
    }
}

TEST_CASE("fabric: 32 rails, each carries its share") {
    if (provider() != "tcp;ofi_rxm") {
        return;
    }
    MemoryPair pair(options_of(provider(), 32), 64 * (64 << 10));
    CHECK(pair.put.to.words_used() == 2 + 32 / 2);
    CHECK(pair.a.wire->caps().rails == 32);
    const size_t piece = 64 << 10;
    for (uint32_t i = 0; i < 64; ++i) {
        Put put = pair.put;
        put.offset = i * piece;
        put.from = pair.source.data() + put.offset;
        put.bytes = piece;
        put.imm.piece = i;
        REQUIRE(put_soon(pair.a, pair.both(), put));
    }
    REQUIRE(drive(pair.both(), [&] { return pair.b.sink.arrivals.size() == 64; }));
    CHECK((pair.target == pair.source));
    size_t used = 0;
    for (const uint64_t bytes : pair.a.wire->counters().rail_bytes) {
        used += bytes != 0;
    }
    CHECK(used == 32);
}

TEST_CASE("fabric: unequal numbers of rails: the first ones join") {
    if (provider() == "shm") {
        return;
    }
    auto reactor = reactor_make();
    auto hub_a = hub_open(*reactor, options_of(provider(), 3));
    auto hub_b = hub_open(*reactor, options_of(provider(), 1));
    Rank a = rank_attach(*hub_a, 7, 0, 2);
    Rank b = rank_attach(*hub_b, 7, 1, 2);
    connect_pair(a, 0, b, 1);
    std::string text = "to the only rail";
    REQUIRE(put_soon(a, {&a, &b}, value_put(1, b.token, text)));
    REQUIRE(drive({&a, &b}, [&] { return b.sink.arrivals.size() == 1; }));
    CHECK(b.sink.arrivals[0].value == text);
    a.wire.reset();
    b.wire.reset();
}

TEST_CASE("fabric: a put of no bytes carries its immediate") {
    Pair pair(options_of(provider()));
    connect_pair(pair.a, 0, pair.b, 1);
    std::string target(64, 'x');
    Region to = pair.b.wire->expose(target.data(), target.size()).value();
    Put put = value_put(1, pair.b.token + 2, "", 5);
    put.to = pair.b.wire->ref(to, 0, 0);
    put.notify = true;
    put.cookie = 9;
    REQUIRE(put_soon(pair.a, pair.both(), put));
    REQUIRE(drive(pair.both(), [&] {
        return pair.b.sink.arrivals.size() == 1 && pair.a.sink.delivered.size() == 1;
    }));
    CHECK(pair.b.sink.arrivals[0].imm == Imm{pair.b.token + 2, 5, 1});
    CHECK(pair.b.sink.arrivals[0].value.empty());
}

// Every wire of one hub to the same wire of the other, values and memory, all at once.
TEST_CASE("fabric: 32 wires on one hub") {
    auto reactor = reactor_make();
    auto hub_a = hub_open(*reactor, options_of(provider(), 2));
    auto hub_b = hub_open(*reactor, options_of(provider(), 2));
    constexpr uint32_t count = 32;
    std::vector<Rank> left, right;
    for (uint32_t i = 0; i < count; ++i) {
        left.push_back(rank_attach(*hub_a, 100 + i, 0, 2));
        right.push_back(rank_attach(*hub_b, 100 + i, 1, 2));
    }
    std::vector<Rank*> all;
    std::string text = "to wire ..";
    for (uint32_t i = 0; i < count; ++i) {
        REQUIRE(left[i].wire->connect(1, right[i].wire->address(), "").ok());
        REQUIRE(right[i].wire->connect(0, left[i].wire->address(), "").ok());
        all.push_back(&left[i]);
        all.push_back(&right[i]);
    }
    REQUIRE(drive(all, [&] {
        bool up = true;
        for (uint32_t i = 0; i < count; ++i) {
            up = up && left[i].wire->state(1) == PeerState::up &&
                 right[i].wire->state(0) == PeerState::up;
        }
        return up;
    }));
    for (uint32_t i = 0; i < count; ++i) {
        text.back() = static_cast<char>('A' + i);
        REQUIRE(put_soon(left[i], all, value_put(1, right[i].token, text)));
    }
    REQUIRE(drive(all, [&] {
        size_t got = 0;
        for (const Rank& rank : right) {
            got += rank.sink.arrivals.size();
        }
        return got == count;
    }));
    for (uint32_t i = 0; i < count; ++i) {
        CHECK(right[i].sink.arrivals.at(0).value.back() == static_cast<char>('A' + i));
    }
}

TEST_CASE("fabric: ranks of one hub reach each other and themselves") {
    auto reactor = reactor_make();
    auto hub = hub_open(*reactor, options_of(provider()));
    Rank a = rank_attach(*hub, 7, 0, 2), b = rank_attach(*hub, 7, 1, 2);
    connect_pair(a, 0, b, 1);
    std::string source = pattern(200'000, 3), target(200'000, 'x'), word = "word";
    Region from = a.wire->expose(source.data(), source.size()).value();
    Region to = b.wire->expose(target.data(), target.size()).value();
    Put put = value_put(1, b.token, source);
    put.to = b.wire->ref(to, 0, 0);
    put.from_region = from;
    put.notify = true;
    REQUIRE(put_soon(a, {&a, &b}, put));
    REQUIRE(put_soon(b, {&a, &b}, value_put(0, a.token, word)));
    REQUIRE(drive({&a, &b}, [&] {
        return a.sink.delivered.size() == 1 && a.sink.arrivals.size() == 1 &&
               b.sink.arrivals.size() == 1;
    }));
    CHECK((target == source));
}

TEST_CASE("fabric: a rank that computes still serves its peers") {
    MemoryPair pair(options_of(provider()), 1 << 20);
    for (size_t done = 1; done <= 10; ++done) {
        REQUIRE(put_soon(pair.a, {&pair.a}, pair.put));
        REQUIRE(drive(
            {&pair.a}, [&] { return pair.a.sink.delivered.size() == done; }, 5));
    }
    CHECK((pair.target == pair.source));
    CHECK(pair.b.sink.arrivals.empty());
    // Acknowledged is not yet reported: udp;ofi_rxd may say the last one a poll later.
    CHECK(drive(
        {&pair.b}, [&] { return pair.b.sink.arrivals.size() == 10; }, 1));
}

// No reader at the other end: puts are refused at the documented depth, and all of them arrive
// later.
TEST_CASE("fabric: back-pressure answers again and loses nothing") {
    Pair pair(options_of(provider()));
    connect_pair(pair.a, 0, pair.b, 1);
    std::string text = pattern(8000, 3);
    constexpr uint32_t count = 3000;
    for (uint32_t sent = 0; sent < count;) {
        sent += pair.a.wire->put(value_put(1, pair.b.token + sent % 64, text)) == Post::accepted;
        pair.a.progress();
        if (sent % 100 == 99) {
            pair.b.progress();
        }
    }
    REQUIRE(drive(pair.both(), [&] { return pair.b.sink.arrivals.size() == count; }));
    CHECK(pair.a.wire->counters().puts == count);
    CHECK(pair.a.sink.failures.empty());
    bool same = true;
    for (const Arrival& arrival : pair.b.sink.arrivals) {
        same = same && arrival.value == text;
    }
    CHECK(same);
}

// 64 entries: 16 for what we send, 16 for messages, 32 for what peers may put.
TEST_CASE("fabric: a small completion queue bounds what is granted and carries everything") {
    FabricOptions options = options_of(provider());
    options.limits.queue_entries = 64;
    Pair pair(options);
    CHECK(pair.b.wire->pieces_reserve(0, 1) == 0);  // not connected
    connect_pair(pair.a, 0, pair.b, 1);
    Rank other = rank_attach(*pair.hub_b, 8, 1, 2);
    Rank others_peer = rank_attach(*pair.hub_a, 8, 0, 2);
    connect_pair(others_peer, 0, other, 1);
    CHECK(pair.b.wire->pieces_reserve(0, 256) == 16);
    uint32_t granted = 16;
    while (other.wire->pieces_reserve(0, 256) == 1) {
        ++granted;
    }
    CHECK(granted == 32);
    other.wire.reset();
    CHECK(pair.b.wire->pieces_reserve(0, 4) == 1);  // what a wire held comes back with it
    pair.b.wire->pieces_return(0, 17);
    std::string text = pattern(2000, 3);
    std::string source = pattern(32 * 1000, 5), target(32 * 1000, 'x');
    const Region from = pair.a.wire->expose(source.data(), source.size()).value();
    const Region to = pair.b.wire->expose(target.data(), target.size()).value();
    for (uint32_t i = 0; i < 32; ++i) {
        Put put = value_put(1, pair.b.token + 1, source, i);
        put.to = pair.b.wire->ref(to, 0, 0);
        put.offset = i * 1000;
        put.from = source.data() + put.offset;
        put.bytes = 1000;
        put.from_region = from;
        put.notify = true;
        REQUIRE(put_soon(pair.a, {&pair.a}, put));
        for (uint32_t k = 0; k < 3; ++k) {
            REQUIRE(put_soon(pair.a, {&pair.a}, value_put(1, pair.b.token, text)));
        }
    }
    CHECK(drive(pair.both(), [&] { return pair.b.sink.arrivals.size() == 4 * 32; }));
    CHECK((target == source));
    CHECK(drive(pair.both(), [&] { return pair.a.sink.delivered.size() == 32; }));
    pair.a.wire->conceal(from);
    pair.b.wire->conceal(to);
}

// What waits for room waits here, not in a socket, where small messages would queue behind it. On
// EFA nothing queues, for packets overtake each other, and the bound is a larger one.
TEST_CASE("fabric: a rail has a bounded number of bytes on its way to a peer") {
    if (provider().starts_with("efa")) {
        return;
    }
    constexpr size_t bytes = 256 << 10;
    MemoryPair pair(options_of(provider(), 2), bytes);
    const size_t rails = pair.a.wire->counters().rail_bytes.size();
    size_t accepted = 0;
    while (accepted < 48 && pair.a.wire->put(pair.put) == Post::accepted) {
        accepted++;
    }
    // 512 KiB of each before it is known how fast it is, and one put more.
    CHECK(accepted == 3 * rails);
    for (const uint64_t sent : pair.a.wire->counters().rail_bytes) {
        CHECK(sent / bytes == 3);
    }
    REQUIRE(drive(pair.both(), [&] { return pair.a.sink.delivered.size() == accepted; }));
    CHECK(pair.a.wire->put(pair.put) == Post::accepted);
    CHECK(drive(pair.both(), [&] { return pair.a.sink.delivered.size() == accepted + 1; }));
}

// A sanitizer's own thread takes a few per cent of one. g++ says by a macro, clang by a feature.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEFT_TEST_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define WEFT_TEST_THREAD_SANITIZER
#endif
#if defined(WEFT_TEST_THREAD_SANITIZER)
constexpr double idle_cpu_most = 0.1;
#else
constexpr double idle_cpu_most = 0.03;
#endif

TEST_CASE("fabric: idle burns no CPU") {
    Pair pair(options_of(provider(), 2));
    connect_pair(pair.a, 0, pair.b, 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    std::clock_t before = std::clock();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    double used = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    INFO("used " << used << " s of CPU in 1 s");
    CHECK(used < (provider() == "sockets" ? 0.15 : idle_cpu_most));  // it has a thread of its own
}

// Either the rails' descriptor or, when the service thread was quicker, the doorbell wakes it.
TEST_CASE("fabric: a sleeping shard is woken") {
    Pair pair(options_of(provider(), 2));
    Doorbell doorbell = std::move(Doorbell::create()).value();
    pair.b = rank_attach(*pair.hub_b, 7, 1, 2, &doorbell);
    connect_pair(pair.a, 0, pair.b, 1);
    int fd = pair.b.wire->wait_fd();
    CHECK((fd < 0) == pair.b.wire->caps().needs_polling);
    pollfd waits[] = {{doorbell.event_fd(), POLLIN, 0}, {fd, POLLIN, 0}};
    // The last words of the connection may still wake it; then it sleeps.
    REQUIRE(drive({&pair.a, &pair.b}, [&] {
        doorbell.disarm();
        doorbell.arm(SleepMode::on_eventfd);
        return (fd < 0 || pair.b.wire->arm()) && ::poll(waits, 2, 50) == 0;
    }));
    std::string text = "wake";
    REQUIRE(put_soon(pair.a, {&pair.a}, value_put(1, pair.b.token, text)));
    CHECK(::poll(waits, 2, 5000) > 0);
    doorbell.disarm();
    CHECK(drive({&pair.b}, [&] { return pair.b.sink.arrivals.size() == 1; }));
    pair.b.wire.reset();
}

TEST_CASE("fabric: without sleepers there is no descriptor, and who is not driven still answers") {
    FabricOptions options = options_of(provider(), 2);
    options.limits.no_sleepers = true;
    Pair pair(options);
    connect_pair(pair.a, 0, pair.b, 1);
    for (const Rank* rank : pair.both()) {
        CHECK(rank->wire->wait_fd() < 0);
        CHECK(rank->wire->caps().needs_polling);
    }
    // Nobody drives the peer: it is its service thread that says its puts have ended.
    const auto endpoints = [](const Wire& wire) { return wire.address().substr(20); };
    const std::string before = endpoints(*pair.a.wire);
    CHECK(pair.a.wire->fence(1).ok());
    const Rank again = rank_attach(*pair.hub_a, 9, 0, 2);
    CHECK(endpoints(*again.wire) == before);  // it was no rail given up that ended them
}

TEST_CASE("fabric: wires and hubs may go in any order, and connect again") {
    for (int order = 0; order < 4; ++order) {
        Pair pair(options_of(provider()));
        connect_pair(pair.a, 0, pair.b, 1);
        std::string text = "last words";
        REQUIRE(put_soon(pair.a, pair.both(), value_put(1, pair.b.token, text)));
        if (order % 2 == 0) {
            pair.a.wire.reset();
            pair.a = rank_attach(*pair.hub_a, 8, 0, 2);
            pair.b.wire.reset();
            pair.b = rank_attach(*pair.hub_b, 8, 1, 2);
            connect_pair(pair.a, 0, pair.b, 1);
        }
        if (order < 2) {
            pair.a.wire.reset();
            pair.hub_a.reset();
        } else {
            pair.b.wire.reset();
            pair.hub_b.reset();
        }
    }
}

TEST_CASE("fabric: a concealed region keeps its bytes") {
    MemoryPair pair(options_of(provider()), 100'000);
    pair.b.wire->conceal(pair.to);
    REQUIRE(put_soon(pair.a, pair.both(), pair.put));
    drive(
        pair.both(), [&] { return !pair.a.sink.failures.empty(); }, 2);
    INFO((pair.a.sink.failures.empty() ? "no failure" : pair.a.sink.failures[0].second));
    CHECK(pair.b.sink.arrivals.empty());
    CHECK((pair.target == std::string(100'000, 'x')));
}

TEST_CASE("fabric: after a fence the peer's puts have ended") {
    MemoryPair pair(options_of(provider(), 2), 1 << 20);
    for (int i = 0; i < 8; ++i) {
        REQUIRE(put_soon(pair.a, {&pair.a}, pair.put));
    }
    auto fenced = pair.b.wire->fence(0);
    INFO((fenced.ok() ? "" : fenced.error().what));
    REQUIRE(fenced.ok());
    CHECK((pair.target == pair.source));
    pair.target.assign(pair.target.size(), 'y');
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (int i = 0; i < 100; ++i) {
        pair.a.progress();
        pair.b.progress();
    }
    CHECK((pair.target == std::string(1 << 20, 'y')));
    CHECK(pair.b.sink.arrivals.size() == 8);
}

TEST_CASE("fabric: one line says what is missing") {
    auto reactor = reactor_make();
    auto line = [&](const FabricOptions& options) {
        auto hub = fabric_hub_make(*reactor, options);
        return hub.ok() ? std::string("no error") : hub.error().what;
    };
    FabricOptions options;
    options.library = "/nowhere/libfabric.so.1";
    CHECK_THAT(line(options), Catch::Contains("WEFT_LIBFABRIC=/nowhere/libfabric.so.1"));
    options.library = "libc.so.6";
    CHECK_THAT(line(options), Catch::Contains("libc.so.6 is not libfabric"));
    options.library.clear();
    options.provider = "carrier_pigeon";
    CHECK_THAT(line(options),
               Catch::Contains("provider carrier_pigeon") && Catch::Contains("WEFT_PROVIDER"));
    options.provider = "tcp;ofi_rxm";
    options.rails = {"no_such_if0"};
    CHECK_THAT(line(options), Catch::Contains("rail no_such_if0") && Catch::Contains("lo"));
    options.rails = {"203.0.113.7"};
    CHECK_THAT(line(options), Catch::Contains("203.0.113.7"));
}

TEST_CASE("fabric: a peer whose process is gone before it was reached is failed at the limit") {
    if (provider() != "tcp;ofi_rxm") {
        return;
    }
    FabricOptions options = options_of(provider());
    options.reach_limit = nanos_per_s / 2;
    Pair pair(options);
    const std::string address = pair.b.wire->address();
    pair.b.wire.reset();
    pair.hub_b.reset();
    REQUIRE(pair.a.wire->connect(1, address, "hello").ok());
    REQUIRE(drive({&pair.a}, [&] { return !pair.a.sink.failures.empty(); }));
    CHECK(pair.a.wire->state(1) == PeerState::failed);
    CHECK(pair.a.sink.failures[0].first == 1);
    CHECK_THAT(pair.a.sink.failures[0].second,
               Catch::Contains("rail 0 (127.0.0.1, tcp;ofi_rxm): nothing has reached rank 1 at") &&
                   Catch::Contains("://127.0.0.1:") && Catch::Contains("WEFT_INIT_TIMEOUT"));
}

TEST_CASE("fabric: the feature line names provider and rails") {
    auto reactor = reactor_make();
    auto hub = hub_open(*reactor, options_of("tcp;ofi_rxm", 2));
    CHECK_THAT(hub->describe(), Catch::Contains("tcp;ofi_rxm") && Catch::Contains("127.0.0.2") &&
                                    Catch::Contains("2 rails") && Catch::Contains("wait fd"));
}

}  // namespace
}  // namespace weft::test
