// The data types as device code sees them: bits in memory, and the wider type that sums are formed
// in. Same results as src/reduce/plain.cpp, bit for bit, on both compilers: 8- and 16-bit floats
// are widened to fp32 and rounded once, integers wrap, a NaN operand of max or min gives NaN. fp8
// and bfloat16 use the integer routines of src/base/small_float.h everywhere; fp16 the conversions
// every device has. Thread rule: values, device code. Failure rule: none.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "src/base/small_float.h"
#include "src/gpu/device/mem.h"

namespace weft::gpu::device {

// Whole numbers of a type: sums and products are formed without a sign, order with it.
template <class Integer, class WideInteger>
struct Whole {
    using Bits = std::make_unsigned_t<Integer>;
    using Wide = WideInteger;
    static WEFT_DEVICE_CODE Wide widen(Bits bits) {
        return static_cast<Wide>(static_cast<Integer>(bits));
    }
    static WEFT_DEVICE_CODE Bits narrow(Wide value) { return static_cast<Bits>(value); }
};

template <class Float, class FloatBits>
struct Plain {
    using Bits = FloatBits;
    using Wide = Float;
    static WEFT_DEVICE_CODE Wide widen(Bits bits) { return std::bit_cast<Float>(bits); }
    static WEFT_DEVICE_CODE Bits narrow(Wide value) { return std::bit_cast<FloatBits>(value); }
};

template <DataType type, class SmallBits>
struct Small {
    using Bits = SmallBits;
    using Wide = float;
    static constexpr SmallFormat format = small_format(type);
    static WEFT_DEVICE_CODE float widen(Bits bits) {
#ifdef __CUDACC__
        if constexpr (type == DataType::float16) {
            float value;
            asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
            return value;
        }
#endif
        return small_to_float(small_format(type), bits);
    }
    static WEFT_DEVICE_CODE Bits narrow(float value) {
#ifdef __CUDACC__
        if constexpr (type == DataType::float16) {
            Bits bits;
            asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
            return bits;
        }
#endif
        return static_cast<Bits>(float_to_small(small_format(type), value));
    }
};

template <DataType type>
struct Element;
// clang-format off
template <> struct Element<DataType::int8> : Whole<int8_t, int32_t> {};
template <> struct Element<DataType::uint8> : Whole<uint8_t, uint32_t> {};
template <> struct Element<DataType::int32> : Whole<int32_t, int32_t> {};
template <> struct Element<DataType::uint32> : Whole<uint32_t, uint32_t> {};
template <> struct Element<DataType::int64> : Whole<int64_t, int64_t> {};
template <> struct Element<DataType::uint64> : Whole<uint64_t, uint64_t> {};
template <> struct Element<DataType::float32> : Plain<float, uint32_t> {};
template <> struct Element<DataType::float64> : Plain<double, uint64_t> {};
template <> struct Element<DataType::float16> : Small<DataType::float16, uint16_t> {};
template <> struct Element<DataType::bfloat16> : Small<DataType::bfloat16, uint16_t> {};
template <> struct Element<DataType::float8e4m3> : Small<DataType::float8e4m3, uint8_t> {};
template <> struct Element<DataType::float8e5m2> : Small<DataType::float8e5m2, uint8_t> {};
// clang-format on

// Products must not be fused with the sums that follow: both compilers are told so on their command
// lines (-fmad=false, -ffp-contract=off).
template <RedOp op, class Wide>
WEFT_DEVICE_CODE Wide combine(Wide a, Wide b) {
    if constexpr (op == RedOp::max || op == RedOp::min) {
        const bool b_wins = op == RedOp::max ? b > a : b < a;
        return b_wins || b != b ? b : a;
    } else if constexpr (std::is_integral_v<Wide>) {
        using Wrapping = std::make_unsigned_t<Wide>;
        const auto x = static_cast<Wrapping>(a);
        const auto y = static_cast<Wrapping>(b);
        return static_cast<Wide>(op == RedOp::sum ? x + y : x * y);
    } else {
        return op == RedOp::sum ? a + b : a * b;
    }
}

// Towards zero, as averages of integers are.
template <class Wide>
WEFT_DEVICE_CODE Wide quotient(Wide value, uint64_t divisor) {
    if constexpr (sizeof(Wide) < 8) {
        return static_cast<Wide>(static_cast<int64_t>(value) / static_cast<int64_t>(divisor));
    } else if constexpr (std::is_signed_v<Wide>) {
        const auto bits = static_cast<uint64_t>(value);
        const uint64_t magnitude = (value < 0 ? 0 - bits : bits) / divisor;
        return static_cast<Wide>(value < 0 ? 0 - magnitude : magnitude);
    } else {
        return value / divisor;
    }
}

// Element i of a vector, with i known when it is compiled: a register's part, not memory.
template <class Bits>
WEFT_DEVICE_CODE Bits vector_get(const Vec16& from, int i) {
    constexpr int per_half = 8 / static_cast<int>(sizeof(Bits));
    const uint64_t half = i < per_half ? from.low : from.high;
    return static_cast<Bits>(half >> (i % per_half * 8 * static_cast<int>(sizeof(Bits))));
}

// `into` starts as zero, and every element is put once.
template <class Bits>
WEFT_DEVICE_CODE void vector_put(Vec16& into, int i, Bits bits) {
    constexpr int per_half = 8 / static_cast<int>(sizeof(Bits));
    const uint64_t placed = static_cast<uint64_t>(bits)
                            << (i % per_half * 8 * static_cast<int>(sizeof(Bits)));
    if (i < per_half) {
        into.low |= placed;
    } else {
        into.high |= placed;
    }
}

}  // namespace weft::gpu::device
