// Conversions and arithmetic of the plain kernels against an independent statement in double.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "src/reduce/reduce.h"
#include "tests/catch.h"

using namespace weft;

namespace {

struct Layout {
    DataType type;
    int bits;
    int mantissa;
    int bias;
    bool has_infinity;
};

constexpr Layout layouts[] = {
    {DataType::float16, 16, 10, 15, true},
    {DataType::bfloat16, 16, 7, 127, true},
    {DataType::float8e4m3, 8, 3, 7, false},
    {DataType::float8e5m2, 8, 2, 15, true},
};

// IEEE 754 by the book; e4m3 keeps its top exponent for numbers, all ones but NaN.
double decode(const Layout& layout, unsigned code) {
    const int exponent_bits = layout.bits - 1 - layout.mantissa;
    const unsigned mantissa = code & ((1u << layout.mantissa) - 1);
    const unsigned exponent = (code >> layout.mantissa) & ((1u << exponent_bits) - 1);
    const double sign = (code >> (layout.bits - 1)) != 0 ? -1 : 1;
    const bool top = exponent == (1u << exponent_bits) - 1;
    if (top && (layout.has_infinity || mantissa == (1u << layout.mantissa) - 1)) {
        return layout.has_infinity && mantissa == 0 ? sign * HUGE_VAL : std::nan("");
    }
    const double fraction = std::ldexp(static_cast<double>(mantissa), -layout.mantissa);
    return exponent == 0
               ? sign * std::ldexp(fraction, 1 - layout.bias)
               : sign * std::ldexp(1 + fraction, static_cast<int>(exponent) - layout.bias);
}

unsigned narrow_code(const Layout& layout, float value) {
    uint16_t code = 0;
    narrow(layout.type, value, &code);
    return code;
}

// The code of the positive number above `code`, counting past the largest finite one.
double above(const Layout& layout, unsigned code) {
    const double next = decode(layout, code + 1);
    return std::isfinite(next) ? next : 2 * decode(layout, code) - decode(layout, code - 1);
}

unsigned overflow_code(const Layout& layout) {
    const unsigned nan_or_infinity =
        ((1u << (layout.bits - 1)) - 1) & ~((1u << layout.mantissa) - 1);
    return layout.has_infinity ? nan_or_infinity : (1u << (layout.bits - 1)) - 2;
}

template <class T>
T divided(T value, uint64_t divisor, DataType type) {
    divide_int(&value, 1, type, divisor);
    return value;
}

}  // namespace

TEST_CASE("all codes widen to their value and come back") {
    for (const Layout& layout : layouts) {
        for (unsigned code = 0; code < (1u << layout.bits); ++code) {
            const auto element = static_cast<uint16_t>(code);
            const float value = widen(layout.type, &element);
            const double want = decode(layout, code);
            if (std::isnan(want)) {
                REQUIRE(std::isnan(value));
                REQUIRE(narrow_code(layout, value) == (1u << (layout.bits - 1)) - 1);
            } else {
                REQUIRE(static_cast<double>(value) == want);
                REQUIRE(std::signbit(value) == std::signbit(want));
                REQUIRE(narrow_code(layout, value) == code);
            }
        }
    }
}

TEST_CASE("numbers between two codes go to the nearer, ties to the even one") {
    for (const Layout& layout : layouts) {
        const unsigned top = overflow_code(layout);
        for (unsigned code = 0; code < (layout.has_infinity ? top : top + 1); ++code) {
            const double low = decode(layout, code);
            const double middle = (low + above(layout, code)) / 2;
            const auto tie = static_cast<float>(middle);
            const unsigned up = code == top ? top : code + 1;
            if (!std::isfinite(tie) || static_cast<double>(tie) != middle) {
                continue;  // the last step of bfloat16: the tie is no fp32 number
            }
            REQUIRE(narrow_code(layout, std::nextafter(tie, 0.0f)) == code);
            REQUIRE(narrow_code(layout, tie) == (code % 2 == 0 ? code : up));
            REQUIRE(narrow_code(layout, std::nextafter(tie, HUGE_VALF)) == up);
            REQUIRE(narrow_code(layout, -std::nextafter(tie, HUGE_VALF)) ==
                    (up | 1u << (layout.bits - 1)));
        }
        REQUIRE(narrow_code(layout, HUGE_VALF) == top);
        REQUIRE(narrow_code(layout, -HUGE_VALF) == (top | 1u << (layout.bits - 1)));
        const float largest = std::numeric_limits<float>::max();
        REQUIRE(narrow_code(layout, largest) == top);
        REQUIRE(narrow_code(layout, std::numeric_limits<float>::denorm_min()) == 0);
    }
}

