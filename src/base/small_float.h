// The 16- and 8-bit float formats as data, and their conversion to and from fp32 in integer
// arithmetic. Rule: rounding to nearest even, subnormals kept, one NaN pattern per format (sign
// dropped), so that every kernel gives the same bits whatever the CPU.
// Thread rule: values, reentrant. Failure rule: none, every input has a result.
#pragma once

#include <bit>
#include <cstdint>

#include "src/base/types.h"

namespace weft {

struct SmallFormat {
    int bits;            // of one element
    int mantissa;        // explicit mantissa bits
    int bias;            // of the exponent
    uint32_t overflow;   // code that larger magnitudes become: infinity, or the largest finite one
    uint32_t nan;        // the code written for every NaN
    uint32_t nan_first;  // magnitudes from here on are NaN
    bool has_infinity;   // then `overflow` is its code
};

constexpr SmallFormat small_format(DataType type) {
    switch (type) {
        case DataType::bfloat16:
            return {16, 7, 127, 0x7f80, 0x7fff, 0x7f81, true};
        case DataType::float8e4m3:
            return {8, 3, 7, 0x7e, 0x7f, 0x7f, false};
        case DataType::float8e5m2:
            return {8, 2, 15, 0x7c, 0x7f, 0x7d, true};
        default:
            return {16, 10, 15, 0x7c00, 0x7fff, 0x7c01, true};
    }
}

constexpr float small_to_float(const SmallFormat& format, uint32_t code) {
    const uint32_t sign = (code >> (format.bits - 1)) << 31;
    const uint32_t magnitude = code & ((1u << (format.bits - 1)) - 1);
    const int shift = 23 - format.mantissa;
    if (magnitude >= format.nan_first) {
        return std::bit_cast<float>(sign | 0x7fc00000u | (magnitude << shift));
    }
    if (format.has_infinity && magnitude == format.overflow) {
        return std::bit_cast<float>(sign | 0x7f800000u);
    }
    if (format.bias == 127) {
        return std::bit_cast<float>(sign | (magnitude << shift));
    }
    if (magnitude >> format.mantissa == 0) {
        // Subnormal: a multiple of 2^(1 - bias - mantissa), which is a normal fp32 number.
        const auto unit = static_cast<uint32_t>(128 - format.bias - format.mantissa) << 23;
        const float value = static_cast<float>(magnitude) * std::bit_cast<float>(unit);
        return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
    }
    const auto rebias = static_cast<uint32_t>(127 - format.bias) << 23;
    return std::bit_cast<float>(sign | ((magnitude << shift) + rebias));
}

// x / 2^shift to the nearest integer, ties to even.
constexpr uint32_t shift_right_even(uint32_t x, int shift) {
    return (x + (1u << (shift - 1)) - 1 + ((x >> shift) & 1)) >> shift;
}

constexpr uint32_t float_to_small(const SmallFormat& format, float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return format.nan;
    }
    const auto exponent = static_cast<int>(magnitude >> 23);
    const int shift = 23 - format.mantissa;
    uint32_t code = 0;
    if (format.bias == 127 || exponent > 127 - format.bias) {
        const auto rebias = static_cast<uint32_t>(127 - format.bias) << format.mantissa;
        code = shift_right_even(magnitude, shift) - rebias;
    } else if (const int drop = shift + 128 - format.bias - exponent; drop <= 24) {
        // Below the smallest normal: the hidden bit becomes visible and moves right. Beyond 24
        // places nothing reaches half a unit.
        code = shift_right_even((magnitude & 0x7fffffu) | 0x800000u, drop);
    }
    code = code > format.overflow ? format.overflow : code;
    return ((bits >> 31) << (format.bits - 1)) | code;
}

}  // namespace weft
