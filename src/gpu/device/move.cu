// The kernels that copy rows (move.h, board.h), in a fatbin of their own.
#include "src/gpu/device/board.h"

namespace weft::gpu::device {

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    move_rows(const __grid_constant__ MoveLaunch launch) {
    move_run(block_threads(), nullptr, launch, block_index());
}

extern "C" __global__ void __launch_bounds__(block_threads_max, 1)
    board_rows(const __grid_constant__ BoardLaunch launch) {
    board_run(block_threads(), nullptr, launch, block_index());
}

}  // namespace weft::gpu::device
