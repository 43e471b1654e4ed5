#include "perf/verifiable.h"

#include <cmath>
#include <cstring>
#include <random>

#include "tests/catch.h"

using namespace weft::perf;

namespace {

constexpr size_t count = 4200;  // a little more than the period

double value_at(Type type, const std::vector<uint8_t>& data, size_t i) {
    uint64_t bits = 0;
    std::memcpy(&bits, data.data() + i * type_size(type), type_size(type));
    return float_decode(type, bits);
}

double combined(Op op, double a, double b) {
    switch (op) {
        case Op::prod:
            return a * b;
        case Op::max:
            return std::max(a, b);
        case Op::min:
            return std::min(a, b);
        default:
            return a + b;
    }
}

std::vector<uint8_t> filled(const Pattern& pattern, Type type) {
    std::vector<uint8_t> data(count * type_size(type));
    pattern.fill(data.data(), 0, count);
    return data;
}

// Combines the ranks in the given order, rounding to the type after every step.
std::vector<uint8_t> reduced_stepwise(Type type, Op op, const std::vector<int>& order) {
    const int ranks = static_cast<int>(order.size());
    std::vector<std::vector<uint8_t>> inputs;
    for (int rank = 0; rank < ranks; ++rank) {
        inputs.push_back(filled(Pattern::input(type, op, rank, ranks), type));
    }
    std::vector<uint8_t> out(count * type_size(type));
    for (size_t i = 0; i < count; ++i) {
        double total = 0;
        for (size_t k = 0; k < order.size(); ++k) {
            const int rank = order[k];
            double value = value_at(type, inputs[static_cast<size_t>(rank)], i);
            if (op == Op::avg) {
                const double part = float_decode(type, float_encode(type, 1.0 / ranks));
                value = float_decode(type, float_encode(type, value * part));
            } else if (op == Op::mul_sum) {
                value *= mul_sum_scalar(rank);
            }
            const double next = k == 0 ? value : combined(op, total, value);
            total = float_decode(type, float_encode(type, next));
            if (op != Op::avg) {
                REQUIRE(total == next);  // nothing was rounded
            }
        }
        const uint64_t bits = float_encode(type, total);
        std::memcpy(out.data() + i * type_size(type), &bits, type_size(type));
    }
    return out;
}

constexpr Type floats[] = {Type::f16, Type::f32, Type::f64, Type::bf16, Type::f8e4m3, Type::f8e5m2};

}  // namespace

TEST_CASE("codes of small floats decode and encode to themselves") {
    for (const Type type : {Type::f16, Type::bf16, Type::f8e4m3, Type::f8e5m2}) {
        for (uint64_t code = 0; code < uint64_t{1} << (8 * type_size(type)); ++code) {
            const double value = float_decode(type, code);
            if (std::isfinite(value)) {
                REQUIRE(float_encode(type, value) == code);
            }
        }
    }
    const float third = 1.0f / 3;
    uint32_t bits;
    std::memcpy(&bits, &third, 4);
    CHECK(float_encode(Type::f32, 1.0 / 3) == bits);
    CHECK(float_encode(Type::bf16, 1.0 + 1.0 / 256) == 0x3f80);  // a tie, to even
    CHECK(float_encode(Type::bf16, 1.0 + 3.0 / 256) == 0x3f82);
}

TEST_CASE("any order of the ranks gives the expected bits") {
    std::mt19937 random(1);
    for (const Type type : floats) {
        for (int op = 0; op < op_count; ++op) {
            for (const int ranks : {1, 2, 3, 8, 13, 70}) {
                std::vector<int> order(static_cast<size_t>(ranks));
                for (int rank = 0; rank < ranks; ++rank) {
                    order[static_cast<size_t>(rank)] = rank;
                }
                std::shuffle(order.begin(), order.end(), random);
                const std::vector<uint8_t> got = reduced_stepwise(type, static_cast<Op>(op), order);
                const Pattern want = Pattern::reduced(type, static_cast<Op>(op), ranks);
                INFO(type_name(type) << " " << op_name(static_cast<Op>(op)) << " " << ranks);
                REQUIRE(want.mismatches(got.data(), 0, count) == 0);
            }
        }
    }
}

