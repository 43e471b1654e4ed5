// The reference kernels: one element at a time, in the order of the sources, nothing assumed about
// the CPU. The fast kernels are tested against these bit for bit.
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "src/base/result.h"
#include "src/base/small_float.h"
#include "src/reduce/kernels.h"

namespace weft {
namespace {

template <class T>
struct Direct {
    using Storage = T;
    using Wide = T;
    static Wide load(Storage value) { return value; }
    static Storage store(Wide value) { return value; }
};

template <DataType type, class T>
struct Small {
    using Storage = T;
    using Wide = float;
    static Wide load(Storage code) { return small_to_float(small_format(type), code); }
    static Storage store(Wide value) {
        return static_cast<Storage>(float_to_small(small_format(type), value));
    }
};

template <DataType type>
struct ElementOf;
// clang-format off
template <> struct ElementOf<DataType::int8> : Direct<int8_t> {};
template <> struct ElementOf<DataType::uint8> : Direct<uint8_t> {};
template <> struct ElementOf<DataType::int32> : Direct<int32_t> {};
template <> struct ElementOf<DataType::uint32> : Direct<uint32_t> {};
template <> struct ElementOf<DataType::int64> : Direct<int64_t> {};
template <> struct ElementOf<DataType::uint64> : Direct<uint64_t> {};
template <> struct ElementOf<DataType::float32> : Direct<float> {};
template <> struct ElementOf<DataType::float64> : Direct<double> {};
template <> struct ElementOf<DataType::float16> : Small<DataType::float16, uint16_t> {};
template <> struct ElementOf<DataType::bfloat16> : Small<DataType::bfloat16, uint16_t> {};
template <> struct ElementOf<DataType::float8e4m3> : Small<DataType::float8e4m3, uint8_t> {};
template <> struct ElementOf<DataType::float8e5m2> : Small<DataType::float8e5m2, uint8_t> {};
// clang-format on

// Signed sums and products wrap, so they are formed in the unsigned type.
template <class T>
struct Arithmetic {
    using type = T;
};
template <class T>
requires std::is_integral_v<T>
struct Arithmetic<T> {
    using type = std::make_unsigned_t<T>;
};

template <RedOp op, class T>
T combine(T a, T b) {
    using A = typename Arithmetic<T>::type;
    if constexpr (op == RedOp::sum) {
        return static_cast<T>(static_cast<A>(a) + static_cast<A>(b));
    } else if constexpr (op == RedOp::prod) {
        return static_cast<T>(static_cast<A>(a) * static_cast<A>(b));
    } else {
        const bool b_is_nan = b != b;
        const bool b_wins = op == RedOp::max ? b > a : b < a;
        return b_wins || b_is_nan ? b : a;
    }
}

template <class T>
T element_at(const void* base, size_t i) {
    T value;
    std::memcpy(&value, static_cast<const char*>(base) + i * sizeof(T), sizeof(T));
    return value;
}

template <class T>
void element_set(void* base, size_t i, T value) {
    std::memcpy(static_cast<char*>(base) + i * sizeof(T), &value, sizeof(T));
}

template <DataType type, RedOp op>
void reduce_elements(void* dst, const void* const* src, int n, size_t count, bool) {
    using Element = ElementOf<type>;
    using Storage = typename Element::Storage;
    for (size_t i = 0; i < count; ++i) {
        auto total = Element::load(element_at<Storage>(src[0], i));
        for (int s = 1; s < n; ++s) {
            total = combine<op>(total, Element::load(element_at<Storage>(src[s], i)));
        }
        element_set(dst, i, Element::store(total));
    }
}

template <DataType type>
void scale_elements(void* dst, const void* src, size_t count, const void* scalar) {
    using Element = ElementOf<type>;
    using Storage = typename Element::Storage;
    const auto factor = Element::load(element_at<Storage>(scalar, 0));
    for (size_t i = 0; i < count; ++i) {
        const auto value = Element::load(element_at<Storage>(src, i));
        element_set(dst, i, Element::store(combine<RedOp::prod>(value, factor)));
    }
}

void copy_plain(void* dst, const void* src, size_t bytes) {
    std::memcpy(dst, src, bytes);
}

template <size_t... type>
constexpr Kernels table_make(std::index_sequence<type...>) {
    return {"plain",
            {{reduce_elements<static_cast<DataType>(type), RedOp::sum>,
              reduce_elements<static_cast<DataType>(type), RedOp::prod>,
              reduce_elements<static_cast<DataType>(type), RedOp::max>,
              reduce_elements<static_cast<DataType>(type), RedOp::min>}...},
            {scale_elements<static_cast<DataType>(type)>...},
            copy_plain};
}

// value / divisor towards zero; the double quotient is exact enough for 32 bits: the distance from
// a non-integral quotient to the next integer is at least 1/divisor, its rounding error below
// 2^-21/divisor.
template <class T>
void divide_elements(void* dst, size_t count, uint64_t divisor) {
    for (size_t i = 0; i < count; ++i) {
        const T value = element_at<T>(dst, i);
        if constexpr (sizeof(T) < 8) {
            const double quotient = static_cast<double>(value) / static_cast<double>(divisor);
            element_set(dst, i, static_cast<T>(quotient));
        } else if constexpr (std::is_signed_v<T>) {
            const auto bits = static_cast<uint64_t>(value);
            const uint64_t quotient = (value < 0 ? 0 - bits : bits) / divisor;
            element_set(dst, i, value < 0 ? 0 - quotient : quotient);
        } else {
            element_set(dst, i, value / divisor);
        }
    }
}

template <DataType type>
void scalar_set(Scalar& scalar, double value) {
    using Element = ElementOf<type>;
    using Wide = typename Element::Wide;
    if constexpr (std::is_integral_v<Wide>) {
        // Out-of-range doubles have no integer; the nearest end of the range stands for them.
        constexpr auto low = static_cast<double>(std::numeric_limits<Wide>::min());
        constexpr auto high = static_cast<double>(std::numeric_limits<Wide>::max());
        Wide whole = 0;
        if (value >= high) {
            whole = std::numeric_limits<Wide>::max();
        } else if (value > low) {
            whole = static_cast<Wide>(value);
        } else if (!std::isnan(value)) {
            whole = std::numeric_limits<Wide>::min();
        }
        element_set(scalar.bytes, 0, whole);
    } else {
        element_set(scalar.bytes, 0, Element::store(static_cast<Wide>(value)));
    }
}

using ScalarSetFn = void (*)(Scalar&, double);
template <size_t... type>
constexpr ScalarSetFn scalar_set_fn(size_t index, std::index_sequence<type...>) {
    constexpr ScalarSetFn table[] = {scalar_set<static_cast<DataType>(type)>...};
    return table[index];
}

constexpr auto all_types = std::make_index_sequence<data_type_count>();
constexpr Kernels table = table_make(all_types);

}  // namespace

const Kernels& kernels_plain() {
    return table;
}

void plain::reduce_many(void* dst, const void* const* src, int n, size_t count, DataType type,
                        RedOp op) {
    ASSERT(n >= 1 && op <= RedOp::min);
    if (count == 0) {
        return;  // pointers may be null
    }
    if (n == 1) {
        std::memmove(dst, src[0], count * size_of(type));
        return;
    }
    table.reduce[static_cast<size_t>(type)][static_cast<size_t>(op)](dst, src, n, count, false);
}

void plain::scale(void* dst, const void* src, size_t count, DataType type, const Scalar& scalar) {
    table.scale[static_cast<size_t>(type)](dst, src, count, scalar.bytes);
}

Scalar scalar_from_double(DataType type, double value) {
    Scalar scalar;
    scalar_set_fn(static_cast<size_t>(type), all_types)(scalar, value);
    return scalar;
}

void divide_int(void* dst, size_t count, DataType type, uint64_t divisor) {
    ASSERT(!is_float(type) && divisor != 0);
    switch (type) {
        case DataType::int8:
            return divide_elements<int8_t>(dst, count, divisor);
        case DataType::uint8:
            return divide_elements<uint8_t>(dst, count, divisor);
        case DataType::int32:
            return divide_elements<int32_t>(dst, count, divisor);
        case DataType::uint32:
            return divide_elements<uint32_t>(dst, count, divisor);
        case DataType::int64:
            return divide_elements<int64_t>(dst, count, divisor);
        default:
            return divide_elements<uint64_t>(dst, count, divisor);
    }
}

float widen(DataType type, const void* element) {
    ASSERT(is_float(type) && size_of(type) <= 2);
    const uint32_t code =
        size_of(type) == 1 ? element_at<uint8_t>(element, 0) : element_at<uint16_t>(element, 0);
    return small_to_float(small_format(type), code);
}

void narrow(DataType type, float value, void* element) {
    ASSERT(is_float(type) && size_of(type) <= 2);
    const uint32_t code = float_to_small(small_format(type), value);
    if (size_of(type) == 1) {
        element_set(element, 0, static_cast<uint8_t>(code));
    } else {
        element_set(element, 0, static_cast<uint16_t>(code));
    }
}

}  // namespace weft
