// Waiting: whoever waits, drives.
//
// A waiter spins where every rank has a core (a hand-off costs more than the wait), else yields a
// few times; then it sleeps: on the doorbell's futex while only memory wires can wake it, else on
// one poll over the eventfd and the wires' descriptors. With more ranks than cores it does not spin
// at all: measured on 2 cores with 16 ranks, "spin 20 us, then sleep" is 4 to 10 times slower than
// a few yields and a futex (docs/ARCHITECTURE.md, decisions).
#include <poll.h>
#include <sched.h>

#include <algorithm>

#include "src/base/futex.h"
#include "src/exec/shard.h"

namespace weft {

namespace {

using Impl = Shard::Impl;

constexpr int yields = 8;
constexpr int clock_every = 16;  // rounds between two looks at the clock
constexpr Nanos sleep_longest = 100 * nanos_per_ms;
constexpr Nanos sleep_pressed =
    50'000;  // something answered `again`: nobody rings when there is room
constexpr Nanos sleep_polling = 50'000;  // first sleep where a wire cannot wake us, doubled up to:
constexpr Nanos sleep_polling_longest = 5 * nanos_per_ms;
constexpr Nanos sleep_others = nanos_per_ms;  // some of our shards are driven by other threads

// What an idle round does before the next. While the ranks fit the cores: pause, then sleep. Not
// yield: where a foreign process shares the core, a yield gives away a whole slice, and the median
// of an 8-byte all-reduce goes from microseconds to milliseconds. With more ranks than cores: a few
// yields, for the peer that will make progress wants this very core.
class Patience {
  public:
    explicit Patience(int spins) : spins_(spins), rounds_(spins > 0 ? spins : yields) {}
    void moved() { idle_ = sleeps_ = 0; }
    // True: it is time to sleep.
    bool exhausted() {
        if (++idle_ >= rounds_) {
            return true;
        }
        if (spins_ == 0) {
            sched_yield();
            return false;
        }
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        return false;
    }
    // How often it slept since something moved; afterwards a few rounds precede the next sleep.
    int slept() {
        idle_ = rounds_ - std::min(rounds_, yields);
        return sleeps_++;
    }

  private:
    int spins_, rounds_;
    int idle_ = 0, sleeps_ = 0;
};

bool pending(const Waitable& wait) {
    return wait.ticket->state() == Ticket::State::pending;
}

// How long the sleep may be, by what could happen without waking us.
Nanos sleep_limit(Impl& shard, int sleeps) {
    const uint64_t again = shard.links.counters().again;
    const bool pressed = again != shard.again_seen;
    shard.again_seen = again;
    if (pressed) {
        return sleep_pressed;
    }
    if (shard.polling) {
        return std::min(sleep_polling << std::min(sleeps, 7), sleep_polling_longest);
    }
    return sleep_longest;
}

// A shard driven alone: the futex when only memory wires can wake it, else poll.
void sleep_alone(Impl& shard, const Waitable& wait, int sleeps) {
    const Nanos now = clock_now();
    shard.idle_report(now);
    shard.snapshot();
    const Nanos limit = sleep_limit(shard, sleeps);
    Doorbell& doorbell = *shard.config.doorbell;
    const bool futex = shard.may_sleep_on_doorbell();
    doorbell.arm(futex ? SleepMode::on_futex : SleepMode::on_eventfd);
    if (!shard.progress_all(now) && pending(wait)) {
        if (futex) {
            doorbell.sleep(limit);
        } else if (shard.wires_armed()) {
            std::vector<pollfd> fds{{doorbell.event_fd(), POLLIN, 0}};
            for (const int fd : shard.wait_fds) {
                fds.push_back({fd, POLLIN, 0});
            }
            const timespec ts{limit / nanos_per_s, limit % nanos_per_s};
            ppoll(fds.data(), fds.size(), &ts, nullptr);
        }
    }
    doorbell.disarm();
}

void drive_alone(Impl& shard, const Waitable& wait) {
    Patience patience(shard.spin_rounds);
    // The clock is not read before it matters: a short operation is over before its first look.
    Nanos now = shard.last_move;
    bool looked = false;
    const auto look = [&] {
        now = clock_now();
        if (!looked) {
            shard.last_move = now;
            looked = true;
        }
    };
    for (int round = 1; pending(wait); round++) {
        if (round % clock_every == 0) {
            look();
        }
        if (shard.progress(now)) {
            patience.moved();
        } else if (patience.exhausted()) {
            look();
            sleep_alone(shard, wait, patience.slept());
            now = clock_now();
        }
    }
}

void wait_one(const Waitable& wait) {
    Impl& shard = wait.shard->impl();
    while (pending(wait)) {
        if (shard.drive_mutex.try_lock()) {
            shard.take();
            drive_alone(shard, wait);
            shard.leave();
            continue;
        }
        shard.waiters.fetch_add(1, std::memory_order_seq_cst);
        const uint32_t seen = shard.handover.load(std::memory_order_seq_cst);
        if (shard.drive_mutex.try_lock()) {
            shard.waiters.fetch_sub(1, std::memory_order_seq_cst);
            shard.take();
            drive_alone(shard, wait);
            shard.leave();
            continue;
        }
        if (pending(wait)) {
            futex_wait(shard.handover, seen, sleep_longest, false);
        }
        shard.waiters.fetch_sub(1, std::memory_order_seq_cst);
    }
}

// One thread that waits on several shards: several ranks, or several communicators, in one group.
class Gang {
  public:
    explicit Gang(std::span<const Waitable> waits) {
        for (const Waitable& wait : waits) {
            members_.push_back(Member{&wait.shard->impl(), wait, false});
        }
    }

