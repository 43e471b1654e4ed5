// From a call to what every rank's kernel runs: which way a device communicator takes, and the
// programs of all its ranks, which all can make alone. Thread rule: pure. Failure rule: one line
// when no plan of the settings' choice fits a device.
#pragma once

#include <vector>

#include "src/base/result.h"
#include "src/exec/device_program.h"
#include "src/exec/engine.h"
#include "src/plan/planner.h"

namespace weft {

// What of a call its kernels depend on; equal ones run the same programs.
struct DeviceRequest {
    Coll coll = Coll::all_reduce;
    uint64_t count = 0;
    uint32_t elem_bytes = 1;
    int32_t root = 0;
    DeviceCall call;
    bool operator==(const DeviceRequest&) const = default;
};
DeviceRequest device_request(const Call& call);

// Small operations have kernels of their own.
struct DeviceOneshot {
    gpu::device::Oneshot what = gpu::device::Oneshot::reduce;
    uint32_t bytes = 0;  // of a rank's block
};
bool device_oneshot(const Call& call, DeviceOneshot& found);

// What a plan may use; the same on every rank.
struct DeviceLimits {
    plan::Limits plan;
    // The blocks of all ranks wait for each other, so each may have its share of what a device
    // holds at once.
    uint32_t lanes_max = 1;
};

// The program of one rank.
Result<DeviceProgram> device_plan(const DeviceRequest& request, uint32_t rank,
                                  const gpu::Layout& layout, const DeviceLimits& limits);

}  // namespace weft
