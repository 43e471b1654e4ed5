// The doorbell's protocol (transports/doorbell.h), every interleaving of one sleeper and two
// publishers on a machine with store buffers: no publisher's work is slept through. The model is
// the protocol in the atomic steps the code takes; without either of its two fences it finds the
// lost wake-up, which shows that it looks.
#include <array>
#include <optional>
#include <set>
#include <vector>

#include "tests/catch.h"

namespace {

struct Rules {
    bool on_eventfd = false;
    bool sleeper_fence = true;
    bool publisher_fence = true;
};

enum SleeperAt : int {
    s_look,
    s_seen,
    s_arm,
    s_fence,
    s_look_again,
    s_sleep,
    s_disarm,
    s_drain,
    s_end
};
enum PublisherAt : int { p_publish, p_fence, p_load, p_take, p_count, p_wake, p_end };

struct State {
    // Shared memory.
    int mode = 0;  // 1: asleep
    int rings = 0, event = 0;
    std::array<int, 2> work{};
    // The sleeper; a buffered store of `mode` is -1 when there is none.
    int sleeper = s_look, seen = 0, taken = 0, mode_buffered = -1;
    bool asleep = false;
    // The publishers.
    std::array<int, 2> publisher{}, loaded{};
    std::array<bool, 2> work_buffered{};
    auto operator<=>(const State&) const = default;
};

int work_seen(const State& s) {
    return s.work[0] + s.work[1];
}

void mode_flush(State& s) {
    if (s.mode_buffered >= 0) {
        s.mode = s.mode_buffered;
        s.mode_buffered = -1;
    }
}

void work_flush(State& s, size_t i) {
    if (s.work_buffered[i]) {
        s.work[i] = 1;
        s.work_buffered[i] = false;
    }
}

// Nothing when the step must wait.
std::optional<State> sleeper_step(State s, const Rules& rules) {
    switch (s.sleeper) {
        case s_look:
        case s_look_again:
            if (work_seen(s) > s.taken) {
                s.taken = work_seen(s);
                s.sleeper = s.sleeper == s_look ? s_look : s_disarm;
                return s;
            }
            s.sleeper = s.sleeper == s_look ? (s.taken == 2 ? s_end : s_seen) : s_sleep;
            return s;
        case s_seen:
            s.seen = s.rings;
            break;
        case s_arm:
            mode_flush(s);
            s.mode_buffered = 1;
            break;
        case s_fence:
            if (rules.sleeper_fence) {
                mode_flush(s);
            }
            break;
        case s_sleep:
            if (s.asleep) {
                return std::nullopt;
            }
            mode_flush(s);  // a system call
            s.asleep = rules.on_eventfd ? s.event == 0 : s.rings == s.seen;
            if (s.asleep) {
                return s;
            }
            break;
        case s_disarm:
            mode_flush(s);
            s.mode_buffered = 0;
            break;
        case s_drain:
            mode_flush(s);
            s.event = 0;
            s.sleeper = s_look;
            return s;
        default:
            return std::nullopt;
    }
    s.sleeper++;
    return s;
}

std::optional<State> publisher_step(State s, size_t i, const Rules& rules) {
    switch (s.publisher[i]) {
        case p_publish:
            s.work_buffered[i] = true;
            break;
        case p_fence:
            if (rules.publisher_fence) {
                work_flush(s, i);
            }
            break;
        case p_load:
            s.loaded[i] = s.mode;
            if (s.loaded[i] == 0) {
                s.publisher[i] = p_end;
                return s;
            }
            break;
        case p_take:  // compare and exchange, a full barrier
            work_flush(s, i);
            if (s.mode != s.loaded[i]) {
                s.publisher[i] = p_load;
                return s;
            }
            s.mode = 0;
            break;
        case p_count:
            s.rings++;
            break;
        case p_wake:
            s.event += rules.on_eventfd;
            s.asleep = false;
            break;
        default:
            return std::nullopt;
    }
    s.publisher[i]++;
    return s;
}

struct Found {
    size_t states = 0;
    bool slept_through = false;
};

Found explore(const Rules& rules) {
    Found found;
    std::set<State> seen;
    std::vector<State> open{State{}};
    while (!open.empty()) {
        const State s = open.back();
        open.pop_back();
        if (!seen.insert(s).second) {
            continue;
        }
        bool stuck = true;
        const auto go = [&](const std::optional<State>& next) {
            if (next && *next != s) {
                open.push_back(*next);
                stuck = false;
            }
        };
        go(sleeper_step(s, rules));
        State flushed = s;
        mode_flush(flushed);
        go(flushed);
        for (size_t i = 0; i < 2; i++) {
            go(publisher_step(s, i, rules));
            flushed = s;
            work_flush(flushed, i);
            go(flushed);
        }
        found.slept_through = found.slept_through || (stuck && s.sleeper != s_end);
    }
    found.states = seen.size();
    return found;
}

}  // namespace

TEST_CASE("no wake-up is lost, on a futex or an eventfd") {
    for (const bool on_eventfd : {false, true}) {
        const Found found = explore({on_eventfd, true, true});
        CHECK_FALSE(found.slept_through);
        CHECK(found.states > 500);
    }
}

TEST_CASE("without either fence a wake-up is lost") {
    for (const bool on_eventfd : {false, true}) {
        CHECK(explore({on_eventfd, false, true}).slept_through);
        CHECK(explore({on_eventfd, true, false}).slept_through);
    }
}
