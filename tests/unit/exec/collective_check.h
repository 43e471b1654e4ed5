// A collective through the shards of a world, against values computed from its definition.
#pragma once

#include <cstring>
#include <vector>

#include "tests/catch.h"
#include "tests/collective_values.h"
#include "tests/unit/exec/world.h"

namespace weft::test {

// Runs one collective in a world and counts wrong elements, guard words around each output
// included.
inline uint64_t wrong_elements(World& world, Coll coll, uint64_t count, int root, bool in_place,
                               bool threads, uint64_t salt = 0) {
    const int n = world.size();
    const reference::Blocks blocks = reference::blocks_of(coll, n);
    constexpr int32_t guard = 0x5a5a5a5a;
    std::vector<std::vector<int32_t>> in(n), out(n);
    std::vector<Call> calls(n);
    for (int r = 0; r < n; r++) {
        const uint64_t in_count = count * blocks.input, out_count = count * blocks.output;
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
        for (uint64_t i = 0; i < count * blocks.output; i++) {
            int32_t want = 0;
            if (value_at({coll, n, root, count}, r, i, salt, want)) {
                wrong += got[i] != want;
            }
        }
        wrong += out[r].front() != guard;
        wrong += out[r].back() != guard;
    }
    return wrong;
}

}  // namespace weft::test
