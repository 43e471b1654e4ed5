// The kernels of kernels.h, in a fatbin of their own.
#include "tools/gpu_suite/check/kernels.h"

namespace weft::gpu::device {

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    suite_litmus(const __grid_constant__ LitmusLaunch launch) {
    litmus_run(block_threads(), nullptr, launch, block_index());
}

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    suite_copy(const __grid_constant__ CopyLaunch launch) {
    copy_run(block_threads(), launch, block_index());
}

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    suite_reduce(const __grid_constant__ ReduceLaunch launch) {
    __shared__ const char* sources[reduce_sources];
    reduce_run(block_threads(), nullptr, sources, launch, block_index());
}

}  // namespace weft::gpu::device
