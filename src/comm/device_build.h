// The device side of a communicator, made on a thread of its own: CUDA calls may wait for kernels,
// which may wait for what the service thread does. Thread-safe. Failure rule: Result, to `done`.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "src/comm/device_clique.h"
#include "src/comm/device_relay.h"
#include "src/comm/peer_info.h"

namespace weft {

// One of the two.
struct DeviceParts {
    std::shared_ptr<DeviceClique> clique;  // shared: see device_side.h
    std::shared_ptr<DeviceRelay> relay;
    // Lets go of what it has; not for callers that may wait.
    void release();
};

// Whether all ranks are of one process and one device, and so reach each other's memory and meet in
// one launch. Any others go through host memory. The same on every rank.
bool device_clique_fits(const std::vector<PeerInfo>& infos);

struct DeviceSeat {
    uint64_t group = 0;
    int32_t device = 0;
    int32_t rank = 0, rank_count = 1;
    bool clique = false;
};
// `done` is called on the service thread.
void device_parts_make(const DeviceSeat& at, std::function<void(Result<DeviceParts>)> done);

}  // namespace weft
