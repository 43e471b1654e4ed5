// The leaf loops: all per-thread work there is. Each thread of a block calls with the same
// arguments and its own Threads; together they do the whole range, whatever their number. Nobody
// waits in here; who needs the result of another thread puts a block_sync between.
//
// Order of work: up to the first 16-byte boundary elements, then blocks of several 16-byte vectors
// a thread, then single vectors, then elements. Where the operands do not share their place within
// 16 bytes, all are elements; where they are not even at multiples of an element, elements are put
// together from bytes. A thread reads an element from every source before it writes it, so `to` may
// be one of them. Thread rule: device code, one thread's part. Failure rule: none; ranges are the
// caller's to check.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/gpu/device/element.h"

#ifdef __CUDACC__
#define WEFT_UNROLL _Pragma("unroll")
#define WEFT_NO_UNROLL _Pragma("unroll 1")
#else
#define WEFT_UNROLL
#define WEFT_NO_UNROLL
#endif

namespace weft::gpu::device {

inline constexpr uint32_t vector_bytes = 16;

WEFT_DEVICE_CODE uint64_t place_of(const void* at) {
    return reinterpret_cast<uint64_t>(at);
}

// A range of bytes, cut where vectors begin and end: [0, head) and [tail, end) are elements.
struct Cut {
    uint64_t head, tail, end;
    bool whole_elements;  // operands lie at multiples of an element
};

// `differ`: all the bits in which the operands' places differ from `to`.
WEFT_DEVICE_CODE Cut cut_range(const void* to, uint64_t differ, uint64_t bytes,
                               uint32_t element_bytes) {
    const uint64_t place = place_of(to);
    const bool whole = ((place | differ) & (element_bytes - 1)) == 0;
    if (!whole || (differ & (vector_bytes - 1)) != 0) {
        return {bytes, bytes, bytes, whole};
    }
    const uint64_t lead = (0 - place) & (vector_bytes - 1);
    const uint64_t head = lead < bytes ? lead : bytes;
    return {head, head + ((bytes - head) & ~static_cast<uint64_t>(vector_bytes - 1)), bytes, whole};
}

template <class Bits>
WEFT_DEVICE_CODE Bits load_anywhere(const char* at, bool whole) {
    if (whole) {
        return load_element<Bits>(at);
    }
    uint64_t bits = 0;
    WEFT_UNROLL
    for (uint32_t i = 0; i < sizeof(Bits); ++i) {
        bits |= static_cast<uint64_t>(load_element<uint8_t>(at + i)) << (8 * i);
    }
    return static_cast<Bits>(bits);
}

template <class Bits>
WEFT_DEVICE_CODE void store_anywhere(char* at, Bits bits, bool whole) {
    if (whole) {
        store_element<Bits>(at, bits);
        return;
    }
    WEFT_UNROLL
    for (uint32_t i = 0; i < sizeof(Bits); ++i) {
        store_element<uint8_t>(at + i,
                               static_cast<uint8_t>(static_cast<uint64_t>(bits) >> (8 * i)));
    }
}

// Calls `work` for its vectors: an object with
//     template <int vectors> void run(uint64_t at, uint64_t step)   vectors at at, at + step, ...
//     void element(uint64_t at)
// `many` vectors of a thread are under way together.
template <int many, class Work>
WEFT_DEVICE_CODE void for_range(Threads threads, const Cut& cut, uint32_t element_bytes,
                                const Work& work) {
    const uint64_t own = static_cast<uint64_t>(threads.index) * element_bytes;
    const uint64_t stride = static_cast<uint64_t>(threads.count) * element_bytes;
    const uint64_t head = threads.loops == Loops::elements ? cut.tail : cut.head;
    WEFT_NO_UNROLL
    for (uint64_t at = own; at < head; at += stride) {
        work.element(at);
    }
    const uint64_t step = static_cast<uint64_t>(threads.count) * vector_bytes;
    const uint64_t first = static_cast<uint64_t>(threads.index) * vector_bytes;
    uint64_t base = head;
    WEFT_NO_UNROLL
    for (; threads.loops == Loops::several && base + many * step <= cut.tail; base += many * step) {
        work.template run<many>(base + first, step);
    }
    WEFT_NO_UNROLL
    for (uint64_t at = base + first; at < cut.tail; at += step) {
        work.template run<1>(at, step);
    }
    WEFT_NO_UNROLL
    for (uint64_t at = cut.tail + own; at < cut.end; at += stride) {
        work.element(at);
    }
}

// Bytes from one place to another: in units as large as both places allow.
template <class Bits>
struct CopyWork {
    char* to;
    const char* from;
    bool whole;
    template <int vectors>
    WEFT_DEVICE_CODE void run(uint64_t at, uint64_t step) const {
        Vec16 held[vectors];
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            held[k] = load_vector(from + at + k * step);
        }
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            store_vector(to + at + k * step, held[k]);
        }
    }
    WEFT_DEVICE_CODE void element(uint64_t at) const {
        store_element<Bits>(to + at, load_element<Bits>(from + at));
    }
};

