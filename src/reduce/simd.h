// The fast kernels, written once over vectors and instantiated once per instruction set: avx2.cpp
// and avx512.cpp, compiled with their own flags, give an `Isa` with the vector width and the few
// steps that need intrinsics. An `Isa` is local to its file, and so is everything made from it: no
// function compiled for one instruction set can stand in for another's.
//
// Order of work: a block of four vectors is read from every source in turn, combined in registers
// and written once, so each input byte is read once whatever the number of sources, and dst may be
// one of them. Loads may be unaligned; non-temporal stores need an aligned dst, so a short piece
// comes first. After the last block come single vectors, then what is left.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/reduce/kernels.h"

namespace weft {

template <class T, size_t bytes>
struct VectorOf {
    typedef T type __attribute__((vector_size(bytes)));
};

template <class V>
V vector_load(const char* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof(V));
    return value;
}

template <class V>
void vector_store(char* to, V value) {
    __builtin_memcpy(to, &value, sizeof(V));
}

template <class Isa>
struct Simd {
    static constexpr size_t vector_bytes = Isa::bytes;
    static constexpr int block_vectors = 4;
    static constexpr size_t lanes = vector_bytes / 4;
    template <class T>
    using Vector = typename VectorOf<T, vector_bytes>::type;
    using Floats = Vector<float>;
    using Words = Vector<uint32_t>;

    // ---- conversions of 8- and 16-bit floats: `lanes` codes in the low bits of Words ----

    static Floats as_floats(Words bits) { return reinterpret_cast<Floats>(bits); }

    static Words as_words(Floats value) { return reinterpret_cast<Words>(value); }

    // float_to_small of small_float.h over a vector; the formats narrower than fp16.
    template <int mantissa, int bias, uint32_t overflow>
    static Words float8_from(Floats value) {
        constexpr int shift = 23 - mantissa;
        constexpr uint32_t rebias = static_cast<uint32_t>(127 - bias) << mantissa;
        constexpr uint32_t normal_min = static_cast<uint32_t>(128 - bias) << 23;
        const Words bits = as_words(value);
        const Words magnitude = bits & 0x7fffffffu;
        const Words normal =
            ((magnitude + ((1u << (shift - 1)) - 1) + ((magnitude >> shift) & 1)) >> shift) -
            rebias;
        // Below the smallest normal number: added to a number whose last place is one unit of the
        // format, the value is rounded by the addition.
        const Words magic = Words{} + (static_cast<uint32_t>(151 - bias - mantissa) << 23);
        const Words subnormal = as_words(as_floats(magnitude) + as_floats(magic)) - magic;
        Words code = magnitude < normal_min ? subnormal : normal;
        code = code > overflow ? Words{} + overflow : code;
        code |= (bits >> 24) & 0x80u;
        return magnitude > 0x7f800000u ? Words{} + 0x7fu : code;
    }

    struct Bfloat16 {
        static constexpr size_t bytes = 2;
        static Floats load_floats(const char* from) {
            return as_floats(Isa::words_from_16(from) << 16);
        }
        static void store_floats(char* to, Floats value) {
            const Words bits = as_words(value);
            const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
            const Words magnitude = bits & 0x7fffffffu;
            Isa::words_to_16(to, magnitude > 0x7f800000u ? Words{} + 0x7fffu : rounded);
        }
    };

    struct Float16 {
        static constexpr size_t bytes = 2;
        static Floats load_floats(const char* from) { return Isa::floats_from_half(from); }
        static void store_floats(char* to, Floats value) {
            // Every NaN becomes the one that converts to 0x7fff.
            const Words bits = as_words(value);
            const Words magnitude = bits & 0x7fffffffu;
            const Words safe = magnitude > 0x7f800000u ? Words{} + 0x7fffffffu : bits;
            Isa::floats_to_half(to, as_floats(safe));
        }
    };

    struct Float8e5m2 {
        static constexpr size_t bytes = 1;
        static Floats load_floats(const char* from) {
            return Isa::floats_from_half_words(Isa::words_from_8(from) << 8);
        }
        static void store_floats(char* to, Floats value) {
            Isa::words_to_8(to, float8_from<2, 15, 0x7c>(value));
        }
    };

    struct Float8e4m3 {
        static constexpr size_t bytes = 1;
        // Moved into fp16's fields the exponent is 8 too small, subnormals included.
        static Floats load_floats(const char* from) {
            const Words code = Isa::words_from_8(from);
            const Words magnitude = code & 0x7fu;
            const Words half = ((code & 0x80u) << 8) | (magnitude << 7);
            const Words bits = as_words(Isa::floats_from_half_words(half) * 256.0f);
            return as_floats(magnitude == 0x7fu ? bits | 0x7fc00000u : bits);
        }
        static void store_floats(char* to, Floats value) {
            Isa::words_to_8(to, float8_from<3, 7, 0x7e>(value));
        }
    };

