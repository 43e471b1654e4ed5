// Calls on device communicators, as one group collected them: ranks of a communicator that meet
// here on one device run as one launch, everything is ordered on the callers' streams, and nothing
// waits. Thread rule: used by the thread that ends the group; a rank's mutex is held while it
// launches. Failure rule: what is refused is refused before anything is launched; a failure after
// that ends the communicators it concerns.
#pragma once

#include <span>
#include <vector>

#include "src/base/result.h"
#include "src/comm/comm_handle.h"
#include "src/exec/engine.h"
#include "src/gpu/driver_types.h"

namespace weft {

// The calls of one rank, in call order.
struct DeviceBundle {
    CommRef comm;
    ncclComm* handle = nullptr;
    std::vector<Call> calls;
    std::vector<gpu::Stream> streams;  // distinct
};
Result<void> device_bundles_run(std::vector<DeviceBundle> bundles);

// One line for a buffer or stream that a device communicator cannot use. `function` as in CallArgs.
Result<void> device_call_check(Communicator& comm, const Call& call, const char* function,
                               const void* stream);

}  // namespace weft
