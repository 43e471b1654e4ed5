#include "perf/verifiable.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace weft::perf {
namespace {

constexpr size_t period = 4093;
constexpr uint8_t guard_byte = 0xa7;

struct Format {
    const char* name;
    int bits;
    bool is_signed;
    int mantissa = 0;  // explicit bits; 0 for integers
    int bias = 0;
};

constexpr Format formats[type_count] = {
    {"int8", 8, true},
    {"uint8", 8, false},
    {"int32", 32, true},
    {"uint32", 32, false},
    {"int64", 64, true},
    {"uint64", 64, false},
    {"half", 16, true, 10, 15},
    {"float", 32, true, 23, 127},
    {"double", 64, true, 52, 1023},
    {"bfloat16", 16, true, 7, 127},
    {"f8e4m3", 8, true, 3, 7},
    {"f8e5m2", 8, true, 2, 15},
};

const Format& format_of(Type type) {
    return formats[static_cast<int>(type)];
}

// splitmix64: every bit of the result depends on every bit of the seed.
uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

struct Place {
    size_t index;
    int rank;
    int rank_count;

    uint64_t random() const { return mix(index * 0x10001 + mix(static_cast<uint64_t>(rank) + 1)); }
    uint64_t shared_random() const { return mix(index); }
    // At most `limit` of the ranks are active at one index.
    bool active(int limit) const {
        const auto turn =
            (static_cast<uint64_t>(rank) + shared_random()) % static_cast<uint64_t>(rank_count);
        return turn < static_cast<uint64_t>(limit);
    }
};

// The integers up to this are exact in the type.
int64_t exact_limit(Type type) {
    const Format& format = format_of(type);
    if (format.mantissa > 0) {
        return int64_t{1} << std::min(format.mantissa + 1, 40);
    }
    return (int64_t{1} << std::min(format.bits - 1, 40)) - 1;
}

// One rank's share of a sum that stays exact: a multiple of one power of two per index.
double sum_share(Type type, Op op, const Place& place) {
    const bool power_of_two = std::has_single_bit(static_cast<unsigned>(place.rank_count));
    const bool lossy_avg = op == Op::avg && type_is_float(type) && !power_of_two;
    const int64_t budget = exact_limit(type) / (op == Op::mul_sum ? 2 : 1);
    // With one addend an average is rounded twice at most (1/n, then the product): within two
    // units whatever the order.
    const auto ranks =
        static_cast<int>(lossy_avg ? 1 : std::min<int64_t>(place.rank_count, budget));
    if (!place.active(ranks)) {
        return 0;
    }
    const uint64_t random = place.random();
    const int64_t top = std::min<int64_t>(budget / ranks, 1 << 20);
    const auto magnitude = static_cast<double>(1 + (random >> 8) % static_cast<uint64_t>(top));
    // Equal signs in averages: cancellation would magnify the rounding of 1/n.
    const bool negative = op != Op::avg && format_of(type).is_signed && (random & 1) != 0;
    const int scale = type_is_float(type) ? static_cast<int>(place.shared_random() >> 60) % 3 : 0;
    return std::ldexp(negative ? -magnitude : magnitude, scale);
}

// A signed power of two; all exponents together stay within the normal range.
double prod_share(Type type, const Place& place) {
    const int limit = std::min(format_of(type).bias - 1, 100);
    const uint64_t random = place.random();
    const int exponent = place.active(std::min(limit, place.rank_count)) ? 1 : 0;
    const double value = std::ldexp(1.0, (random & 2) != 0 ? exponent : -exponent);
    return (random & 1) != 0 ? -value : value;
}

double float_input(Type type, Op op, const Place& place) {
    switch (op) {
        case Op::prod:
            return prod_share(type, place);
        case Op::sum:
        case Op::avg:
        case Op::mul_sum:
            return sum_share(type, op, place);
        case Op::max:
        case Op::min:
        case Op::none:
            break;
    }
    const auto limit = static_cast<uint64_t>(exact_limit(type));
    const auto magnitude = static_cast<double>(1 + (place.random() >> 8) % limit);
    return (place.random() & 1) != 0 ? -magnitude : magnitude;
}

// The low bits hold the value; upper ones are ignored or, for comparisons, a sign extension.
uint64_t int_input(Type type, Op op, const Place& place) {
    if (op == Op::avg) {
        return static_cast<uint64_t>(static_cast<int64_t>(sum_share(type, op, place)));
    }
    const int unused = 64 - format_of(type).bits;
    const uint64_t random = place.random() | (op == Op::prod ? 1 : 0);
    const uint64_t top = random << unused;
    return format_of(type).is_signed ? static_cast<uint64_t>(static_cast<int64_t>(top) >> unused)
                                     : top >> unused;
}

double combine_float(Op op, double a, double b) {
    switch (op) {
        case Op::prod:
            return a * b;
        case Op::max:
            return std::max(a, b);
        case Op::min:
            return std::min(a, b);
        case Op::sum:
        case Op::avg:
        case Op::mul_sum:
        case Op::none:
            break;
    }
    return a + b;
}

uint64_t combine_int(Op op, bool is_signed, uint64_t a, uint64_t b) {
    const bool less = is_signed ? static_cast<int64_t>(a) < static_cast<int64_t>(b) : a < b;
    switch (op) {
        case Op::prod:
            return a * b;
        case Op::max:
            return less ? b : a;
        case Op::min:
            return less ? a : b;
        case Op::sum:
        case Op::avg:
        case Op::mul_sum:
        case Op::none:
            break;
    }
    return a + b;
}

double float_total(Type type, Op op, Place place) {
    double total = 0;
    for (place.rank = 0; place.rank < place.rank_count; ++place.rank) {
        const double value =
            float_input(type, op, place) * (op == Op::mul_sum ? mul_sum_scalar(place.rank) : 1.0);
        total = place.rank == 0 ? value : combine_float(op, total, value);
    }
    return op == Op::avg ? total / place.rank_count : total;
}

uint64_t int_total(Type type, Op op, Place place) {
    uint64_t total = 0;
    for (place.rank = 0; place.rank < place.rank_count; ++place.rank) {
        const auto scalar =
            static_cast<uint64_t>(op == Op::mul_sum ? mul_sum_scalar(place.rank) : 1.0);
        const uint64_t value = int_input(type, op, place) * scalar;
        total = place.rank == 0 ? value : combine_int(op, format_of(type).is_signed, total, value);
    }
    // Averaged inputs are small and not negative: no wrap, and one kind of division.
    return op == Op::avg ? total / static_cast<uint64_t>(place.rank_count) : total;
}

// The distance between neighbours of the type at `value`.
double unit_at(const Format& format, double value) {
    const int exponent = value == 0 ? 1 - format.bias : std::ilogb(value);
    return std::ldexp(1.0, std::max(exponent, 1 - format.bias) - format.mantissa);
}

}  // namespace

