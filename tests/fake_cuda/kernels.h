// The library's kernels compiled by the host compiler, by the names the device code has.
// Thread rule: constants. Failure rule: null for a name that is no kernel.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/gpu/driver_types.h"

namespace weft::gpu {

struct FunctionOpaque {
    const char* name;
    size_t argument_bytes;
    // One block, of `threads` threads, to its end.
    void (*run)(const void* argument, uint32_t block, uint32_t threads);
};

Function kernel_find(const char* name);

}  // namespace weft::gpu