    void run() {
        Patience patience(members_.front().shard->spin_rounds);
        while (collect()) {
            if (round()) {
                patience.moved();
            } else if (patience.exhausted()) {
                sleep(patience.slept());
            }
        }
    }

  private:
    struct Member {
        Impl* shard;
        Waitable wait;
        bool driving;
    };

    // Locks what is free, leaves what is finished. False when nothing is pending.
    bool collect() {
        size_t left = 0;
        for (Member& member : members_) {
            if (!pending(member.wait)) {
                if (member.driving) {
                    member.driving = false;
                    member.shard->leave();
                }
                continue;
            }
            left++;
            if (!member.driving && member.shard->drive_mutex.try_lock()) {
                member.driving = true;
                member.shard->take();
                member.shard->last_move = clock_now();
            }
        }
        return left > 0;
    }

    bool round(bool before_sleep = false) {
        const Nanos now = clock_now();
        bool moved = false;
        for (Member& member : members_) {
            if (member.driving && pending(member.wait)) {
                Impl& shard = *member.shard;
                moved = (before_sleep ? shard.progress_all(now) : shard.progress(now)) || moved;
            }
        }
        return moved;
    }

    void sleep(int sleeps) {
        const Nanos now = clock_now();
        Nanos limit = sleep_longest;
        std::vector<pollfd> fds;
        bool awake = false;
        for (Member& member : members_) {
            if (!member.driving) {
                limit = pending(member.wait) ? std::min(limit, sleep_others) : limit;
                continue;
            }
            Impl& shard = *member.shard;
            shard.idle_report(now);
            shard.snapshot();
            limit = std::min(limit, sleep_limit(shard, sleeps));
            shard.config.doorbell->arm(SleepMode::on_eventfd);
            fds.push_back({shard.config.doorbell->event_fd(), POLLIN, 0});
            for (const int fd : shard.wait_fds) {
                fds.push_back({fd, POLLIN, 0});
            }
            awake = awake || !shard.wires_armed();
        }
        if (!round(true) && !awake) {
            const timespec ts{limit / nanos_per_s, limit % nanos_per_s};
            ppoll(fds.data(), fds.size(), &ts, nullptr);
        }
        for (Member& member : members_) {
            if (member.driving) {
                member.shard->config.doorbell->disarm();
            }
        }
    }

    std::vector<Member> members_;
};

}  // namespace

std::optional<Result<void>> Shard::run_now(const Call& call) {
    Impl& shard = *impl_;
    if (Result<void> allowed = shard.on_device_check(call); !allowed.ok()) {
        return allowed;
    }
    if (!shard.drive_mutex.try_lock()) {
        return std::nullopt;
    }
    shard.take();
    std::optional<Result<void>> result;
    if (shard.single_begin(call)) {
        drive_alone(shard, {this, &shard.single});
        result.emplace();
        if (shard.single.state() == Ticket::State::failed) {
            *result = shard.single.error();
        }
    }
    shard.leave();
    return result;
}

Result<void> wait_all(std::span<const Waitable> waits) {
    if (waits.size() == 1) {
        wait_one(waits.front());
    } else if (!waits.empty()) {
        Gang(waits).run();
    }
    for (const Waitable& wait : waits) {
        if (wait.ticket->state() == Ticket::State::failed) {
            return wait.ticket->error();
        }
    }
    return {};
}

}  // namespace weft
