// The kernels of one data type, WEFT_DEVICE_TYPE: lanes_<type>_<operation>. Compiled once per type,
// each into a fatbin of its own, so that a communicator loads what it can use.
#include "src/gpu/device/lanes.h"

namespace weft::gpu::device {

template <DataType type, RedOp op>
WEFT_DEVICE_CODE void kernel(const Launch& launch) {
    __shared__ SharedLane shared;
    const Here here{block_threads(), nullptr, &shared};
    lane_run<type, op>(here, launch, block_index());
}

// One block a multiprocessor is enough: told so, the assembler takes the registers it needs; left
// to itself it aims at two and spills.
#define WEFT_KERNEL_NAMED(type, op)                                    \
    extern "C" __global__ void __launch_bounds__(block_threads_max, 1) \
        lanes_##type##_##op(Launch launch) {                           \
        kernel<DataType::type, RedOp::op>(launch);                     \
    }
#define WEFT_KERNEL(type, op) WEFT_KERNEL_NAMED(type, op)

WEFT_KERNEL(WEFT_DEVICE_TYPE, sum)
WEFT_KERNEL(WEFT_DEVICE_TYPE, prod)
WEFT_KERNEL(WEFT_DEVICE_TYPE, max)
WEFT_KERNEL(WEFT_DEVICE_TYPE, min)

}  // namespace weft::gpu::device
