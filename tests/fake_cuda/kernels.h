// The library's kernels compiled by the host compiler, by the names the device code has.
// Thread rule: constants. Failure rule: null for a name that is no kernel.
#pragma once

#include "src/gpu/device/program.h"
#include "src/gpu/driver_types.h"

namespace weft::gpu {

struct FunctionOpaque {
    const char* name;
    // One block, of `threads` threads, to its end.
    void (*run)(const device::Launch& launch, uint32_t block, uint32_t threads);
};

Function kernel_find(const char* name);

}  // namespace weft::gpu
