// The hand-over protocol of src/exec/shard.h, every interleaving: no waiter sleeps once the driver
// has gone or finished its ticket. The model is the protocol in small atomic steps, as the code
// takes them; two waiters and one leaving driver.
#include <array>
#include <set>
#include <tuple>

#include "tests/catch.h"

namespace {

struct Waiter {
    int at = 0;    // program counter
    int seen = 0;  // handover value read
    bool asleep = false;
    auto operator<=>(const Waiter&) const = default;
};

struct State {
    bool locked = true;  // the driver holds the lock at first
    int waiters = 0, handover = 0, driver_at = 0;
    std::array<bool, 2> done{};  // tickets of the waiters
    std::array<Waiter, 2> waiter{};
    auto operator<=>(const State&) const = default;
};

enum : int {
    w_check,
    w_try,
    w_count,
    w_read,
    w_try_again,
    w_check_again,
    w_sleep,
    w_uncount,
    w_end,
    w_drive,
    w_leave
};
enum : int { d_finish, d_tell, d_unlock, d_look, d_end };

void wake_all(State& s) {
    s.handover++;
    for (Waiter& w : s.waiter) {
        w.asleep = false;
    }
}

// One step of the driver. `finishes` says whether it completes waiter 0's ticket before it leaves.
State driver_step(State s, bool finishes) {
    switch (s.driver_at) {
        case d_finish:
            s.done[0] = s.done[0] || finishes;
            break;
        case d_tell:
            if (finishes && s.waiters > 0) {
                wake_all(s);
            }
            break;
        case d_unlock:
            s.locked = false;
            break;
        case d_look:
            if (s.waiters > 0) {
                wake_all(s);
            }
            break;
        default:
            break;
    }
    s.driver_at++;
    return s;
}

State waiter_step(State s, size_t i, bool broken) {
    Waiter& w = s.waiter[i];
    switch (w.at) {
        case w_check:
            w.at = s.done[i] ? w_end : w_try;
            break;
        case w_try:
        case w_try_again:
            if (!s.locked) {
                s.locked = true;
                s.waiters -= w.at == w_try_again;
                w.at = w_drive;
            } else {
                w.at++;
            }
            break;
        case w_count:
            s.waiters++;
            w.at = w_read;
            break;
        case w_read:
            w.seen = s.handover;
            w.at = broken ? w_sleep : w_try_again;
            break;
        case w_check_again:
            w.at = s.done[i] ? w_uncount : w_sleep;
            break;
        case w_sleep:
            w.asleep = s.handover == w.seen;
            w.at = w_uncount;
            break;
        case w_uncount:
            s.waiters--;
            w.at = w_check;
            break;
        case w_drive:  // drives until its own ticket is done, then unlocks
            s.done[i] = true;
            s.locked = false;
            w.at = w_leave;
            break;
        case w_leave:
            if (s.waiters > 0) {
                wake_all(s);
            }
            w.at = w_end;
            break;
        default:
            break;
    }
    return s;
}

// Explores everything reachable; returns the number of final states in which somebody sleeps for
// ever.
int stuck_states(bool finishes, bool broken, size_t* explored) {
    std::set<State> seen;
    std::vector<State> todo{State{}};
    int stuck = 0;
    while (!todo.empty()) {
        const State s = todo.back();
        todo.pop_back();
        if (!seen.insert(s).second) {
            continue;
        }
        bool any = false;
        if (s.driver_at < d_end) {
            todo.push_back(driver_step(s, finishes));
            any = true;
        }
        for (size_t i = 0; i < s.waiter.size(); i++) {
            if (s.waiter[i].at != w_end && !s.waiter[i].asleep) {
                todo.push_back(waiter_step(s, i, broken));
                any = true;
            }
        }
        stuck += !any && (s.waiter[0].asleep || s.waiter[1].asleep);
    }
    *explored = seen.size();
    return stuck;
}

}  // namespace

TEST_CASE("hand-over loses no wake-up in any interleaving", "[exec]") {
    for (const bool finishes : {false, true}) {
        size_t explored = 0;
        CHECK(stuck_states(finishes, false, &explored) == 0);
        CHECK(explored > 500);
    }
}

TEST_CASE("the model can fail: without the second try-lock a waiter sleeps for ever", "[exec]") {
    size_t explored = 0;
    CHECK(stuck_states(false, true, &explored) > 0);
}
