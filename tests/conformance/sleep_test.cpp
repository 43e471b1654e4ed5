// Clauses about waiting: nobody sleeps through a put, and who waits uses no processor.
#include <poll.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/catch.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/side.h"

namespace weft::test {

namespace {

constexpr Nanos sleep_limit = 3 * nanos_per_s;

// One sleep as the engine does it. False when it lasted to the limit.
bool sleep_once(Side& side, SleepMode mode, Nanos limit = sleep_limit) {
    side.bell.arm(mode);
    bool woken = true;
    if (side.drive() == 0 && side.wire().arm()) {
        const Nanos before = clock_now();
        if (mode == SleepMode::on_futex) {
            side.bell.sleep(limit);
        } else {
            pollfd fds[2] = {{side.bell.event_fd(), POLLIN, 0}, {side.wire().wait_fd(), POLLIN, 0}};
            const nfds_t count = side.wire().wait_fd() >= 0 ? 2 : 1;
            ::poll(fds, count, static_cast<int>(limit / nanos_per_ms));
        }
        woken = clock_now() - before < limit;
    }
    side.bell.disarm();
    return woken;
}

bool can_sleep(const WireCase& wire_case) {
    return wire_case.fault.empty();  // what the injector holds has no bell
}

// Ping-pong in which both sides sleep, with pauses that move the put across every point of the
// other's way to sleep.
void ping_pong(Side& side, uint32_t rounds) {
    side.connect();
    const uint32_t theirs = tokens_swap(side, 1);
    uint32_t got = 0;
    side.on_each = [&](Imm, const std::byte*, uint32_t) { got++; };
    uint64_t random = 88172645463325252ull + static_cast<uint64_t>(side.index);
    const bool futex = side.wire().wait_fd() < 0;
    for (uint32_t round = 0; round < rounds; round++) {
        const SleepMode mode =
            futex && round % 2 == 0 ? SleepMode::on_futex : SleepMode::on_eventfd;
        if (side.index == 0 || round > 0) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for (uint64_t pause = random % 2000; pause > 0; pause--) {
                std::atomic_signal_fence(std::memory_order_seq_cst);  // keeps the loop
            }
        }
        if (side.index == 0) {
            side.put_must(side.by_value(&round, sizeof round, Imm{theirs, round & 0xff, 0}));
        }
        while (got <= round) {
            side.require(sleep_once(side, mode) || got > round,
                         "a sleeper was not woken in round " + std::to_string(round));
        }
        if (side.index == 1) {
            side.put_must(side.by_value(&round, sizeof round, Imm{theirs, round & 0xff, 0}));
        }
    }
    side.meet_driving();
}

// A memory put whose receiver sleeps: every path must ring.
void large_wakes(Side& side, MemoryKind kind) {
    constexpr size_t bytes = 3u << 20;
    const uint32_t theirs = tokens_swap(side, 1);
    Memory memory(kind, bytes);
    const Region region = side.wire().expose(memory.data(), bytes).value();
    const RemoteRef to = ref_swap(side, side.wire().ref(region, 0, side.peer()));
    const bool futex = side.wire().wait_fd() < 0;
    const auto sleep_until = [&](const auto& holds) {
        while (!holds()) {
            side.require(
                sleep_once(side, futex ? SleepMode::on_futex : SleepMode::on_eventfd) || holds(),
                "a sleeper was not woken by a large put");
        }
    };
    if (side.index == 0) {
        const Put put = side.to_memory(to, memory.data(), bytes, region, Imm{theirs, 0, 0});
        sleep_until([&] { return side.put(put) == Post::accepted; });
        sleep_until([&] { return !side.delivered.empty(); });
    } else {
        sleep_until([&] { return !side.arrivals.empty(); });
    }
    side.meet_driving();
    side.wire().conceal(region);
    side.forget();
}

// A sender that waits for room must be rung when there is some.
void room_wakes(Side& side) {
    side.connect();
    const uint32_t theirs = tokens_swap(side, 1);
    const auto value = pattern(side.wire().caps().inline_bytes, 3);
    const bool futex = side.wire().wait_fd() < 0;
    constexpr uint32_t count = 3000;
    if (side.index == 0) {
        for (uint32_t i = 0; i < count; i++) {
            const size_t bytes = i % 3 == 0 ? value.size() : i % 50;
            const Put put = side.by_value(value.data(), bytes, Imm{theirs, i & 0xff, 0});
            while (side.put(put) == Post::again) {
                side.require(sleep_once(side, futex ? SleepMode::on_futex : SleepMode::on_eventfd),
                             "a sender was not woken when there was room");
            }
        }
    } else {
        uint32_t got = 0;
        side.on_each = [&](Imm, const std::byte*, uint32_t) { got++; };
        side.until(
            [&] {
                if (got % 500 == 0) {
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }
                return got == count;
            },
            "all values");
    }
    side.meet_driving();
}

double cpu_ms() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto ms = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
    };
    return ms(usage.ru_utime) + ms(usage.ru_stime);
}

}  // namespace

TEST_CASE("a sleeper wakes, twenty thousand times") {
    every_wire([](Side& side) { ping_pong(side, side.kind.network ? 2'000 : 20'000); }, can_sleep);
}

TEST_CASE("a sleeper wakes for large puts and for room") {
    every_wire(
        [](Side& side) {
            side.connect();
            large_wakes(side, MemoryKind::own);
            large_wakes(side, MemoryKind::library);
        },
        can_sleep);
    every_wire(room_wakes, [](const WireCase& wire_case) {
        return can_sleep(wire_case) && !wire_case.network;
    });
}

TEST_CASE("who waits for nothing uses no processor") {
    every_wire(
        [](Side& side) {
            side.connect();
            side.meet_driving();
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            while (side.drive() > 0) {
            }
            const double before = cpu_ms();
            const Nanos limit = clock_now() + 300 * nanos_per_ms;
            while (clock_now() < limit) {
                sleep_once(side, SleepMode::on_eventfd, 100 * nanos_per_ms);
            }
            const double used = cpu_ms() - before;
            side.require(used < 10, "idle for 300 ms used " + std::to_string(used) + " ms");
            side.meet_driving();
        },
        can_sleep);
}

}  // namespace weft::test
