// The device code this library carries: one image per data type, a fatbin for cuModuleLoadData,
// with the kernels lanes_<type>_<operation>. Thread rule: constants, reentrant. Failure rule: a
// library built without a CUDA toolkit has none and says so.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::gpu {

Result<std::span<const std::byte>> device_image(DataType type);

// "lanes_float32_sum"; `op` is one of sum, prod, max, min.
std::string kernel_name(DataType type, RedOp op);

}  // namespace weft::gpu
