#include "src/comm/board_cut.h"

#include <algorithm>

#include "src/comm/call.h"

namespace weft {

namespace {

constexpr uint64_t unit = 64;
// All ranks together read this much where each reduces all of it: beyond, shares cost less than
// they take, a wait for all more.
constexpr uint64_t shares_from = 1 << 20;

bool reduces(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::reduce;
}

// A slot holds a block for each rank.
bool has_blocks(Coll coll) {
    return coll == Coll::reduce_scatter || coll == Coll::scatter || coll == Coll::all_to_all;
}

}  // namespace

BoardCut::BoardCut(BoardShape shape, const std::vector<Call>& calls, WindowFind windows)
    : shape_(shape),
      windows_(std::move(windows)),
      way_(static_cast<size_t>(shape.rank_count), calls) {
}

// What this rank reduces of a part: all of a block, or its share.
void BoardCut::reduce_add(const Call& call, uint64_t count, BoardPart& part) const {
    const uint64_t size = size_of(call.type), bytes = count * size, from = way_.done() * size;
    const auto ranks = static_cast<uint64_t>(shape_.rank_count),
               rank = static_cast<uint64_t>(shape_.rank);
    const uint64_t to = reinterpret_cast<uint64_t>(call.recv) + from;
    const bool whole = !part.direct && (ranks <= 2 || ranks * bytes < shares_from);
    if (call.coll != Coll::all_reduce || whole) {
        part.reduce = {call.coll == Coll::reduce_scatter ? rank * bytes : 0, bytes, to};
        return;
    }
    part.by_shares = true;
    const uint64_t share = (bytes + ranks * unit - 1) / (ranks * unit) * unit;
    for (uint64_t r = 0; r < ranks && r * share < bytes; r++) {
        const uint64_t width = std::min(share, bytes - r * share);
        part.out.push_back(
            {static_cast<int32_t>(r), {to + r * share, r * share, width, 1, width, width}});
        if (r == rank) {
            part.reduce = {r * share, width, 0};
        }
    }
}

// What this rank takes out of the slots.
void BoardCut::reads_add(const Call& call, uint64_t count, BoardPart& part) const {
    if (!call_needs(call.coll, false, call.root == shape_.rank).recv) {
        return;
    }
    if (reduces(call.coll) && shape_.rank_count > 1) {
        reduce_add(call, count, part);
        return;
    }
    const uint64_t size = size_of(call.type), width = count * size;
    const uint64_t at = has_blocks(call.coll) ? static_cast<uint64_t>(shape_.rank) * width : 0;
    const uint64_t to = reinterpret_cast<uint64_t>(call.recv) + way_.done() * size;
    const auto copy = [&](int32_t from, uint64_t block) {
        part.out.push_back({from, {to + block * call.count * size, at, width, 1, width, width}});
    };
    if (call.coll == Coll::broadcast || call.coll == Coll::scatter || shape_.rank_count == 1) {
        copy(shape_.rank_count == 1 ? 0 : call.root, 0);
        return;
    }
    for (int32_t from = 0; from < shape_.rank_count; from++) {
        copy(from, static_cast<uint64_t>(from));
    }
}

// The whole call, cut as if it fitted a slot, whose layout is then that of the input: but for what
// others read in outputs.
void BoardCut::make_direct(BoardPart& part) const {
    const Call& call = *part.call;
    const uint64_t bytes = call.count * size_of(call.type);
    const auto from = reinterpret_cast<uint64_t>(call.send),
               to = reinterpret_cast<uint64_t>(call.recv);
    const uint64_t own = to + static_cast<uint64_t>(shape_.rank) * bytes;
    if (call.coll == Coll::all_gather && own != from) {
        part.own.push_back({own, from, bytes});
    }
    if (call.coll == Coll::all_reduce) {
        part.reduce.to = part.reduce.bytes > 0 ? to + part.reduce.at : 0;
    }
    for (BoardCopy& copy : part.out) {
        if (part.direct.recv) {
            copy.rows.slot = copy.rows.user - to;  // the same place in every output
        }
    }
    const uint64_t read = part.direct.recv ? to : from;
    std::erase_if(part.out, [&](const BoardCopy& copy) {
        return copy.from == shape_.rank && read + copy.rows.slot == copy.rows.user;
    });
}

BoardPart BoardCut::collective_part(const Call& call) {
    if (way_.done() == 0) {
        direct_ = windows_ ? board_direct(call, shape_.rank_count, windows_) : BoardDirect();
    }
    const uint64_t blocks = has_blocks(call.coll) ? static_cast<uint64_t>(shape_.rank_count) : 1;
    const uint64_t size = size_of(call.type);
    const uint64_t fits = shape_.slot_bytes / blocks / size;
    const uint64_t most = fits > unit ? fits / unit * unit : fits;
    const uint64_t left = call.count - way_.done();
    const uint64_t count = direct_ ? left : std::min(most, left);
    BoardPart part;
    part.call = call;
    part.slot = way_.part() % shape_.slots;
    part.direct = direct_;
    if (!part.direct && call_needs(call.coll, false, call.root == shape_.rank).send) {
        part.in.push_back({reinterpret_cast<uint64_t>(call.send) + way_.done() * size, 0,
                           count * size, blocks, call.count * size, count * size});
    }
    reads_add(call, count, part);
    if (part.direct) {
        make_direct(part);
    }
    way_.cut(count);
    return part;
}

BoardMessage board_message(MessageWay& way, uint64_t half_bytes) {
    const MessagePart next = way.next(half_bytes);
    const auto half = static_cast<uint32_t>(next.done / half_bytes % BoardShape::halves);
    return {next.call->root, next.of, half, {next.user, 0, next.width, 1, next.width, next.width}};
}

std::optional<BoardPart> BoardCut::next() {
    if (const Call* const call = way_.collective()) {
        return collective_part(*call);
    }
    BoardPart round;
    round.alone = true;
    const auto add = [&](std::vector<MessageWay>& ways, std::vector<BoardMessage>& messages) {
        for (MessageWay& way : ways) {
            if (!way.through()) {
                messages.push_back(board_message(way, shape_.half_bytes));
            }
        }
    };
    if (way_.messages_through()) {
        return {};
    }
    add(way_.sends(), round.sends);
    add(way_.receives(), round.receives);
    return round;
}

}  // namespace weft