size_t type_size(Type type) {
    return static_cast<size_t>(format_of(type).bits / 8);
}

bool type_is_float(Type type) {
    return format_of(type).mantissa > 0;
}

const char* type_name(Type type) {
    return format_of(type).name;
}

const char* op_name(Op op) {
    constexpr const char* names[] = {"sum", "prod", "max", "min", "avg", "mulsum", "none"};
    return names[static_cast<int>(op)];
}

double mul_sum_scalar(int rank) {
    return rank % 2 == 0 ? 1.0 : 2.0;
}

// Values here are finite and within range, so infinities and NaN need no code.
uint64_t float_encode(Type type, double value) {
    if (type == Type::f64) {
        return std::bit_cast<uint64_t>(value);
    }
    const Format& format = format_of(type);
    const double magnitude = std::fabs(value);
    const double unit = unit_at(format, magnitude);
    const auto units = static_cast<uint64_t>(std::nearbyint(magnitude / unit));
    // In units of the binade the code of a normal number is the mantissa with its hidden bit plus
    // (exponent - 1) whole binades; a subnormal has exponent 1 and no hidden bit. Rounding up to
    // the next binade carries by itself.
    const auto binade = static_cast<uint64_t>(std::ilogb(unit) + format.mantissa + format.bias - 1);
    const uint64_t code = units + (binade << format.mantissa);
    return code | (static_cast<uint64_t>(std::signbit(value)) << (format.bits - 1));
}