template <class Bits>
WEFT_DEVICE_CODE void copy_units(Threads threads, char* to, const char* from, uint64_t bytes) {
    const CopyWork<Bits> work{to, from, true};
    for_range<4>(threads, {bytes, bytes, bytes, true}, sizeof(Bits), work);
}

WEFT_DEVICE_CODE void leaf_copy(Threads threads, void* to, const void* from, uint64_t bytes) {
    auto* const out = static_cast<char*>(to);
    const auto* const in = static_cast<const char*>(from);
    const uint64_t differ = place_of(to) ^ place_of(from);
    if ((differ & (vector_bytes - 1)) == 0) {
        const CopyWork<uint8_t> work{out, in, true};
        for_range<8>(threads, cut_range(to, differ, bytes, 1), 1, work);
    } else if (((differ | place_of(to) | bytes) & 7) == 0) {
        copy_units<uint64_t>(threads, out, in, bytes);
    } else if (((differ | place_of(to) | bytes) & 3) == 0) {
        copy_units<uint32_t>(threads, out, in, bytes);
    } else {
        copy_units<uint8_t>(threads, out, in, bytes);
    }
}

// How many vectors of a thread are under way together: narrow elements take more registers each.
template <class Bits>
inline constexpr int vectors_together = sizeof(Bits) == 1 ? 2 : 4;

template <DataType type, RedOp op>
struct ReduceWork {
    using E = Element<type>;
    using Bits = typename E::Bits;
    using Wide = typename E::Wide;
    static constexpr int per_vector = vector_bytes / sizeof(Bits);
    char* to;
    const char* const* from;
    int n;
    bool whole;

    template <int vectors>
    WEFT_DEVICE_CODE void run(uint64_t at, uint64_t step) const {
        Wide total[vectors][per_vector];
        Vec16 held[vectors];
        load<vectors>(held, from[0] + at, step);
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            WEFT_UNROLL
            for (int i = 0; i < per_vector; ++i) {
                total[k][i] = E::widen(vector_get<Bits>(held[k], i));
            }
        }
        WEFT_NO_UNROLL
        for (int s = 1; s < n; ++s) {
            load<vectors>(held, from[s] + at, step);
            WEFT_UNROLL
            for (int k = 0; k < vectors; ++k) {
                WEFT_UNROLL
                for (int i = 0; i < per_vector; ++i) {
                    const Wide next = E::widen(vector_get<Bits>(held[k], i));
                    total[k][i] = combine<op>(total[k][i], next);
                }
            }
        }
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            Vec16 out{0, 0};
            WEFT_UNROLL
            for (int i = 0; i < per_vector; ++i) {
                vector_put<Bits>(out, i, E::narrow(total[k][i]));
            }
            store_vector(to + at + k * step, out);
        }
    }
    WEFT_DEVICE_CODE void element(uint64_t at) const {
        Wide total = E::widen(load_anywhere<Bits>(from[0] + at, whole));
        WEFT_NO_UNROLL
        for (int s = 1; s < n; ++s) {
            total = combine<op>(total, E::widen(load_anywhere<Bits>(from[s] + at, whole)));
        }
        store_anywhere<Bits>(to + at, E::narrow(total), whole);
    }

  private:
    template <int vectors>
    static WEFT_DEVICE_CODE void load(Vec16* held, const char* at, uint64_t step) {
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            held[k] = load_vector(at + k * step);
        }
    }
};

