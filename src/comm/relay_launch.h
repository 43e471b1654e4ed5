// The calls of one group on one communicator whose device side is a relay, enqueued part by part:
// callers that have several take turns, because a driver's queue may be full until another rank's
// parts are there. Thread rule: begin() to end() on one thread, which holds the relay's mutex
// meanwhile. Failure rule: Result; end() is due once begin() was called.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "src/comm/device_relay.h"
#include "src/comm/device_streams.h"

namespace weft {

class RelayLaunch {
  public:
    // Streams: distinct, the one launched on first.
    RelayLaunch(std::shared_ptr<DeviceRelay> relay, const std::vector<Call>& calls,
                std::vector<gpu::Stream> streams);
    Result<void> begin(const Capture& capture);
    // True: something was enqueued, and there may be more.
    Result<bool> step();
    Result<void> end();
    const DeviceRelay& relay() const { return *relay_; }

  private:
    Result<void> order(const Capture& capture);
    Result<void> graph_begin(const Capture& capture);

    std::shared_ptr<DeviceRelay> relay_;  // shared: with its communicator and graphs
    std::vector<gpu::Stream> streams_;
    RelayCut cut_;
    std::optional<RelayPart> next_;
    struct Way {
        RelayPart part;
        uint32_t slot = 0;
    };
    std::deque<Way> under_way_;  // in, not yet out
    uint32_t slot_ = 0;
    uint64_t graph_ = 0;
    std::unique_lock<std::mutex> lock_;
};

}  // namespace weft
