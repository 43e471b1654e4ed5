// Ranks whose calls are cut into parts: their buffers in memory of the host, and every collective
// written down plainly. Thread rule: thread-bound.
#pragma once

#include <cstring>
#include <vector>

#include "src/comm/slot_rows.h"
#include "src/exec/engine.h"
#include "tests/catch.h"

namespace weft::test {

inline constexpr uint64_t slot_bytes = 4096;

struct Rank {
    std::vector<uint32_t> send, recv;
    std::vector<char> slot = std::vector<char>(slot_bytes, 'x');
};

inline void rows_copy(const std::vector<SlotRows>& rows, std::vector<char>& slot, bool in) {
    for (const SlotRows& row : rows) {
        for (uint64_t i = 0; i < row.rows; i++) {
            REQUIRE(row.slot + i * row.slot_pitch + row.width <= slot_bytes);
            char* const at = slot.data() + row.slot + i * row.slot_pitch;
            char* const user = reinterpret_cast<char*>(row.user + i * row.user_pitch);
            std::memcpy(in ? at : user, in ? user : at, row.width);
        }
    }
}

inline uint32_t* elements(const void* at) {
    return static_cast<uint32_t*>(const_cast<void*>(at));
}

// What the host engine does with the same call of every rank.
inline void collective(const std::vector<Call>& calls) {
    const size_t n = calls.size();
    const uint64_t count = calls[0].count;
    const auto root = static_cast<size_t>(calls[0].root);
    const auto copy = [&](size_t to, uint64_t to_block, size_t from, uint64_t from_block) {
        std::memmove(elements(calls[to].recv) + to_block * count,
                     elements(calls[from].send) + from_block * count, count * 4);
    };
    const auto sum = [&](size_t to, uint64_t block, const std::vector<std::vector<uint32_t>>& all) {
        for (uint64_t i = 0; i < count; i++) {
            uint32_t total = 0;
            for (size_t r = 0; r < n; r++) {
                total += all[r][block * count + i];
            }
            elements(calls[to].recv)[i] = total;
        }
    };
    std::vector<std::vector<uint32_t>> before;
    const uint64_t blocks = calls[0].coll == Coll::reduce_scatter ? n : 1;
    for (const Call& call : calls) {
        before.emplace_back(elements(call.send), elements(call.send) + blocks * count);
    }
    for (size_t r = 0; r < n; r++) {
        switch (calls[0].coll) {
            case Coll::all_reduce:
                sum(r, 0, before);
                break;
            case Coll::reduce:
                if (r == root) {
                    sum(r, 0, before);
                }
                break;
            case Coll::reduce_scatter:
                sum(r, r, before);
                break;
            case Coll::all_gather:
                for (size_t from = 0; from < n; from++) {
                    copy(r, from, from, 0);
                }
                break;
            case Coll::gather:
                copy(root, r, r, 0);
                break;
            case Coll::broadcast:
                copy(r, 0, root, 0);
                break;
            case Coll::scatter:
                copy(r, 0, root, r);
                break;
            case Coll::all_to_all:
                for (size_t from = 0; from < n; from++) {
                    copy(r, from, from, r);
                }
                break;
            case Coll::send_recv:
                break;
        }
    }
}

struct Blocks {
    uint64_t send, recv;
};

inline Blocks blocks_of(Coll coll, uint64_t n) {
    const bool many_in =
        coll == Coll::reduce_scatter || coll == Coll::scatter || coll == Coll::all_to_all;
    const bool many_out =
        coll == Coll::all_gather || coll == Coll::gather || coll == Coll::all_to_all;
    return {many_in ? n : 1, many_out ? n : 1};
}

inline std::vector<Rank> ranks_make(size_t n, Blocks blocks, uint64_t count) {
    std::vector<Rank> ranks(n);
    for (size_t r = 0; r < n; r++) {
        for (uint64_t i = 0; i < blocks.send * count; i++) {
            ranks[r].send.push_back(static_cast<uint32_t>(r * 100'000 + i));
        }
        ranks[r].recv.assign(blocks.recv * count, 0xeeeeeeee);
    }
    return ranks;
}

inline Call call_of(Coll coll, uint64_t count, int root) {
    Call call;
    call.coll = coll;
    call.count = count;
    call.type = DataType::uint32;
    call.root = root;
    return call;
}

}  // namespace weft::test
