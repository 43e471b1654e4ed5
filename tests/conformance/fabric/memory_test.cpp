// What stays registered between regions, and memory that takes several windows.
#include <unistd.h>

#include <atomic>

#include "tests/conformance/fabric/world.h"
#include "transports/memory.h"

namespace weft::test {
namespace {

constexpr uint64_t page = 4096;

// Page-aligned memory of the library, freed at the end.
struct Known {
    explicit Known(size_t bytes)
        : base(static_cast<std::byte*>(shared_alloc(bytes).value())), bytes(bytes) {}
    ~Known() {
        if (base != nullptr) {
            free();
        }
    }
    void free() {
        REQUIRE(shared_free(base).ok());
        base = nullptr;
    }
    std::byte* base;
    size_t bytes;
};

FabricOptions small_windows(size_t rails = 1) {
    FabricOptions options = options_of(provider(), rails);
    options.limits.window_bytes = 16 * page;
    options.limits.window_overlap = 4 * page;
    return options;
}

uint64_t open_now(const Wire& wire) {
    return wire.counters().registrations - wire.counters().deregistrations;
}

// A wire that nobody talks to: enough to register with.
struct Alone {
    explicit Alone(const FabricOptions& options) : reactor(reactor_make()) {
        hub = hub_open(*reactor, options);
        rank = rank_attach(*hub, 7, 0, 1);
    }
    Wire& wire() { return *rank.wire; }
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<WireHub> hub;
    Rank rank;
};

TEST_CASE("fabric memory: known memory is registered once, other memory every time") {
    Alone one(options_of(provider(), 2));
    const uint64_t rails = one.wire().caps().rails;
    Known known(1 << 20);
    std::string heap(1 << 20, 'h');
    for (int i = 0; i < 5; i++) {
        // Any part of it: what was registered is the whole range.
        const Region region = one.wire().expose(known.base + i * 1000, 5000).value();
        one.wire().release(region);
    }
    CHECK(one.wire().counters().registrations == rails);
    CHECK(one.wire().counters().deregistrations == 0);
    CHECK(one.wire().counters().registration_hits == 4);
    for (int i = 0; i < 5; i++) {
        one.wire().release(one.wire().expose(heap.data(), heap.size()).value());
    }
    CHECK(one.wire().counters().registrations == 6 * rails);
    CHECK(open_now(one.wire()) == rails);
    CHECK(one.wire().counters().registration_hits == 4);
}

TEST_CASE("fabric memory: memory its owner named is known until it takes the name back") {
    Alone one(options_of(provider()));
    std::string heap(1 << 20, 'h');
    const uint64_t first = known_add(heap.data(), heap.size());
    CHECK(known_add(heap.data(), heap.size()) == first);  // by another communicator
    one.wire().release(one.wire().expose(heap.data(), heap.size()).value());
    one.wire().release(one.wire().expose(heap.data() + 77, 1000).value());
    CHECK(one.wire().counters().registrations == 1);
    CHECK(one.wire().counters().registration_hits == 1);
    known_remove(first);
    CHECK(open_now(one.wire()) == 1);
    known_remove(first);
    CHECK(open_now(one.wire()) == 0);
    one.wire().release(one.wire().expose(heap.data(), heap.size()).value());
    CHECK(one.wire().counters().registrations == 2);
    CHECK(open_now(one.wire()) == 0);
}

TEST_CASE("fabric memory: registrations end with the memory, or with their last holder") {
    Alone one(options_of(provider()));
    Known idle(page), held(page);
    one.wire().release(one.wire().expose(idle.base, page).value());
    const Region region = one.wire().expose(held.base, page).value();
    CHECK(open_now(one.wire()) == 2);
    idle.free();
    CHECK(open_now(one.wire()) == 1);
    held.free();  // its owner's mistake: it stays pinned until the wire lets go
    CHECK(open_now(one.wire()) == 1);
    one.wire().release(region);
    CHECK(open_now(one.wire()) == 0);
}

TEST_CASE("fabric memory: a region that is concealed leaves nothing registered") {
    Alone one(options_of(provider()));
    Known known(page);
    const Region a = one.wire().expose(known.base, page).value();
    const Region b = one.wire().expose(known.base, page).value();
    CHECK(one.wire().counters().registrations == 1);
    one.wire().conceal(a);
    CHECK(open_now(one.wire()) == 1);
    // What is exposed from now on must not share what peers of the concealed one still know.
    const Region c = one.wire().expose(known.base, page).value();
    CHECK(one.wire().counters().registrations == 2);
    one.wire().release(b);
    CHECK(open_now(one.wire()) == 1);
    one.wire().release(c);
    CHECK(open_now(one.wire()) == 1);
}

TEST_CASE("fabric memory: communicators do not share, and take theirs with them") {
    Alone one(options_of(provider()));
    Rank other = rank_attach(*one.hub, 8, 0, 1);
    Known known(page);
    const Region mine = one.wire().expose(known.base, page).value();
    other.wire->release(other.wire->expose(known.base, page).value());
    CHECK(open_now(one.wire()) == 1);
    CHECK(open_now(*other.wire) == 1);
    one.wire().conceal(mine);
    CHECK(open_now(one.wire()) == 0);
    CHECK(open_now(*other.wire) == 1);
    other.wire.reset();
    known.free();  // nobody is there to hear of it
}

TEST_CASE("fabric memory: what is idle longest goes when the budget is used up") {
    FabricOptions options = options_of(provider());
    options.registered_bytes = 2 * page;
    Alone one(options);
    Known a(page), b(page), c(page);
    const auto use = [&](const Known& known) {
        const uint64_t before = one.wire().counters().registrations;
        one.wire().release(one.wire().expose(known.base, page).value());
        return one.wire().counters().registrations - before;
    };
    CHECK(use(a) == 1);
    CHECK(use(b) == 1);
    CHECK(use(a) == 0);
    CHECK(use(c) == 1);  // b is idle longest
    CHECK(open_now(one.wire()) == 2);
    CHECK(use(a) == 0);
    CHECK(use(b) == 1);  // c goes
    CHECK(use(a) == 0);
    // What is in use goes over the budget, and does not stay over it.
    const Region x = one.wire().expose(a.base, page).value();
    const Region y = one.wire().expose(b.base, page).value();
    const Region z = one.wire().expose(c.base, page).value();
    CHECK(open_now(one.wire()) == 3);
    one.wire().release(x);
    CHECK(open_now(one.wire()) == 2);
    one.wire().release(y);
    one.wire().release(z);
    CHECK(open_now(one.wire()) == 2);

    options.registered_bytes = 0;
    Alone none(options);
    none.wire().release(none.wire().expose(a.base, page).value());
    CHECK(open_now(none.wire()) == 0);
}

// Grants of the largest size from and to every place of memory of several windows.
void windows_cross(size_t rails, bool known, size_t misaligned) {
    Pair pair(small_windows(rails));
    connect_pair(pair.a, 0, pair.b, 1);
    const size_t grant = pair.a.wire->caps().grant_bytes_max;
    REQUIRE(grant == 4 * page);
    const size_t bytes = 50 * page + 123;
    Known from_known(bytes + page), to_known(bytes + page);
    std::string heap_from(bytes + page, '\0'), heap_to(bytes + page, '\0');
    auto* from =
        misaligned + (known ? from_known.base : reinterpret_cast<std::byte*>(heap_from.data()));
    auto* to = misaligned + (known ? to_known.base : reinterpret_cast<std::byte*>(heap_to.data()));
    const std::string source = pattern(bytes, 5);
    std::memcpy(from, source.data(), bytes);
    const Region source_region = pair.a.wire->expose(from, bytes).value();
    const Region target_region = pair.b.wire->expose(to, bytes).value();
    CHECK(pair.b.wire->counters().registrations >= 4 * pair.b.wire->caps().rails);
    size_t puts = 0;
    for (size_t at = 0; at < bytes; at += grant, puts++) {
        Put put;
        put.peer = 1;
        put.to = pair.b.wire->ref(target_region, at, 0);
        put.from = from + at;
        put.bytes = std::min(grant, bytes - at);
        put.from_region = source_region;
        put.imm = {pair.b.token, static_cast<uint32_t>(puts), 1};
        REQUIRE(put_soon(pair.a, pair.both(), put));
    }
    REQUIRE(drive(pair.both(), [&] {
        return pair.b.sink.arrivals.size() == puts && pair.a.sink.delivered.size() == puts;
    }));
    CHECK(std::memcmp(to, source.data(), bytes) == 0);
    CHECK(pair.a.sink.failures.empty());
    // A put beyond the end of the region is refused although the memory goes on.
    Put beyond;
    beyond.peer = 1;
    beyond.to = pair.b.wire->ref(target_region, bytes - 100, 0);
    beyond.from = from;
    beyond.bytes = 101;
    beyond.from_region = source_region;
    beyond.imm = {pair.b.token, 200, 1};
    CHECK(pair.a.wire->put(beyond) == Post::again);
    CHECK(drive(
        pair.both(), [&] { return !pair.a.sink.failures.empty(); }, 5));
    pair.a.wire->conceal(source_region);
    pair.b.wire->conceal(target_region);
    CHECK(open_now(*pair.a.wire) == 0);
    CHECK(open_now(*pair.b.wire) == 0);
}

TEST_CASE("fabric memory: several windows carry what one cannot, wherever a grant begins") {
    for (const bool known : {false, true}) {
        for (const size_t misaligned : {size_t{0}, size_t{17}}) {
            windows_cross(1, known, misaligned);
        }
    }
    windows_cross(2, true, 1000);
}

TEST_CASE("fabric memory: only the windows that are used are registered") {
    Alone one(small_windows());
    Known known(1000 * page);  // 83 windows of 16 pages that share 4
    one.wire().release(one.wire().expose(known.base + 500 * page, page).value());
    CHECK(one.wire().counters().registrations == 1);
    one.wire().release(one.wire().expose(known.base, known.bytes).value());
    CHECK(one.wire().counters().registrations == 83);
    CHECK(one.wire().counters().registration_hits == 1);
}

TEST_CASE("fabric memory: ranges come and go while wires use others") {
    Alone one(options_of(provider()));
    std::atomic<bool> end{false};
    std::thread freeing([&] {
        while (!end) {
            Known known(page);
            const uint64_t id = known_add(known.base, 10);
            known_remove(id);
        }
    });
    Known mine(page);
    for (int i = 0; i < 2000; i++) {
        one.wire().release(one.wire().expose(mine.base, page).value());
    }
    end = true;
    freeing.join();
    CHECK(one.wire().counters().registrations == 1);
    CHECK(open_now(one.wire()) == 1);
}

}  // namespace
}  // namespace weft::test
