// Inputs whose every partial sum and product is exact in any order, and the results that must come
// out, bit for bit. An averaged float may be two units in the last place off.
//
// How: sums add multiples of one power of two, and the magnitudes of all ranks together stay within
// what the mantissa holds; products multiply signed powers of two whose exponents together stay
// within range; where there are more ranks than the format can bear, the ranks beyond give the
// neutral element, others for each index. Integers wrap, so any bits do. The values repeat after a
// prime number of elements, which no chunk size divides: misplaced data does not go unnoticed.
// Thread rule: values, reentrant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::perf {

// Numbered as in nccl.h.
enum class Type : int { i8, u8, i32, u32, i64, u64, f16, f32, f64, bf16, f8e4m3, f8e5m2 };
inline constexpr int type_count = 12;
// Numbered as in nccl.h; mul_sum is made by ncclRedOpCreatePreMulSum, none moves data only.
enum class Op : int { sum, prod, max, min, avg, mul_sum, none };
inline constexpr int op_count = 6;

size_t type_size(Type type);
bool type_is_float(Type type);
const char* type_name(Type type);
const char* op_name(Op op);

// The element of a float type nearest to `value` (ties to even), and back.
uint64_t float_encode(Type type, double value);
double float_decode(Type type, uint64_t bits);

// What rank multiplies its input by under mul_sum.
double mul_sum_scalar(int rank);

// Bytes after an output that no call may touch: written before it, damaged ones counted after it.
inline constexpr size_t guard_bytes = 256;
void guard_write(void* at);
size_t guard_damage(const void* at);

class Pattern {
  public:
    static Pattern input(Type type, Op op, int rank, int rank_count);
    static Pattern reduced(Type type, Op op, int rank_count);

    // Writes elements [first, first + count) of the endless pattern.
    void fill(void* dst, size_t first, size_t count) const;
    // How many of the `count` elements at `data` are not [first, first + count).
    size_t mismatches(const void* data, size_t first, size_t count) const;

  private:
    Pattern(Type type, bool tolerant) : type_(type), tolerant_(tolerant) {}
    void append(uint64_t bits);
    bool element_ok(const uint8_t* element, size_t index) const;

    Type type_;
    bool tolerant_;
    std::vector<uint8_t> period_;
    std::vector<double> exact_;  // unrounded, when tolerant
};

}  // namespace weft::perf
