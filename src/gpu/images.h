// The device code this library carries: one image per data type, a fatbin for cuModuleLoadData,
// with the kernels of both families, and one of those that copy. Thread rule: constants, reentrant.
// Failure rule: a library built without a CUDA toolkit has none and says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::gpu {

Result<std::span<const std::byte>> device_image(DataType type);
// Of the kernels "move_rows" and "board_rows" (device/move.h, device/board.h).
Result<std::span<const std::byte>> move_image();

enum class Family : uint8_t { lanes, oneshot };
inline constexpr int family_count = 2;

// "lanes_float32_sum"; `op` is one of sum, prod, max, min.
std::string kernel_name(Family family, DataType type, RedOp op);

}  // namespace weft::gpu
