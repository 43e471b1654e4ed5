// A collective through the shards of a world, against values computed from its definition.
#pragma once

#include <cstring>
#include <vector>

#include "tests/catch.h"
#include "tests/unit/exec/world.h"

namespace weft::test {

// Element `i` of the input of `rank`: sums over at most 64 ranks stay exact in int32.
// `salt` tells one operation's from another's.
inline int32_t input_at(int rank, uint64_t i, uint64_t salt) {
    return static_cast<int32_t>((static_cast<uint64_t>(rank) + 1) * 7 +
                                (i * 31 + salt * 173 + 3) % 1009);
}

struct Shape {
    uint64_t input_blocks, output_blocks;
};

inline Shape shape_of(Coll coll, int n) {
    const auto many = static_cast<uint64_t>(n);
    switch (coll) {
        case Coll::all_gather:
        case Coll::gather:
            return {1, many};
        case Coll::reduce_scatter:
        case Coll::scatter:
            return {many, 1};
        case Coll::all_to_all:
            return {many, many};
        case Coll::all_reduce:
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::send_recv:
            break;
    }
    return {1, 1};
}

// What `rank` must hold at position i of its output; false: unspecified (not a root).
inline bool expected(Coll coll, int n, int root, int rank, uint64_t count, uint64_t i,
                     uint64_t salt, int32_t* value) {
    const auto sum = [&](uint64_t at) {
        int32_t total = 0;
        for (int r = 0; r < n; r++) {
            total += input_at(r, at, salt);
        }
        return total;
    };
    switch (coll) {
        case Coll::all_reduce:
            *value = sum(i);
            return true;
        case Coll::reduce:
            *value = sum(i);
            return rank == root;
        case Coll::reduce_scatter:
            *value = sum(static_cast<uint64_t>(rank) * count + i);
            return true;
        case Coll::broadcast:
            *value = input_at(root, i, salt);
            return true;
        case Coll::all_gather:
            *value = input_at(static_cast<int>(i / count), i % count, salt);
            return true;
        case Coll::gather:
            *value = input_at(static_cast<int>(i / count), i % count, salt);
            return rank == root;
        case Coll::scatter:
            *value = input_at(root, static_cast<uint64_t>(rank) * count + i, salt);
            return true;
        case Coll::all_to_all:
            *value = input_at(static_cast<int>(i / count),
                              static_cast<uint64_t>(rank) * count + i % count, salt);
            return true;
        case Coll::send_recv:
            break;
    }
    return false;
}

// Runs one collective in a world and counts wrong elements, guard words around each output
// included.
inline uint64_t wrong_elements(World& world, Coll coll, uint64_t count, int root, bool in_place,
                               bool threads, uint64_t salt = 0) {
    const int n = world.size();
    const Shape shape = shape_of(coll, n);
    constexpr int32_t guard = 0x5a5a5a5a;
    std::vector<std::vector<int32_t>> in(n), out(n);
    std::vector<Call> calls(n);
    for (int r = 0; r < n; r++) {
        const uint64_t in_count = count * shape.input_blocks,
                       out_count = count * shape.output_blocks;
        in[r].resize(in_count);
        for (uint64_t i = 0; i < in_count; i++) {
            in[r][i] = input_at(r, i, salt);
        }
        out[r].assign(std::max(out_count, in_count) + 2, guard);
        Call& call = calls[r];
        call.coll = coll;
        call.count = count;
        call.type = DataType::int32;
        call.root = root;
        call.send = in[r].data();
        call.recv = out[r].data() + 1;
        if (in_place) {
            const uint64_t at = coll == Coll::all_gather ? r * count
                                : coll == Coll::gather   ? root * count
                                                         : 0;
            std::memcpy(out[r].data() + 1 + at, in[r].data(), in_count * 4);
            call.send = out[r].data() + 1 + at;
            if (coll == Coll::reduce_scatter || coll == Coll::scatter) {
                const auto mine = static_cast<uint64_t>(coll == Coll::scatter ? root : r);
                call.recv = out[r].data() + 1 + mine * count;
            }
        }
    }
    const auto one = [&](int r) { return std::vector<Call>{calls[r]}; };
    if (threads) {
        for (const Result<void>& result : world.run_threads(one)) {
            REQUIRE(result.ok());
        }
    } else {
        const Result<void> result = world.run(one);
        if (!result.ok()) {
            FAIL(result.error().what);
        }
    }
    uint64_t wrong = 0;
    for (int r = 0; r < n; r++) {
        const auto* got = static_cast<const int32_t*>(calls[r].recv);
        for (uint64_t i = 0; i < count * shape.output_blocks; i++) {
            int32_t want = 0;
            if (expected(coll, n, root, r, count, i, salt, &want)) {
                wrong += got[i] != want;
            }
        }
        wrong += out[r].front() != guard;
        wrong += out[r].back() != guard;
    }
    return wrong;
}

inline constexpr Coll all_colls[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                                     Coll::broadcast,  Coll::reduce,         Coll::all_to_all,
                                     Coll::gather,     Coll::scatter};

}  // namespace weft::test
