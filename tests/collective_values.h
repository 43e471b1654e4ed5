// Whole numbers to try collectives with: what goes in, by rank, place and salt, and what must come
// out. Pure.
#pragma once

#include "tools/gpu_suite/check/reference.h"

namespace weft::test {

// Element `i` of the input of `rank`: sums over at most 64 ranks stay exact in int32.
// `salt` tells one operation's from another's.
inline int32_t input_at(int rank, uint64_t i, uint64_t salt) {
    return static_cast<int32_t>((static_cast<uint64_t>(rank) + 1) * 7 +
                                (i * 31 + salt * 173 + 3) % 1009);
}

// False: unspecified, not a root.
inline bool value_at(const reference::Shape& shape, int rank, uint64_t i, uint64_t salt,
                     int32_t& value) {
    const auto wanted = reference::output_at(
        shape, rank, i,
        [salt](int from, uint64_t at) { return static_cast<int64_t>(input_at(from, at, salt)); },
        [](int64_t a, int64_t b) { return a + b; });
    value = static_cast<int32_t>(wanted.value_or(0));
    return wanted.has_value();
}

inline constexpr Coll all_colls[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                                     Coll::broadcast,  Coll::reduce,         Coll::all_to_all,
                                     Coll::gather,     Coll::scatter};

}  // namespace weft::test