    // ---- what a vector of elements is read into, combined as, and written from ----

    // Vectors and single elements alike.
    template <RedOp op, class V>
    static V combine(V a, V b) {
        if constexpr (op == RedOp::sum) {
            return static_cast<V>(a + b);
        } else if constexpr (op == RedOp::prod) {
            return static_cast<V>(a * b);
        } else if constexpr (op == RedOp::max) {
            return ((b > a) | (b != b)) ? b : a;
        } else {
            return ((b < a) | (b != b)) ? b : a;
        }
    }

    template <RedOp op, class Part>
    static void reduce_part(char* to, const void* const* src, int n, size_t at) {
        Part total = vector_load<Part>(static_cast<const char*>(src[0]) + at);
        for (int s = 1; s < n; ++s) {
            const char* from = static_cast<const char*>(src[s]) + at;
            total = combine<op>(total, vector_load<Part>(from));
        }
        vector_store(to + at, total);
    }

    template <class T>
    struct Direct {
        using V = Vector<T>;
        static constexpr size_t step = vector_bytes;  // bytes of memory per vector
        static constexpr size_t element = sizeof(T);
        static V read(const char* from) { return vector_load<V>(from); }
        static void write(char* to, V value) { vector_store(to, value); }
        static V broadcast(const void* scalar) {
            T value;
            __builtin_memcpy(&value, scalar, sizeof(T));
            return V{} + value;
        }
        // Less than one vector: 16 bytes at a time, then one element.
        template <RedOp op>
        static void rest(char* to, const void* const* src, int n, size_t at, size_t end) {
            for (; at + 16 <= end; at += 16) {
                reduce_part<op, typename VectorOf<T, 16>::type>(to, src, n, at);
            }
            for (; at < end; at += sizeof(T)) {
                reduce_part<op, T>(to, src, n, at);
            }
        }
    };

    template <class Format>
    struct Widened {
        using V = Floats;
        static constexpr size_t step = lanes * Format::bytes;
        static constexpr size_t element = Format::bytes;
        static V read(const char* from) { return Format::load_floats(from); }
        static void write(char* to, V value) { Format::store_floats(to, value); }
        static V broadcast(const void* scalar) {
            char copies[step];
            for (size_t i = 0; i < step; i += element) {
                __builtin_memcpy(copies + i, scalar, element);
            }
            return read(copies);
        }
        // Less than one vector, padded: converting one element costs as much as converting all.
        template <RedOp op>
        static void rest(char* to, const void* const* src, int n, size_t at, size_t end) {
            char padded[step] = {};
            __builtin_memcpy(padded, static_cast<const char*>(src[0]) + at, end - at);
            V total = read(padded);
            for (int s = 1; s < n; ++s) {
                __builtin_memcpy(padded, static_cast<const char*>(src[s]) + at, end - at);
                total = combine<op>(total, read(padded));
            }
            write(padded, total);
            __builtin_memcpy(to + at, padded, end - at);
        }
    };

    // ---- loops ----

    // Reads, combines and writes `vectors` vectors. With `stream` `to` is aligned, and narrow
    // results are gathered first, because only full vectors are worth streaming.
    template <class E, RedOp op, int vectors, bool stream>
    static void reduce_block(char* to, const void* const* src, int n, size_t at) {
        typename E::V total[vectors];
        const char* first = static_cast<const char*>(src[0]) + at;
#pragma GCC unroll 4
        for (int k = 0; k < vectors; ++k) {
            total[k] = E::read(first + static_cast<size_t>(k) * E::step);
        }
        for (int s = 1; s < n; ++s) {
            const char* from = static_cast<const char*>(src[s]) + at;
#pragma GCC unroll 4
            for (int k = 0; k < vectors; ++k) {
                total[k] = combine<op>(total[k], E::read(from + static_cast<size_t>(k) * E::step));
            }
        }
        alignas(vector_bytes) char packed[vectors * E::step];
        char* out = stream ? packed : to + at;
#pragma GCC unroll 4
        for (int k = 0; k < vectors; ++k) {
            E::write(out + static_cast<size_t>(k) * E::step, total[k]);
        }
        if constexpr (stream) {
#pragma GCC unroll 4
            for (size_t done = 0; done < sizeof(packed); done += vector_bytes) {
                Isa::stream_store(to + at + done, packed + done);
            }
        }
    }

