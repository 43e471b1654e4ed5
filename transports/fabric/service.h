// Keeps the peers of a process served while the owners of its wires compute: polls the rails on the
// service thread when nobody else does. Rails with a wait descriptor wake it, the others are looked
// at with back-off; idle, it costs nothing or ten looks a second. Thread rule: driven() and stir()
// from any thread, the rest on the service thread. Lifetime: reactor and hub before service.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "src/base/clock.h"
#include "src/base/reactor.h"

namespace weft::fabric {

class FabricHub;

class Service {
  public:
    Service(FabricHub& hub, Reactor& reactor);
    ~Service() { stop(); }
    // What it calls may use it: it is started when it can be found, and stopped while it can.
    void start();
    void stop();  // after return nothing of it runs; again is fine
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    void driven(Nanos now) { driven_.store(now, std::memory_order_relaxed); }
    // A wire's owner goes to sleep on the rails' descriptors: they wake it, this need not look.
    // (Where there are none, this is what wakes it.)
    void slept_on(Nanos now) { driven(now + sleep_longest); }
    // Something began that may need a push without an event (a connection): look soon.
    void stir();

  private:
    static constexpr Nanos sleep_longest = 100 * nanos_per_ms;  // of an owner

    void readable();
    void grace_over();
    void tick();
    void serve();
    struct Timer {
        Reactor::Id id = 0;
        bool set = false;
    };
    void watch_events(uint32_t events);
    // Sets the timer unless it is set already.
    void schedule(Timer& timer, Nanos delay, void (Service::*next)());

    FabricHub& hub_;
    Reactor& reactor_;
    std::atomic<Nanos> driven_{0};

    std::mutex lock_;        // of what follows, up to idle_
    Reactor::Id watch_ = 0;  // 0: no descriptor, ticks only
    Timer grace_timer_;
    Timer tick_timer_;
    bool stopping_ = false;
    bool running_ = false;  // a timer's function
    std::condition_variable idle_;

    // Service thread only.
    bool serving_ = false;  // nobody drove during the last grace: serve at once
    Nanos fired_ = 0;       // when the descriptor last woke us
    Nanos ticked_ = 0;
    Nanos interval_;
    Nanos active_ = 0;  // when something was last found
};

}  // namespace weft::fabric