// to[i] = from[0][i] op ... op from[n-1][i], n >= 2, in this order. The list of sources lies where
// all threads can read it at any index: shared memory.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE void leaf_reduce(Threads threads, void* to, const char* const* from, int n,
                                  uint64_t count) {
    using Bits = typename Element<type>::Bits;
    uint64_t differ = 0;
    WEFT_NO_UNROLL
    for (int s = 0; s < n; ++s) {
        differ |= place_of(to) ^ place_of(from[s]);
    }
    const Cut cut = cut_range(to, differ, count * sizeof(Bits), sizeof(Bits));
    const ReduceWork<type, op> work{static_cast<char*>(to), from, n, cut.whole_elements};
    for_range<vectors_together<Bits>>(threads, cut, sizeof(Bits), work);
}

// One input, one output, element by element: Map is `static Bits one(Bits, Parameter)`.
template <class Bits, class Map>
struct MapWork {
    char* to;
    const char* from;
    Map map;
    bool whole;
    template <int vectors>
    WEFT_DEVICE_CODE void run(uint64_t at, uint64_t step) const {
        constexpr int per_vector = vector_bytes / sizeof(Bits);
        WEFT_UNROLL
        for (int k = 0; k < vectors; ++k) {
            const Vec16 held = load_vector(from + at + k * step);
            Vec16 out{0, 0};
            WEFT_UNROLL
            for (int i = 0; i < per_vector; ++i) {
                vector_put<Bits>(out, i, map(vector_get<Bits>(held, i)));
            }
            store_vector(to + at + k * step, out);
        }
    }
    WEFT_DEVICE_CODE void element(uint64_t at) const {
        store_anywhere<Bits>(to + at, map(load_anywhere<Bits>(from + at, whole)), whole);
    }
};

template <class Bits, class Map>
WEFT_DEVICE_CODE void leaf_map(Threads threads, void* to, const void* from, uint64_t count,
                               const Map& map) {
    const uint64_t differ = place_of(to) ^ place_of(from);
    const Cut cut = cut_range(to, differ, count * sizeof(Bits), sizeof(Bits));
    const MapWork<Bits, Map> work{static_cast<char*>(to), static_cast<const char*>(from), map,
                                  cut.whole_elements};
    for_range<1>(threads, cut, sizeof(Bits), work);
}

template <DataType type>
struct Scaling {
    using E = Element<type>;
    typename E::Wide factor;
    WEFT_DEVICE_CODE typename E::Bits operator()(typename E::Bits bits) const {
        return E::narrow(combine<RedOp::prod>(E::widen(bits), factor));
    }
};

// to[i] = from[i] * factor, rounded to the type; the factor as the bits of one element.
template <DataType type>
WEFT_DEVICE_CODE void leaf_scale(Threads threads, void* to, const void* from, uint64_t count,
                                 uint64_t factor) {
    using E = Element<type>;
    using Bits = typename E::Bits;
    const Scaling<type> scaling{E::widen(static_cast<Bits>(factor))};
    leaf_map<Bits>(threads, to, from, count, scaling);
}

template <DataType type>
struct Dividing {
    using E = Element<type>;
    uint64_t divisor;
    WEFT_DEVICE_CODE typename E::Bits operator()(typename E::Bits bits) const {
        return E::narrow(quotient(E::widen(bits), divisor));
    }
};

// to[i] = to[i] / divisor towards zero: the end of an integer average. divisor < 2^31.
template <DataType type>
WEFT_DEVICE_CODE void leaf_divide(Threads threads, void* to, uint64_t count, uint64_t divisor) {
    using Bits = typename Element<type>::Bits;
    leaf_map<Bits>(threads, to, to, count, Dividing<type>{divisor});
}

}  // namespace weft::gpu::device