TEST_CASE("small floats are rounded once per call") {
    // 1 + 2^-8 + 2^-8 is a number of bfloat16; rounding after each addition would lose both.
    const Scalar one = scalar_from_double(DataType::bfloat16, 1);
    const Scalar bit = scalar_from_double(DataType::bfloat16, 1.0 / 256);
    const void* const src[] = {one.bytes, bit.bytes, bit.bytes};
    uint16_t total = 0;
    plain::reduce_many(&total, src, 3, 1, DataType::bfloat16, RedOp::sum);
    CHECK(widen(DataType::bfloat16, &total) == 1.0f + 1.0f / 128);
}

TEST_CASE("integers wrap, minimum and maximum hand on NaN") {
    const int32_t big[] = {std::numeric_limits<int32_t>::max(), 65536};
    const int32_t other[] = {1, 65536};
    int32_t got[2];
    const void* const ints[] = {big, other};
    plain::reduce_many(got, ints, 2, 2, DataType::int32, RedOp::sum);
    CHECK(got[0] == std::numeric_limits<int32_t>::min());
    plain::reduce_many(got, ints, 2, 2, DataType::int32, RedOp::prod);
    CHECK(got[1] == 0);
    const float a[] = {NAN, 1, 2, -0.0f};
    const float b[] = {1, NAN, -3, 0.0f};
    const void* const floats[] = {a, b};
    for (const RedOp op : {RedOp::max, RedOp::min}) {
        float out[4];
        plain::reduce_many(out, floats, 2, 4, DataType::float32, op);
        CHECK(std::isnan(out[0]));
        CHECK(std::isnan(out[1]));
        CHECK(out[2] == (op == RedOp::max ? 2.0f : -3.0f));
        CHECK(std::signbit(out[3]));  // equal: the first one
    }
}

TEST_CASE("integer averages truncate towards zero") {
    CHECK(divided<int8_t>(-7, 2, DataType::int8) == -3);
    CHECK(divided<int8_t>(-128, 200, DataType::int8) == 0);
    CHECK(divided<uint8_t>(255, 2, DataType::uint8) == 127);
    CHECK(divided<int64_t>(std::numeric_limits<int64_t>::min(), 1, DataType::int64) ==
          std::numeric_limits<int64_t>::min());
    CHECK(divided<int64_t>(-9, uint64_t{1} << 63, DataType::int64) == 0);
    CHECK(divided<uint64_t>(~uint64_t{0}, 2, DataType::uint64) == ~uint64_t{0} / 2);
    std::mt19937_64 random(7);
    for (int i = 0; i < 200000; ++i) {
        const auto value = static_cast<uint32_t>(random());
        const uint32_t divisor = static_cast<uint32_t>(random() >> (32 + i % 32)) | 1;
        REQUIRE(divided(value, divisor, DataType::uint32) == value / divisor);
        const auto negative = static_cast<int32_t>(value);
        const auto want = static_cast<int32_t>(int64_t{negative} / int64_t{divisor});
        REQUIRE(divided(negative, divisor, DataType::int32) == want);
    }
}

TEST_CASE("scalars of every type") {
    for (int index = 0; index < data_type_count; ++index) {
        const auto type = static_cast<DataType>(index);
        const Scalar three = scalar_from_double(type, 3);
        const Scalar two = scalar_from_double(type, 2);
        const Scalar six = scalar_from_double(type, 6);
        Scalar got;
        plain::scale(got.bytes, two.bytes, 1, type, three);
        CHECK(std::memcmp(got.bytes, six.bytes, size_of(type)) == 0);
    }
    const Scalar high = scalar_from_double(DataType::int8, 1e9);
    CHECK(static_cast<int8_t>(high.bytes[0]) == 127);
    const Scalar low = scalar_from_double(DataType::int8, -1e9);
    CHECK(static_cast<int8_t>(low.bytes[0]) == -128);
}
