// The service thread's event loop: descriptors, timers, posted functions. One per process (owned by
// the process object). Thread rule: every method is thread-safe; callbacks run on the service
// thread, one at a time, never nested. Lifetime rule: after remove(id)/cancel(id) returned on
// another thread, the callback is not running and never runs again (called from inside a callback
// it only promises "never again").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "src/base/clock.h"

namespace weft {

class Reactor {
  public:
    using Id = uint64_t;
    virtual ~Reactor() = default;
    // `events` are EPOLLIN / EPOLLOUT bits; the callback gets the bits that fired. The fd stays the
    // caller's, stays open until remove(), and is watched once. 0: the fd cannot be watched
    // (logged).
    virtual Id add(int fd, uint32_t events, std::function<void(uint32_t)> callback) = 0;
    virtual void modify(Id id, uint32_t events) = 0;
    virtual void remove(Id id) = 0;
    virtual Id at(Nanos when, std::function<void()> callback) = 0;  // one shot
    virtual void cancel(Id timer) = 0;
    virtual void post(std::function<void()> callback) = 0;  // run soon, in order
    virtual bool on_thread() const = 0;                     // is the caller the service thread
    virtual Nanos now() const = 0;
};

// Starts the thread ("weft-service", all signals blocked). The destructor, called on another
// thread, waits for the running callback and drops what has not run.
std::unique_ptr<Reactor> reactor_make();

}  // namespace weft
