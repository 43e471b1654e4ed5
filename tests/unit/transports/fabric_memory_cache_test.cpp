// The cache of registrations on a libfabric that refuses what a test tells it to; what real ones do
// with the windows is in tests/conformance/fabric.
#include "transports/fabric/memory_cache.h"

#include <sys/mman.h>

#include "tests/unit/transports/fake_machine.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;

constexpr uint64_t gib = uint64_t{1} << 30;
constexpr WindowLimits as_on_efa{4 * gib, 64 << 20};

// Addresses that nobody touches.
struct Addresses {
    explicit Addresses(size_t bytes)
        : base(static_cast<std::byte*>(
              mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
          bytes(bytes) {
        REQUIRE(base != MAP_FAILED);
    }
    ~Addresses() { munmap(base, bytes); }
    Addresses(const Addresses&) = delete;
    Addresses& operator=(const Addresses&) = delete;
    std::byte* base;
    size_t bytes;
};

struct Named {
    Named(std::byte* base, size_t bytes) : span{base, bytes}, id(known_add(base, bytes)) {}
    ~Named() { known_remove(id); }
    Named(const Named&) = delete;
    Named& operator=(const Named&) = delete;
    Span span;
    uint64_t id;
};

// Rails, a cache and one user of it.
struct World : FakeFabric {
    explicit World(size_t rail_count = 1, const WindowLimits& windows = as_on_efa,
                   uint64_t kept = 64 * gib)
        : cache(windows, kept) {
        for (size_t i = 0; i < rail_count; i++) {
            world.infos.push_back({"efa", "efa-direct", "rdmap" + std::to_string(i) + "s0-rdm"});
        }
        auto choices = rails_choose(library, {});
        REQUIRE(choices.ok());
        REQUIRE(choices.value().size() == rail_count);
        for (const RailChoice& choice : choices.value()) {
            rails.push_back(
                Rail::open(library, choice, static_cast<uint8_t>(rails.size()), {}).value());
            user.rails.push_back(rails.back().get());
        }
        world.registrations.clear();
        world.registrations_open = 0;
    }
    ~World() { cache.leave(user); }
    std::string refused(Span span) {
        MemoryCache::Held held;
        auto done = cache.hold(user, span, &held);
        REQUIRE_FALSE(done.ok());
        CHECK(held.windows.empty());
        return done.error().what;
    }
    void touch(Span span) {
        MemoryCache::Held held;
        REQUIRE(cache.hold(user, span, &held).ok());
        cache.let_go(held, false);
    }
    std::vector<std::unique_ptr<Rail>> rails;
    MemoryCache cache;
    MemoryCache::User user;
};

uint64_t pages_of(const void* base, size_t bytes) {
    const auto at = reinterpret_cast<uintptr_t>(base);
    return (at + bytes + 4095) / 4096 - at / 4096;
}

TEST_CASE("windows: whatever is no longer than the overlap lies in one, none has too many pages") {
    constexpr WindowLimits limits{16 * page_bytes, 4 * page_bytes};
    for (const uintptr_t base :
         {uintptr_t{1} << 20, (uintptr_t{1} << 20) + 1, (uintptr_t{1} << 20) + 4095}) {
        for (size_t bytes = 1; bytes < 80 * page_bytes; bytes += 1013) {
            const WindowGrid grid({reinterpret_cast<std::byte*>(base), bytes}, limits);
            uintptr_t covered = base;
            for (uint64_t i = 0; i < grid.count(); i++) {
                const Span span = grid.span(i);
                const auto at = reinterpret_cast<uintptr_t>(span.base);
                REQUIRE(at <= covered);
                REQUIRE(at + span.bytes > covered);
                REQUIRE(pages_of(span.base, span.bytes) <= 16);
                covered = at + span.bytes;
            }
            REQUIRE(covered == base + bytes);
            for (uintptr_t at = base; at < base + bytes; at += 777) {
                const size_t grant = std::min<size_t>(4 * page_bytes, base + bytes - at);
                const Span span = grid.span(grid.index(reinterpret_cast<void*>(at)));
                const auto from = reinterpret_cast<uintptr_t>(span.base);
                REQUIRE(from <= at);
                REQUIRE(at + grant <= from + span.bytes);
            }
        }
    }
}

TEST_CASE("memory cache: no registration covers more pages than EFA takes") {
    const Addresses memory(10 * gib);
    for (const size_t misaligned : {size_t{0}, size_t{100}}) {
        World one;
        const Named named(memory.base + misaligned, 9 * gib);
        one.touch(named.span);
        CHECK(one.world.registrations.size() == 3);
        uint64_t bytes = 0;
        for (const auto& told : one.world.registrations) {
            CHECK(pages_of(told.base, told.bytes) <= 1 << 20);
            bytes += told.bytes;
        }
        CHECK(bytes < 9 * gib + 3 * (64 << 20));
        CHECK(one.cache.kept_bytes() == bytes);
        // The same without a name: for as long as it is held.
        MemoryCache::Held held;
        REQUIRE(one.cache.hold(one.user, {memory.base + 9 * gib - 5, gib}, &held).ok());
        CHECK(one.world.registrations_open == 4);
        one.cache.let_go(held, false);
        CHECK(one.world.registrations_open == 3);
    }
}

TEST_CASE("memory cache: a refusal says what, how much, how much there is and what to do") {
    World one;
    const Addresses memory(8 << 20);
    one.touch({memory.base, 4096});
    const Named named(memory.base, 1 << 20);
    one.touch(named.span);
    one.world.register_error = ENOMEM;
    const std::string what = one.refused({memory.base + (2 << 20) + 1, 3 << 20});
    INFO(what);
    CHECK_THAT(what, Catch::Contains("rdmap0s0-rdm"));
    CHECK_THAT(what, Catch::Contains("registering 3145728 bytes failed"));
    CHECK_THAT(what, Catch::Contains("769 pages of 4 KiB"));
    CHECK_THAT(what, Catch::Contains("ulimit -l unlimited"));
    CHECK_THAT(what, Catch::Contains("locked-memory limit"));
    CHECK(what.find('\n') == std::string::npos);
    // What was idle went first, and did not help.
    CHECK(one.world.registrations_open == 0);
    CHECK_THAT(what, Catch::Contains("beside 0 bytes registered"));
}

TEST_CASE("memory cache: another refusal leaves what is registered alone") {
    World one;
    const Addresses memory(8 << 20);
    const Named named(memory.base, 1 << 20);
    one.touch(named.span);
    one.world.register_error = EFAULT;
    CHECK_THAT(one.refused({memory.base + (2 << 20), 4096}),
               Catch::Contains("beside 1048576 bytes registered"));
    CHECK(one.world.registrations_open == 1);
}

TEST_CASE("memory cache: where there is no room, what is idle longest makes it") {
    World one;
    const Addresses memory(8 << 20);
    const Named a(memory.base, 4096), b(memory.base + 4096, 4096), c(memory.base + 8192, 4096);
    one.world.registrations_max = 2;
    one.touch(a.span);
    one.touch(b.span);
    one.touch(a.span);
    CHECK(one.user.hits == 1);
    one.touch(c.span);  // instead of b
    one.touch(a.span);
    CHECK(one.user.hits == 2);
    CHECK(one.user.registrations == 3);
    CHECK(one.user.deregistrations == 1);
    // What is held stays.
    MemoryCache::Held held_a, held_c;
    REQUIRE(one.cache.hold(one.user, a.span, &held_a).ok());
    REQUIRE(one.cache.hold(one.user, c.span, &held_c).ok());
    CHECK_THAT(one.refused(b.span), Catch::Contains("beside 8192 bytes registered"));
    CHECK(one.world.registrations_open == 2);
    one.cache.let_go(held_a, false);
    one.touch(b.span);
    one.cache.let_go(held_c, false);
}

TEST_CASE("memory cache: refused half-way, nothing of it stays") {
    constexpr WindowLimits small{2 * page_bytes, page_bytes};
    World two(2, small);
    const Addresses memory(8 << 20);
    const Named named(memory.base, 3 * page_bytes);
    two.world.registrations_max = 3;  // of four: two windows on two rails
    CHECK_FALSE(two.refused({memory.base + (1 << 20), 3 * page_bytes}).empty());
    CHECK(two.world.registrations_open == 0);
    // Of known memory the window that was registered stays for the next time; it is idle.
    CHECK_FALSE(two.refused(named.span).empty());
    CHECK(two.user.registrations == two.user.deregistrations + two.world.registrations_open);
    two.world.registrations_max = 4;
    two.touch(named.span);
    CHECK(two.world.registrations_open == 4);
}

}  // namespace
}  // namespace weft::fabric
