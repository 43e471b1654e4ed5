#include "tools/gpu_suite/check/values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/base/small_float.h"

namespace weft::suite {

namespace {

uint64_t mixed(int rank, uint64_t i, uint64_t salt) {
    uint64_t x = i * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(rank) * 0xbf58476d1ce4e5b9ull +
                 salt * 0x94d049bb133111ebull + 0x2545f4914f6cdd1dull;
    x ^= x >> 31;
    x *= 0xd6e8feb86659fd93ull;
    return x ^ x >> 29;
}

// The largest input of which 8 add up exactly; twice that still does in the 8-bit floats.
uint64_t sum_limit(DataType type) {
    switch (type) {
        case DataType::float8e4m3:
        case DataType::float8e5m2:
            return 1;
        case DataType::int8:
        case DataType::uint8:
            return 7;
        case DataType::bfloat16:
            return 15;
        case DataType::float16:
            return 100;
        case DataType::int32:
        case DataType::uint32:
        case DataType::int64:
        case DataType::uint64:
        case DataType::float32:
        case DataType::float64:
            break;
    }
    return 1000;
}

}  // namespace

uint64_t bits_of(DataType type, int64_t number, int64_t divisor) {
    if (!is_float(type)) {
        const auto bits = static_cast<uint64_t>(number / divisor);
        const size_t bytes = size_of(type);
        return bytes == 8 ? bits : bits & ((1ull << (8 * bytes)) - 1);
    }
    const double value = static_cast<double>(number) / static_cast<double>(divisor);
    if (type == DataType::float64) {
        return std::bit_cast<uint64_t>(value);
    }
    if (type == DataType::float32) {
        return std::bit_cast<uint32_t>(static_cast<float>(value));
    }
    return float_to_small(small_format(type), static_cast<float>(value));
}

int64_t input_number(DataType type, RedOp op, int rank, uint64_t i, uint64_t salt) {
    const uint64_t random = mixed(rank, i, salt);
    if (op == RedOp::prod) {
        return static_cast<int64_t>(1 + random % 2);
    }
    const uint64_t limit = op == RedOp::max || op == RedOp::min
                               ? std::min<uint64_t>(sum_limit(type) * 7, 127)
                               : sum_limit(type);
    return static_cast<int64_t>(random % (std::min<uint64_t>(limit, 1000) + 1));
}

uint64_t input_raw(DataType type, int rank, uint64_t i, uint64_t salt) {
    const uint64_t random = mixed(rank, i, salt);
    const size_t bytes = size_of(type);
    return bytes == 8 ? random : random & ((1ull << (8 * bytes)) - 1);
}

int64_t fold(RedOp op, int64_t a, int64_t b) {
    switch (op) {
        case RedOp::prod:
            return a * b;
        case RedOp::max:
            return std::max(a, b);
        case RedOp::min:
            return std::min(a, b);
        case RedOp::sum:
        case RedOp::avg:
        case RedOp::pre_mul_sum:
            break;
    }
    return a + b;
}

void element_put(char* at, DataType type, uint64_t bits) {
    std::memcpy(at, &bits, size_of(type));  // little-endian, as CUDA's machines are
}

uint64_t element_get(const char* at, DataType type) {
    uint64_t bits = 0;
    std::memcpy(&bits, at, size_of(type));
    return bits;
}

}  // namespace weft::suite
