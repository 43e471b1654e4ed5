// The vocabulary of calls: data types, reductions, collectives. Numbers equal NCCL's where NCCL has
// them. Thread rule: values, reentrant.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft {

enum class DataType : uint8_t {
    int8 = 0,
    uint8 = 1,
    int32 = 2,
    uint32 = 3,
    int64 = 4,
    uint64 = 5,
    float16 = 6,
    float32 = 7,
    float64 = 8,
    bfloat16 = 9,
    float8e4m3 = 10,
    float8e5m2 = 11,
};
inline constexpr int data_type_count = 12;

constexpr size_t size_of(DataType type) {
    switch (type) {
        case DataType::int8:
        case DataType::uint8:
        case DataType::float8e4m3:
        case DataType::float8e5m2:
            return 1;
        case DataType::float16:
        case DataType::bfloat16:
            return 2;
        case DataType::int32:
        case DataType::uint32:
        case DataType::float32:
            return 4;
        case DataType::int64:
        case DataType::uint64:
        case DataType::float64:
            return 8;
    }
    return 0;
}

constexpr bool is_float(DataType type) {
    return type >= DataType::float16 && type != DataType::uint64;
}

// avg: floats are multiplied by 1/n when first read and then summed; integers are summed, then
// divided. pre_mul_sum: every rank multiplies its own input by its own scalar when first read, then
// sum.
enum class RedOp : uint8_t { sum = 0, prod = 1, max = 2, min = 3, avg = 4, pre_mul_sum = 5 };
inline constexpr int red_op_builtin_count = 5;

enum class Coll : uint8_t {
    all_reduce,
    reduce_scatter,
    all_gather,
    broadcast,
    reduce,
    all_to_all,
    gather,
    scatter,
    send_recv,  // a pair plan: known to two ranks only
};
inline constexpr int coll_count = 9;

const char* to_string(DataType type);  // "float", "bfloat16", ... as nccl-tests prints them
const char* to_string(RedOp op);       // "sum", "premulsum", ...
const char* to_string(Coll coll);      // "all_reduce", ...

}  // namespace weft
