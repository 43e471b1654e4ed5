// Calls cut into parts for boards, run over memory of the host: every rank lays open, then all
// read.
#include "src/comm/board_cut.h"

#include <algorithm>
#include <cstring>

#include "tests/unit/comm/cut_ranks.h"

using namespace weft;
using namespace weft::test;

namespace {

constexpr uint32_t slots = 3;

BoardShape shape_of(size_t rank, size_t ranks, uint64_t bytes = slot_bytes) {
    return {static_cast<int32_t>(rank), static_cast<int32_t>(ranks), slots, bytes, 192};
}

// The slots of every rank, by rank and number.
using Boards = std::vector<std::vector<std::vector<char>>>;

Boards boards_make(size_t ranks, uint64_t bytes) {
    return Boards(ranks, std::vector(slots, std::vector<char>(bytes, 'x')));
}

void rows_in(const SlotRows& rows, std::vector<char>& slot) {
    REQUIRE(rows.slot + (rows.rows - 1) * rows.slot_pitch + rows.width <= slot.size());
    for (uint64_t i = 0; i < rows.rows; i++) {
        std::memcpy(slot.data() + rows.slot + i * rows.slot_pitch,
                    reinterpret_cast<const char*>(rows.user + i * rows.user_pitch), rows.width);
    }
}

void copies_out(const BoardPart& part, const Boards& boards) {
    for (const BoardCopy& copy : part.out) {
        const auto& slot = boards[static_cast<size_t>(copy.from)][part.slot];
        REQUIRE(copy.rows.slot + copy.rows.width <= slot.size());
        REQUIRE(copy.rows.rows == 1);
        std::memcpy(reinterpret_cast<char*>(copy.rows.user), slot.data() + copy.rows.slot,
                    copy.rows.width);
    }
}

void reduced(const BoardPart& part, Boards& boards, size_t rank) {
    std::vector<uint32_t> sum(part.reduce.bytes / 4);
    for (const auto& board : boards) {
        REQUIRE(part.reduce.at + part.reduce.bytes <= board[part.slot].size());
        for (size_t i = 0; i < sum.size(); i++) {
            uint32_t next = 0;
            std::memcpy(&next, board[part.slot].data() + part.reduce.at + 4 * i, 4);
            sum[i] += next;
        }
    }
    char* const to = part.reduce.to != 0 ? reinterpret_cast<char*>(part.reduce.to)
                                         : boards[rank][part.slot].data() + part.reduce.at;
    if (!sum.empty()) {
        std::memcpy(to, sum.data(), part.reduce.bytes);
    }
}

// All parts of the calls, every rank's stage before the next; how many went by shares.
size_t boarded(std::vector<BoardCut>& cuts, uint64_t bytes) {
    Boards boards = boards_make(cuts.size(), bytes);
    size_t by_shares = 0;
    while (true) {
        std::vector<BoardPart> parts;
        for (size_t r = 0; r < cuts.size(); r++) {
            std::optional<BoardPart> part = cuts[r].next();
            if (!part) {
                CHECK(r == 0);  // all end together
                return by_shares;
            }
            CHECK(part->slot == (r == 0 ? part->slot : parts[0].slot));
            CHECK(part->by_shares == (r == 0 ? part->by_shares : parts[0].by_shares));
            for (const SlotRows& rows : part->in) {
                rows_in(rows, boards[r][part->slot]);
            }
            parts.push_back(std::move(*part));
        }
        by_shares += parts[0].by_shares ? 1 : 0;
        for (size_t r = 0; r < cuts.size(); r++) {
            reduced(parts[r], boards, r);
        }
        for (size_t r = 0; r < cuts.size(); r++) {
            copies_out(parts[r], boards);
        }
    }
}

// One collective by parts and as a whole; how many parts went by shares.
size_t compared(Coll coll, size_t n, uint64_t count, uint64_t bytes) {
    const Blocks blocks = blocks_of(coll, n);
    std::vector<Rank> ranks = ranks_make(n, blocks, count), whole = ranks;
    std::vector<BoardCut> cuts;
    std::vector<Call> plain;
    for (size_t r = 0; r < n; r++) {
        Call call = call_of(coll, count, n > 1 ? 1 : 0);
        call.send = whole[r].send.data();
        call.recv = whole[r].recv.data();
        plain.push_back(call);
        call.send = ranks[r].send.data();
        call.recv = ranks[r].recv.data();
        cuts.emplace_back(shape_of(r, n, bytes), std::vector<Call>{call});
    }
    collective(plain);
    const size_t by_shares = boarded(cuts, bytes);
    INFO(to_string(coll) << " ranks " << n << " count " << count);
    for (size_t r = 0; r < n; r++) {
        CHECK(ranks[r].recv == whole[r].recv);
        CHECK(ranks[r].send == whole[r].send);
    }
    return by_shares;
}

}  // namespace