double float_decode(Type type, uint64_t bits) {
    if (type == Type::f64) {
        return std::bit_cast<double>(bits);
    }
    const Format& format = format_of(type);
    const uint64_t code = bits & ((uint64_t{1} << (format.bits - 1)) - 1);
    const auto exponent = static_cast<int>(code >> format.mantissa);
    const uint64_t mantissa = code & ((uint64_t{1} << format.mantissa) - 1);
    const uint64_t top = (uint64_t{1} << (format.bits - 1 - format.mantissa)) - 1;
    const bool e4m3 = type == Type::f8e4m3;
    double value = 0;
    if (static_cast<uint64_t>(exponent) == top && (!e4m3 || mantissa == 7)) {
        value = mantissa == 0 ? HUGE_VAL : std::nan("");
    } else {
        const uint64_t hidden = exponent == 0 ? 0 : uint64_t{1} << format.mantissa;
        value = std::ldexp(static_cast<double>(mantissa | hidden),
                           std::max(exponent, 1) - format.bias - format.mantissa);
    }
    return (bits >> (format.bits - 1)) != 0 ? -value : value;
}

void guard_write(void* at) {
    std::memset(at, guard_byte, guard_bytes);
}

size_t guard_damage(const void* at) {
    const auto* bytes = static_cast<const uint8_t*>(at);
    return guard_bytes -
           static_cast<size_t>(std::count(bytes, bytes + guard_bytes, uint8_t{guard_byte}));
}

void Pattern::append(uint64_t bits) {
    const auto* bytes =
        reinterpret_cast<const uint8_t*>(&bits);  // little endian, as all hosts here
    period_.insert(period_.end(), bytes, bytes + type_size(type_));
}

Pattern Pattern::input(Type type, Op op, int rank, int rank_count) {
    Pattern pattern(type, false);
    for (size_t i = 0; i < period; ++i) {
        const Place place{i, rank, rank_count};
        pattern.append(type_is_float(type) ? float_encode(type, float_input(type, op, place))
                                           : int_input(type, op, place));
    }
    return pattern;
}

Pattern Pattern::reduced(Type type, Op op, int rank_count) {
    Pattern pattern(type, op == Op::avg && type_is_float(type));
    for (size_t i = 0; i < period; ++i) {
        const Place place{i, 0, rank_count};
        if (!type_is_float(type)) {
            pattern.append(int_total(type, op, place));
            continue;
        }
        const double total = float_total(type, op, place);
        pattern.append(float_encode(type, total));
        if (pattern.tolerant_) {
            pattern.exact_.push_back(total);
        }
    }
    return pattern;
}

void Pattern::fill(void* dst, size_t first, size_t count) const {
    const size_t size = type_size(type_);
    auto* out = static_cast<uint8_t*>(dst);
    while (count > 0) {
        const size_t start = first % period;
        const size_t run = std::min(count, period - start);
        std::memcpy(out, period_.data() + start * size, run * size);
        out += run * size;
        first += run;
        count -= run;
    }
}

bool Pattern::element_ok(const uint8_t* element, size_t index) const {
    const size_t size = type_size(type_);
    if (std::memcmp(element, period_.data() + index * size, size) == 0) {
        return true;
    }
    if (!tolerant_) {
        return false;
    }
    uint64_t bits = 0;
    std::memcpy(&bits, element, size);
    const double unit = unit_at(format_of(type_), exact_[index]);
    return std::fabs(float_decode(type_, bits) - exact_[index]) <= 2 * unit;
}

size_t Pattern::mismatches(const void* data, size_t first, size_t count) const {
    const size_t size = type_size(type_);
    const auto* in = static_cast<const uint8_t*>(data);
    size_t wrong = 0;
    while (count > 0) {
        const size_t start = first % period;
        const size_t run = std::min(count, period - start);
        if (std::memcmp(in, period_.data() + start * size, run * size) != 0) {
            for (size_t i = 0; i < run; ++i) {
                wrong += element_ok(in + i * size, start + i) ? 0 : 1;
            }
        }
        in += run * size;
        first += run;
        count -= run;
    }
    return wrong;
}

}  // namespace weft::perf
