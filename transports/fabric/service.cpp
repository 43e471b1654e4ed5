// With a descriptor: it also wakes a shard asleep on it, and stays readable while a shard spins. So
// the first wake-up only takes note and comes back after a grace. If no wire made progress in
// between, nor sleeps on the descriptor itself, the service serves, and goes on at once on every
// wake-up until some wire drives again. As long as wires drive and none sleeps, the rails are out
// of the chain of descriptors, and a look every grace is what finds that nobody drives any more.
// Two threads that poll the same rails cost each other their locks: measured with 8 ranks on 2
// cores, a third of all time.
#include "transports/fabric/service.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "transports/fabric/hub.h"

namespace weft::fabric {

namespace {
// An owner that is at work comes by within this, also where it shares its core with others.
constexpr Nanos grace = 10 * nanos_per_ms;
constexpr Nanos stir_delay = 1 * nanos_per_ms;
constexpr Nanos interval_shortest = 50'000;
constexpr Nanos interval_longest = 5 * nanos_per_ms;
constexpr Nanos interval_idle = 100 * nanos_per_ms;
// How long after the last sign of life to look often. A large put in many packets completes nothing
// until its end, so a receiver cannot tell that one is arriving: this must outlast it.
constexpr Nanos active_for = 2 * nanos_per_s;
constexpr int polls_max = 16;
constexpr int polls_min = 4;  // where only polling moves packets; of all rails together
}  // namespace

Service::Service(FabricHub& hub, Reactor& reactor)
    : hub_(hub), reactor_(reactor), interval_(interval_idle) {
}

void Service::start() {
    if (hub_.wait_fd() >= 0) {
        std::lock_guard guard(lock_);  // the callback may come before the id
        watch_ = reactor_.add(hub_.wait_fd(), EPOLLIN, [this](uint32_t) { readable(); });
    } else {
        schedule(tick_timer_, interval_idle, &Service::tick);
    }
}

void Service::stop() {
    Reactor::Id watch = 0;
    {
        std::lock_guard guard(lock_);
        stopping_ = true;
        watch = std::exchange(watch_, 0);
    }
    if (watch != 0) {
        reactor_.remove(watch);
    }
    reactor_.cancel(grace_timer_.id);
    reactor_.cancel(tick_timer_.id);
    // The timer that runs may not be the one last set: stir() sets the next while it does.
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return !running_; });
}

void Service::schedule(Timer& timer, Nanos delay, void (Service::*next)()) {
    std::lock_guard guard(lock_);
    if (stopping_ || timer.set) {
        return;
    }
    timer.set = true;
    timer.id = reactor_.at(reactor_.now() + delay, [this, &timer, next] {
        std::unique_lock inner(lock_);
        timer.set = false;
        running_ = true;
        inner.unlock();
        (this->*next)();
        inner.lock();
        running_ = false;
        idle_.notify_all();
    });
}

void Service::watch_events(uint32_t events) {
    std::lock_guard guard(lock_);
    if (watch_ != 0) {
        reactor_.modify(watch_, events);
    }
}

void Service::stir() {
    schedule(tick_timer_, stir_delay, &Service::tick);
}

void Service::readable() {
    if (serving_ && driven_.load(std::memory_order_relaxed) < fired_) {
        return serve();
    }
    serving_ = false;
    fired_ = reactor_.now();
    watch_events(0);
    schedule(grace_timer_, grace, &Service::grace_over);
}

void Service::grace_over() {
    if (driven_.load(std::memory_order_relaxed) < fired_) {
        serving_ = true;
        hub_.waits().watch();
        serve();
    } else if (hub_.waits().leave()) {
        fired_ = reactor_.now();
        return schedule(grace_timer_, grace, &Service::grace_over);
    }
    watch_events(EPOLLIN);
}

void Service::serve() {
    const int least = std::max(polls_min / static_cast<int>(hub_.rails().size()), 1);
    for (int i = 0; i < polls_max; ++i) {
        if (hub_.poll(nullptr) != 0) {
            active_ = reactor_.now();
        } else if (hub_.wait_fd() < 0 ? i >= least - 1 : hub_.may_sleep()) {
            return;  // may_sleep() also resets the descriptors
        }
    }
}

void Service::tick() {
    Nanos now = reactor_.now();
    bool driven = driven_.load(std::memory_order_relaxed) >= ticked_;
    ticked_ = now;
    if (!driven) {
        serve();
    }
    bool found = !driven && active_ >= now;
    if (driven) {
        active_ = now;
    }
    bool lively = hub_.unfinished() || now - active_ < active_for;
    // The descriptor says when there is more, unless somebody begins to connect (ofi_rxm).
    if (hub_.wait_fd() >= 0 && !hub_.unfinished() && !hub_.introductions().called_by_others()) {
        return;
    }
    interval_ = found ? interval_shortest : std::min(2 * interval_, interval_longest);
    schedule(tick_timer_, lively ? interval_ : interval_idle, &Service::tick);
}

}  // namespace weft::fabric
