// Element-wise kernels on host memory: plain ones (the reference) and fast ones chosen by CPU at
// first use. 16- and 8-bit floats are widened to fp32, accumulated over all sources of one call,
// rounded once (nearest even). Integers wrap. min/max: a NaN operand gives NaN. Thread rule:
// reentrant. dst may equal any source exactly; no other overlap. Any alignment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/types.h"

namespace weft {

// A multiplier held in the bytes of the data type itself (PreMulSum), or 1/n (Avg).
struct Scalar {
    alignas(8) uint8_t bytes[8] = {};
};
Scalar scalar_from_double(DataType type, double value);

// From this size on a `stream` call writes around the caches: below it a result that is read again
// soon is better left in the second-level cache, above it the saved read of dst wins.
inline constexpr size_t stream_bytes_min = 256 << 10;

// dst[i] = src[0][i] op src[1][i] op ... op src[n-1][i], n >= 1 (1 is a copy). op is one of sum,
// prod, max, min. `stream` hints that dst will not be read soon (non-temporal stores when large).
void reduce_many(void* dst, const void* const* src, int n, size_t count, DataType type, RedOp op,
                 bool stream = false);

// dst[i] = src[i] * scalar, rounded to the type (integers wrap).
void scale(void* dst, const void* src, size_t count, DataType type, const Scalar& scalar);

// dst[i] = dst[i] / divisor for integer types (truncation towards zero): Avg of integers.
void divide_int(void* dst, size_t count, DataType type, uint64_t divisor);

// memcpy that uses non-temporal stores when large and `stream`.
void copy_bytes(void* dst, const void* src, size_t bytes, bool stream = false);

// The plain versions, for tests and as fallback: same contracts.
namespace plain {
void reduce_many(void* dst, const void* const* src, int n, size_t count, DataType type, RedOp op);
void scale(void* dst, const void* src, size_t count, DataType type, const Scalar& scalar);
}  // namespace plain

// One element conversions, exact where representable (used by kernels and by perf's reference).
float widen(DataType type, const void* element);  // 8- and 16-bit floats
void narrow(DataType type, float value,
            void* element);  // nearest even, saturating for e4m3 (no infinity), inf for e5m2

const char* reduce_kernel_name();  // "plain", "avx2", "avx512"

}  // namespace weft
