// The calls of one group on one communicator whose device side is ordered by streams, enqueued part
// by part: callers that have several take turns, because a driver's queue may be full until another
// rank's parts are there. Thread rule: lock() to end() on one thread, which holds the side's mutex
// meanwhile. Failure rule: Result; end() is due once begin() was called.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "src/comm/device_streamed.h"

namespace weft {

class PartsLaunch {
  public:
    // Streams: distinct, the one launched on first.
    PartsLaunch(std::shared_ptr<DeviceStreamed> side, std::vector<Call> calls,
                std::vector<gpu::Stream> streams);
    // In this order, but what is refused is not begun.
    void lock();
    StreamClaims::Launch claim(const Capture& capture) const;
    void follow(const StreamClaims::Last& before) { before_ = before; }
    Result<void> begin(const Capture& capture);
    // True: something was enqueued, and there may be more.
    Result<bool> step();
    Result<void> end();
    const DeviceStreamed& side() const { return *side_; }

  private:
    Result<void> order(const Capture& capture);
    Result<void> graph_begin(const Capture& capture);

    std::shared_ptr<DeviceStreamed> side_;  // shared: with its communicator and graphs
    std::vector<Call> calls_;
    std::vector<gpu::Stream> streams_;
    StreamClaims::Last before_;
    std::unique_ptr<DeviceStreamed::Parts> parts_;
    uint64_t graph_ = 0;
    std::unique_lock<std::mutex> lock_;
};

}  // namespace weft
