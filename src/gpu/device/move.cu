// The kernel that copies rows (move.h), in a fatbin of its own.
#include "src/gpu/device/move.h"

namespace weft::gpu::device {

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    move_rows(const __grid_constant__ MoveLaunch launch) {
    move_run(block_threads(), nullptr, launch, block_index());
}

}  // namespace weft::gpu::device
