// Calls cut into parts, run over memory of the host with a collective written down here.
#include "src/comm/relay_cut.h"

#include <algorithm>
#include <cstring>

#include "tests/unit/comm/cut_ranks.h"

using namespace weft;
using namespace weft::test;

namespace {

// Everybody's parts, one after the other, with `engine` between in and out.
size_t relayed(std::vector<Rank>& ranks, std::vector<RelayCut>& cuts,
               const std::function<void(const std::vector<std::vector<Call>>&)>& engine) {
    for (size_t parts = 0;; parts++) {
        std::vector<std::vector<SlotRows>> outs;
        std::vector<std::vector<Call>> calls;
        for (size_t r = 0; r < ranks.size(); r++) {
            std::optional<RelayPart> part = cuts[r].next();
            if (!part) {
                CHECK(r == 0);  // all end together
                return parts;
            }
            rows_copy(part->in, ranks[r].slot, true);
            outs.push_back(part->out);
            calls.push_back(relay_place(part->calls, ranks[r].slot.data()));
        }
        engine(calls);
        for (size_t r = 0; r < ranks.size(); r++) {
            rows_copy(outs[r], ranks[r].slot, false);
        }
    }
}

}  // namespace

TEST_CASE("collectives in parts are the collective") {
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::broadcast, Coll::reduce,
          Coll::all_to_all, Coll::gather, Coll::scatter}) {
        for (const size_t n : {1u, 2u, 3u, 7u}) {
            for (const uint64_t count : {1u, 7u, 1000u, 5003u}) {
                const int root = static_cast<int>(n) - 1;
                const Blocks blocks = blocks_of(coll, n);
                std::vector<Rank> ranks = ranks_make(n, blocks, count);
                std::vector<Rank> whole = ranks;
                std::vector<RelayCut> cuts;
                std::vector<Call> plain;
                for (size_t r = 0; r < n; r++) {
                    Call call = call_of(coll, count, root);
                    call.send = whole[r].send.data();
                    call.recv = whole[r].recv.data();
                    plain.push_back(call);
                    call.send = ranks[r].send.data();
                    call.recv = ranks[r].recv.data();
                    cuts.emplace_back(
                        RelayShape{static_cast<int32_t>(r), static_cast<int32_t>(n), slot_bytes},
                        std::vector<Call>{call});
                }
                collective(plain);
                relayed(ranks, cuts, [&](const std::vector<std::vector<Call>>& calls) {
                    std::vector<Call> each;
                    for (const auto& of_rank : calls) {
                        REQUIRE(of_rank.size() == 1);
                        CHECK(of_rank[0].part_of == count);
                        CHECK(of_rank[0].count == calls[0][0].count);
                        each.push_back(of_rank[0]);
                    }
                    collective(each);
                });
                INFO(to_string(coll) << " ranks " << n << " count " << count);
                for (size_t r = 0; r < n; r++) {
                    CHECK(ranks[r].recv == whole[r].recv);
                    CHECK(ranks[r].send == whole[r].send);
                }
            }
        }
    }
}

TEST_CASE("sends and receives in rounds: each way keeps its order, whatever stands in the groups") {
    constexpr uint64_t first = 1500, second = 0, third = 3;
    std::vector<Rank> ranks = ranks_make(3, {1, 1}, first + third);
    std::vector<std::vector<Call>> calls(3);
    const auto pair = [&](int rank, int peer, bool is_send, uint64_t at, uint64_t count) {
        Call call = call_of(Coll::send_recv, count, peer);
        call.is_send = is_send;
        call.send = is_send ? ranks[static_cast<size_t>(rank)].send.data() + at : nullptr;
        call.recv = is_send ? nullptr : ranks[static_cast<size_t>(rank)].recv.data() + at;
        calls[static_cast<size_t>(rank)].push_back(call);
    };
    // A ring, and three messages on each way of it.
    for (int rank = 0; rank < 3; rank++) {
        const int next = (rank + 1) % 3, prev = (rank + 2) % 3;
        pair(rank, next, true, 0, first);
        pair(rank, next, true, first, second);
        pair(rank, prev, false, 0, first);
        pair(rank, next, true, first, third);
        pair(rank, prev, false, first, second);
        pair(rank, prev, false, first, third);
    }
    std::vector<RelayCut> cuts;
    for (int rank = 0; rank < 3; rank++) {
        cuts.emplace_back(RelayShape{rank, 3, slot_bytes}, calls[static_cast<size_t>(rank)]);
    }
    const size_t parts = relayed(ranks, cuts, [&](const std::vector<std::vector<Call>>& round) {
        for (size_t r = 0; r < 3; r++) {
            REQUIRE(round[r].size() == 2);
            const auto find = [&](size_t rank, bool is_send) {
                return *std::ranges::find(round[rank], is_send, &Call::is_send);
            };
            const Call send = find(r, true), receive = find((r + 1) % 3, false);
            CHECK(send.count == receive.count);
            CHECK(send.part_of == receive.part_of);
            std::memcpy(receive.recv, send.send, send.count);
        }
    });
    // A way has a sixth of what the slot holds beside the factor, in units of 64 bytes.
    const uint64_t most = (slot_bytes - 64) / 6 / 64 * 64;
    CHECK(parts == (first * 4 + most - 1) / most + 1 + 1);
    for (size_t r = 0; r < 3; r++) {
        CHECK(ranks[(r + 1) % 3].recv == ranks[r].send);
    }
}

TEST_CASE("a factor on the device is copied along with every part") {
    std::vector<uint32_t> data(5000), factor{7};
    Call call = call_of(Coll::all_reduce, data.size(), 0);
    call.op = RedOp::pre_mul_sum;
    call.send = call.recv = data.data();
    call.scalar_at = factor.data();
    RelayCut cut({0, 2, slot_bytes}, {call});
    std::vector<char> slot(slot_bytes);
    for (int parts = 0; parts < 5; parts++) {
        std::optional<RelayPart> part = cut.next();
        REQUIRE(part);
        std::ranges::fill(slot, 'x');
        rows_copy(part->in, slot, true);
        const Call placed = relay_place(part->calls, slot.data())[0];
        CHECK(std::memcmp(placed.scalar_at, factor.data(), 4) == 0);
        // Beside the data, which the engine changes.
        CHECK(static_cast<const char*>(placed.scalar_at) >=
              static_cast<char*>(placed.recv) + placed.count * 4);
    }
}