TEST_CASE("collectives in parts on boards are the collective") {
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::broadcast, Coll::reduce,
          Coll::all_to_all, Coll::gather, Coll::scatter}) {
        for (const size_t n : {1u, 2u, 3u, 7u}) {
            for (const uint64_t count : {1u, 7u, 1000u, 5003u}) {
                CHECK(compared(coll, n, count, slot_bytes) == 0);
            }
        }
    }
}

TEST_CASE("a large all_reduce goes by shares, the last of which may be empty") {
    for (const size_t n : {2u, 3u, 5u}) {
        const uint64_t bytes = 1 << 19;
        CHECK(compared(Coll::all_reduce, n, 2 * bytes / 4 + 77, bytes) == (n == 2 ? 0 : 2));
    }
    // 20 times 64 KiB and a bit: shares of 65,600 bytes, the last smaller.
    CHECK(compared(Coll::all_reduce, 20, (64 << 10) * 20 / 4 + 3, 4 << 20) == 1);
    // A part of 8,209 elements for 32 ranks: the 32nd share has nothing.
    CHECK(compared(Coll::all_reduce, 32, 8209, 1 << 20) == 1);
}

TEST_CASE("in place, a share is copied to where it belongs") {
    const uint64_t count = 100'000;
    std::vector<Rank> ranks = ranks_make(4, {1, 1}, count);
    std::vector<uint32_t> want(count);
    std::vector<BoardCut> cuts;
    for (size_t r = 0; r < 4; r++) {
        for (size_t i = 0; i < count; i++) {
            want[i] += ranks[r].send[i];
        }
        Call call = call_of(Coll::all_reduce, count, 0);
        call.recv = ranks[r].send.data();
        call.send = call.recv;
        cuts.emplace_back(shape_of(r, 4, 1 << 20), std::vector<Call>{call});
    }
    CHECK(boarded(cuts, 1 << 20) == 1);
    for (const Rank& rank : ranks) {
        CHECK(rank.send == want);
    }
}

TEST_CASE("the slot of a part follows from its call alone, whatever stands before it in a group") {
    std::vector<uint32_t> data(10'000);
    Call large = call_of(Coll::all_reduce, 5'000, 0), small = call_of(Coll::broadcast, 10, 0);
    large.recv = small.recv = data.data();
    large.send = small.send = data.data();
    BoardCut together(shape_of(0, 2), {large, small});
    std::vector<uint32_t> found;
    while (const auto part = together.next()) {
        REQUIRE(part->call.has_value());
        found.push_back(part->slot);
    }
    CHECK(found == std::vector<uint32_t>{0, 1, 2, 0, 1, 0});
}

TEST_CASE("messages in rounds: every way keeps its order, halves alternate in a message") {
    std::vector<char> data(1000);
    const auto message = [&](bool is_send, int peer, uint64_t bytes) {
        Call call = call_of(Coll::send_recv, bytes, peer);
        call.type = DataType::uint8;
        call.is_send = is_send;
        call.send = is_send ? data.data() : nullptr;
        call.recv = is_send ? nullptr : data.data();
        return call;
    };
    // Rank 1 of 3: two messages to 0, one of nothing to 2, one of itself, one from 2.
    BoardCut cut(shape_of(1, 3),
                 {message(true, 0, 500), message(true, 2, 0), message(true, 0, 10),
                  message(true, 1, 3), message(false, 2, 200), message(false, 1, 3)});
    struct Seen {
        int peer;
        uint64_t of;
        uint32_t half;
        uint64_t width;
        bool operator==(const Seen&) const = default;
    };
    const auto seen = [](const std::vector<BoardMessage>& messages) {
        std::vector<Seen> all;
        for (const BoardMessage& one : messages) {
            all.push_back({one.peer, one.of, one.half, one.rows.width});
        }
        return all;
    };
    const std::vector<std::vector<Seen>> sends = {{{0, 500, 0, 192}, {1, 3, 0, 3}, {2, 0, 0, 0}},
                                                  {{0, 500, 1, 192}},
                                                  {{0, 500, 0, 116}},
                                                  {{0, 10, 0, 10}}};
    const std::vector<std::vector<Seen>> receives = {
        {{1, 3, 0, 3}, {2, 200, 0, 192}}, {{2, 200, 1, 8}}, {}, {}};
    for (size_t i = 0; i < sends.size(); i++) {
        const std::optional<BoardPart> round = cut.next();
        REQUIRE(round);
        CHECK(!round->call);
        CHECK(seen(round->sends) == sends[i]);
        CHECK(seen(round->receives) == receives[i]);
        if (i == 1) {
            CHECK(round->sends[0].rows.user == reinterpret_cast<uint64_t>(data.data()) + 192);
        }
    }
    CHECK(!cut.next());
}
