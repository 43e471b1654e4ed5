// From a checked call to the shard: launches of one communicator start in call order, each after
// the launches it must follow (host streams). Thread rule: thread-safe. Lifetime: a Launch is
// shared by the caller that waits, the stream it was given and the queue.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "src/base/result.h"
#include "src/exec/engine.h"

struct ncclComm;

namespace weft {

struct Launch;
using LaunchPtr = std::shared_ptr<Launch>;  // shared: see above

struct Launch {
    enum class State : uint8_t { queued, submitted, refused };
    ncclComm* handle = nullptr;    // whose communicator runs it
    std::vector<Call> calls;       // until submitted
    std::vector<LaunchPtr> after;  // finished before this one may start; until submitted
    bool attended = false;         // a thread will drive it at once; else the service thread does
    std::atomic<State> state{State::queued};
    TicketPtr ticket;            // valid once submitted
    std::optional<Error> error;  // valid once refused

    bool queued() const { return state.load(std::memory_order_acquire) == State::queued; }
    bool finished() const;
    const Error* failure() const;  // of a finished launch, null when it succeeded
};

class LaunchQueue {
  public:
    LaunchQueue(Shard& shard) : shard_(shard) {}
    // Queues, and submits what may start. True when something is left behind in the queue.
    bool add(LaunchPtr launch);
    // Submits what may start now. True when something is left behind.
    bool pump();
    // What the first queued launch waits for; empty when nothing is queued or it may start.
    std::vector<LaunchPtr> blockers() const;
    bool empty() const { return length_.load(std::memory_order_acquire) == 0; }
    // Ends queued and future launches with the cause.
    void fail(const Error& cause);

  private:
    bool pump_locked();
    void start(Launch& launch);

    Shard& shard_;  // borrowed for life
    mutable std::mutex mutex_;
    std::deque<LaunchPtr> queue_;
    std::atomic<size_t> length_{0};  // of queue_
    std::optional<Error> cause_;
};

// Drives the launches until all are finished. The first error in order, or success.
Result<void> launches_wait(std::span<const LaunchPtr> launches);
// One try at progress without waiting; true when all are finished.
bool launches_poke(std::span<const LaunchPtr> launches);

}  // namespace weft
