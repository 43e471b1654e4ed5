// Chooses the kernels for this CPU once, and the cases that need no arithmetic.
#include "src/reduce/reduce.h"

#include <cstring>

#include "src/base/result.h"
#include "src/reduce/kernels.h"

namespace weft {
namespace {

const Kernels& kernels_best() {
#ifdef __x86_64__
    if (const Kernels* kernels = kernels_avx512()) {
        return *kernels;
    }
    if (const Kernels* kernels = kernels_avx2()) {
        return *kernels;
    }
#endif
    return kernels_plain();
}

const Kernels& kernels() {
    static const Kernels& best = kernels_best();
    return best;
}

}  // namespace

void copy_bytes(void* dst, const void* src, size_t bytes, bool stream) {
    if (dst == src || bytes == 0) {
        return;
    }
    if (stream && bytes >= stream_bytes_min) {
        kernels().copy_stream(dst, src, bytes);
    } else {
        std::memcpy(dst, src, bytes);
    }
}

void reduce_many(void* dst, const void* const* src, int n, size_t count, DataType type, RedOp op,
                 bool stream) {
    ASSERT(n >= 1 && op <= RedOp::min);
    const size_t bytes = count * size_of(type);
    if (n == 1) {
        copy_bytes(dst, src[0], bytes, stream);
        return;
    }
    kernels().reduce[static_cast<size_t>(type)][static_cast<size_t>(op)](
        dst, src, n, count, stream && bytes >= stream_bytes_min);
}

void scale(void* dst, const void* src, size_t count, DataType type, const Scalar& scalar) {
    kernels().scale[static_cast<size_t>(type)](dst, src, count, scalar.bytes);
}

const char* reduce_kernel_name() {
    return kernels().name;
}

}  // namespace weft
