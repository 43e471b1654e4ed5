// The kernels of one data type, WEFT_DEVICE_TYPE: lanes_<type>_<operation> and
// oneshot_<type>_<operation>. Compiled once per type, each into a fatbin of its own.
#include "src/gpu/device/oneshot.h"

namespace weft::gpu::device {

template <DataType type, RedOp op>
WEFT_DEVICE_CODE void lanes_kernel(const Launch& launch) {
    __shared__ SharedLane shared;
    lane_run<type, op>(block_threads(), nullptr, &shared, launch, block_index());
}

// One block a multiprocessor is enough: told so, the assembler takes the registers it needs; left
// to itself it aims at two and spills. The argument is read where it lies, not copied to a stack.
#define WEFT_KERNEL_NAMED(type, op)                                                              \
    extern "C" __global__ void __launch_bounds__(block_threads_max, 1)                           \
        lanes_##type##_##op(const __grid_constant__ Launch launch) {                             \
        lanes_kernel<DataType::type, RedOp::op>(launch);                                         \
    }                                                                                            \
    extern "C" __global__ void __launch_bounds__(block_threads_max, 1)                           \
        oneshot_##type##_##op(const __grid_constant__ OneshotLaunch launch) {                    \
        oneshot_run<DataType::type, RedOp::op>(block_threads(), nullptr, launch, block_index()); \
    }
#define WEFT_KERNEL(type, op) WEFT_KERNEL_NAMED(type, op)

WEFT_KERNEL(WEFT_DEVICE_TYPE, sum)
WEFT_KERNEL(WEFT_DEVICE_TYPE, prod)
WEFT_KERNEL(WEFT_DEVICE_TYPE, max)
WEFT_KERNEL(WEFT_DEVICE_TYPE, min)

}  // namespace weft::gpu::device
