// The kernel table: one per instruction set, filled by its own translation unit. Internal to
// src/reduce and its tests. Thread rule: constant data, reentrant.
#pragma once

#include <cstddef>

#include "src/reduce/reduce.h"

namespace weft {

struct Kernels {
    // `stream`: write dst around the caches. copy_stream copies at least one byte.
    using ReduceFn = void (*)(void* dst, const void* const* src, int n, size_t count, bool stream);
    using ScaleFn = void (*)(void* dst, const void* src, size_t count, const void* scalar);
    using StreamCopyFn = void (*)(void* dst, const void* src, size_t bytes);

    const char* name;
    ReduceFn reduce[data_type_count][4];  // [type][sum, prod, max, min]
    ScaleFn scale[data_type_count];
    StreamCopyFn copy_stream;
};

const Kernels& kernels_plain();
// x86-64 builds only. nullptr where the CPU or the operating system lacks the instruction set.
const Kernels* kernels_avx2();
const Kernels* kernels_avx512();

}  // namespace weft