TEST_CASE("integers wrap and average by division") {
    for (const int ranks : {1, 2, 5, 64}) {
        std::vector<int8_t> sum(count);
        std::vector<int> wide(count);
        for (int rank = 0; rank < ranks; ++rank) {
            std::vector<int8_t> in(count);
            Pattern::input(Type::i8, Op::sum, rank, ranks).fill(in.data(), 0, count);
            std::vector<int8_t> small(count);
            Pattern::input(Type::i8, Op::avg, rank, ranks).fill(small.data(), 0, count);
            for (size_t i = 0; i < count; ++i) {
                sum[i] = static_cast<int8_t>(sum[i] + in[i]);
                wide[i] += small[i];
            }
        }
        CHECK(Pattern::reduced(Type::i8, Op::sum, ranks).mismatches(sum.data(), 0, count) == 0);
        for (size_t i = 0; i < count; ++i) {
            REQUIRE(wide[i] <= 127);
            sum[i] = static_cast<int8_t>(wide[i] / ranks);
        }
        CHECK(Pattern::reduced(Type::i8, Op::avg, ranks).mismatches(sum.data(), 0, count) == 0);
    }
}

TEST_CASE("unsigned comparisons are unsigned") {
    std::vector<uint64_t> a(count);
    std::vector<uint64_t> b(count);
    Pattern::input(Type::u64, Op::max, 0, 2).fill(a.data(), 0, count);
    Pattern::input(Type::u64, Op::max, 1, 2).fill(b.data(), 0, count);
    for (size_t i = 0; i < count; ++i) {
        a[i] = std::max(a[i], b[i]);
    }
    CHECK(Pattern::reduced(Type::u64, Op::max, 2).mismatches(a.data(), 0, count) == 0);
}

TEST_CASE("wrong values are counted, wherever they are") {
    for (int type = 0; type < type_count; ++type) {
        const Pattern pattern = Pattern::reduced(static_cast<Type>(type), Op::sum, 4);
        const size_t size = type_size(static_cast<Type>(type));
        std::vector<uint8_t> data(count * size);
        pattern.fill(data.data(), 77, count);
        CHECK(pattern.mismatches(data.data(), 77, count) == 0);
        CHECK(pattern.mismatches(data.data(), 78, count) > count / 2);
        data[0] ^= 1;
        data[4100 * size] ^= 0x40;
        data[count * size - 1] ^= 0x40;
        CHECK(pattern.mismatches(data.data(), 77, count) == 3);
    }
}

TEST_CASE("every damaged guard byte counts") {
    std::vector<uint8_t> guard(guard_bytes + 1, 0xee);
    guard_write(guard.data());
    CHECK(guard[guard_bytes] == 0xee);
    CHECK(guard_damage(guard.data()) == 0);
    guard[0] ^= 1;
    guard[guard_bytes - 1] = 0;
    CHECK(guard_damage(guard.data()) == 2);
}

TEST_CASE("a missing contribution is seen") {
    for (const Type type : {Type::f32, Type::f16, Type::i32}) {
        const Pattern all = Pattern::reduced(type, Op::sum, 3);
        std::vector<uint8_t> zero(count * type_size(type));
        CHECK(all.mismatches(zero.data(), 0, count) > count * 9 / 10);
    }
}

TEST_CASE("two units in the last place are the end of an average's tolerance") {
    const Pattern pattern = Pattern::reduced(Type::f32, Op::avg, 3);
    std::vector<uint32_t> data(count);
    pattern.fill(data.data(), 0, count);
    for (uint32_t& bits : data) {
        bits += 1;
    }
    CHECK(pattern.mismatches(data.data(), 0, count) == 0);
    for (uint32_t& bits : data) {
        bits += 3;
    }
    CHECK(pattern.mismatches(data.data(), 0, count) > count * 9 / 10);
}