    // The vectors and the rest of [at, end), through the caches.
    template <class E, RedOp op>
    __attribute__((always_inline)) static inline void reduce_range(char* to, const void* const* src,
                                                                   int n, size_t at, size_t end) {
        constexpr size_t block = block_vectors * E::step;
        for (; at + block <= end; at += block) {
            reduce_block<E, op, block_vectors, false>(to, src, n, at);
        }
        for (; at + E::step <= end; at += E::step) {
            reduce_block<E, op, 1, false>(to, src, n, at);
        }
        if (at < end) {
            E::template rest<op>(to, src, n, at, end);
        }
    }

    template <class E, RedOp op>
    static void reduce_stream(char* to, const void* const* src, int n, size_t bytes) {
        constexpr size_t block = block_vectors * E::step;
        const size_t lead = (0 - reinterpret_cast<uintptr_t>(to)) % vector_bytes;
        if (lead % E::element != 0 || lead > bytes) {
            reduce_range<E, op>(to, src, n, 0, bytes);
            return;
        }
        reduce_range<E, op>(to, src, n, 0, lead);
        size_t at = lead;
        for (; at + block <= bytes; at += block) {
            reduce_block<E, op, block_vectors, true>(to, src, n, at);
        }
        Isa::fence();
        reduce_range<E, op>(to, src, n, at, bytes);
    }

    // Two sources are the common case: the loop over sources disappears.
    template <class E, RedOp op>
    static void reduce_elements(void* dst, const void* const* src, int n, size_t count,
                                bool stream) {
        char* to = static_cast<char*>(dst);
        const size_t bytes = count * E::element;
        if (stream) {
            reduce_stream<E, op>(to, src, n, bytes);
        } else if (n == 2) {
            const void* const pair[2] = {src[0], src[1]};
            reduce_range<E, op>(to, pair, 2, 0, bytes);
        } else {
            reduce_range<E, op>(to, src, n, 0, bytes);
        }
    }

    template <class E>
    static void scale_elements(void* dst, const void* src, size_t count, const void* scalar) {
        char* to = static_cast<char*>(dst);
        const char* from = static_cast<const char*>(src);
        const size_t bytes = count * E::element;
        const typename E::V factor = E::broadcast(scalar);
        size_t at = 0;
        for (; at + E::step <= bytes; at += E::step) {
            E::write(to + at, E::read(from + at) * factor);
        }
        if (at < bytes) {
            char padded[E::step] = {};
            __builtin_memcpy(padded, from + at, bytes - at);
            E::write(padded, E::read(padded) * factor);
            __builtin_memcpy(to + at, padded, bytes - at);
        }
    }

    static void copy_stream(void* dst, const void* src, size_t bytes) {
        char* to = static_cast<char*>(dst);
        const char* from = static_cast<const char*>(src);
        const size_t lead = (0 - reinterpret_cast<uintptr_t>(to)) % vector_bytes;
        size_t at = lead < bytes ? lead : bytes;
        __builtin_memcpy(to, from, at);
        for (; at + vector_bytes <= bytes; at += vector_bytes) {
            Isa::stream_store(to + at, from + at);
        }
        __builtin_memcpy(to + at, from + at, bytes - at);
        Isa::fence();
    }

    // Sums and products of signed integers are those of unsigned ones, bit for bit, and may wrap.
    template <class Ordered, class Wrapping = Ordered>
    struct Row {
        static constexpr Kernels::ReduceFn sum = reduce_elements<Wrapping, RedOp::sum>;
        static constexpr Kernels::ReduceFn prod = reduce_elements<Wrapping, RedOp::prod>;
        static constexpr Kernels::ReduceFn max = reduce_elements<Ordered, RedOp::max>;
        static constexpr Kernels::ReduceFn min = reduce_elements<Ordered, RedOp::min>;
        static constexpr Kernels::ScaleFn scale = scale_elements<Wrapping>;
    };

    template <class... Rows>
    static constexpr Kernels rows_join() {
        return {Isa::name,
                {{Rows::sum, Rows::prod, Rows::max, Rows::min}...},
                {Rows::scale...},
                copy_stream};
    }

    // In the order of DataType.
    static constexpr Kernels table() {
        return rows_join<Row<Direct<int8_t>, Direct<uint8_t>>, Row<Direct<uint8_t>>,
                         Row<Direct<int32_t>, Direct<uint32_t>>, Row<Direct<uint32_t>>,
                         Row<Direct<int64_t>, Direct<uint64_t>>, Row<Direct<uint64_t>>,
                         Row<Widened<Float16>>, Row<Direct<float>>, Row<Direct<double>>,
                         Row<Widened<Bfloat16>>, Row<Widened<Float8e4m3>>,
                         Row<Widened<Float8e5m2>>>();
    }
};

}  // namespace weft
