// Kernels for the calls of one gang: arguments, launches, ends. Private to the device bundles.
// Thread rule: under the ranks' mutexes, with the device's context current. Failure rule: Result;
// refusals come before the launch.
#pragma once

#include <memory>
#include <vector>

#include "src/comm/device_clique.h"
#include "src/comm/device_streams.h"
#include "src/exec/engine.h"
#include "src/exec/fingerprint.h"

namespace weft {

struct DeviceLaunch {
    std::vector<DeviceRank*> ranks;
    gpu::Stream stream = nullptr;
    uint64_t graph = 0;
    std::vector<Call> calls;  // by place in `ranks`
};

// Whether the device can run it at all.
Result<void> collective_check(const DeviceLaunch& launch);
// The same collective on every rank of the launch.
Result<void> collective_launch(const DeviceLaunch& launch);
// Sends and receives, by place in `ranks`, begun together.
Result<void> pairs_launch(const DeviceLaunch& launch, std::vector<std::vector<Call>> calls);

}  // namespace weft
