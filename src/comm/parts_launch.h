// The calls of one group on one communicator whose device side is ordered by streams, enqueued part
// by part: callers that have several take turns, because a driver's queue may be full until another
// rank's parts are there. Messages that must not wait for each other have lanes (message_lanes.h),
// which take turns, too, for streams may share a queue of the device. They begin on the caller's
// stream when what is in order is through, and end there. Thread rule: lock() to end() on one
// thread, which holds the side's mutex meanwhile. Failure rule: Result; end() is due once begin()
// was called.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "src/comm/device_streamed.h"
#include "src/comm/message_lanes.h"

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
    struct Lane {
        DeviceStreamed::Lane at;
        std::unique_ptr<DeviceStreamed::Parts> parts;  // null: all is enqueued
        uint32_t steps = 0;
    };

    Result<void> order(const Capture& capture);
    Result<void> graph_begin(const Capture& capture);
    Result<void> split();
    Result<void> lanes_begin();
    Result<void> lane_step(Lane& lane);
    Result<bool> lanes_step();
    Result<void> lanes_end();

    std::shared_ptr<DeviceStreamed> side_;  // shared: with its communicator and graphs
    std::vector<Call> calls_;
    std::vector<gpu::Stream> streams_;
    StreamClaims::Last before_;
    MessageLanes split_;
    std::vector<gpu::Stream> lane_streams_;         // the caller's, then others
    std::unique_ptr<DeviceStreamed::Parts> parts_;  // in order; null: they are through
    std::vector<Lane> lanes_;
    uint64_t graph_ = 0;
    std::unique_lock<std::mutex> lock_;
};

}  // namespace weft
