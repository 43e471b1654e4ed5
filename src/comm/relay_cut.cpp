#include "src/comm/relay_cut.h"

#include <algorithm>

#include "src/comm/call.h"

namespace weft {

namespace {

constexpr uint64_t unit = 64;
// At the slot's end: a factor that is read when the call starts.
constexpr uint64_t factor_bytes = unit;

// How a collective lies in a slot, in blocks: as an in-place call where there is such a thing.
struct Places {
    uint64_t blocks = 1;                        // of the slot, on every rank
    uint64_t send_blocks = 1, recv_blocks = 1;  // of this rank's buffers
    uint64_t send_at = 0, recv_at = 0;
};

Places places_of(Coll coll, uint64_t rank, uint64_t ranks, bool at_root) {
    switch (coll) {
        case Coll::all_reduce:
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::send_recv:
            return {};
        case Coll::reduce_scatter:
            return {ranks, ranks, 1, 0, rank};
        case Coll::all_gather:
            return {ranks, 1, ranks, rank, 0};
        case Coll::all_to_all:
            return {2 * ranks, ranks, ranks, 0, ranks};
        case Coll::gather:
            return {ranks, 1, ranks, at_root ? rank : 0, 0};
        case Coll::scatter:
            return {ranks, ranks, 1, 0, at_root ? rank : 0};
    }
    return {};
}

uint64_t room_of(const RelayShape& shape) {
    return shape.slot_bytes - factor_bytes;
}

void* offset(uint64_t bytes) {
    return reinterpret_cast<void*>(bytes);
}

}  // namespace

RelayCut::RelayCut(RelayShape shape, const std::vector<Call>& calls)
    : shape_(shape), way_(static_cast<size_t>(shape.rank_count), calls) {
}

uint64_t RelayCut::room() const {
    return room_of(shape_);
}

RelayPart RelayCut::collective_part(const Call& call) {
    const Places places =
        places_of(call.coll, static_cast<uint64_t>(shape_.rank),
                  static_cast<uint64_t>(shape_.rank_count), call.root == shape_.rank);
    const CallNeeds needs = call_needs(call.coll, false, call.root == shape_.rank);
    const uint64_t size = size_of(call.type);
    const uint64_t fits = room() / places.blocks / size;
    const uint64_t most = fits > unit ? fits / unit * unit : fits;
    const uint64_t count = std::min(most, call.count - way_.done());
    const uint64_t width = count * size, from = way_.done() * size, pitch = call.count * size;
    const auto rows = [&](const void* user, uint64_t at, uint64_t blocks) {
        return SlotRows{
            reinterpret_cast<uint64_t>(user) + from, at * width, width, blocks, pitch, width};
    };
    RelayPart part;
    Call own = call;
    own.part_of = call.count;
    own.count = count;
    own.send = offset(places.send_at * width);
    own.recv = offset(places.recv_at * width);
    if (needs.send) {
        part.in.push_back(rows(call.send, places.send_at, places.send_blocks));
    }
    if (call.scalar_at != nullptr) {
        own.scalar_at = offset(room());
        part.in.push_back(
            {reinterpret_cast<uint64_t>(call.scalar_at), room(), size, 1, size, size});
    }
    if (needs.recv) {
        part.out.push_back(rows(call.recv, places.recv_at, places.recv_blocks));
    }
    part.calls.push_back(own);
    way_.cut(count);
    return part;
}

// The next part of one way, at its place in the slot.
void RelayCut::pair_part(uint64_t place, MessageWay& way, RelayPart& part) {
    const uint64_t most = relay_message_bytes(shape_);
    const MessagePart next = way.next(most);
    Call own = *next.call;
    own.type = DataType::uint8;
    own.part_of = next.of;
    own.count = next.width;
    own.send = own.recv = offset(place * most);
    if (next.width > 0) {
        (own.is_send ? part.in : part.out)
            .push_back({next.user, place * most, next.width, 1, next.width, next.width});
    }
    part.calls.push_back(own);
}

// By peer, what is received and what is sent have places in turn.
RelayPart RelayCut::round() {
    RelayPart part;
    for (size_t peer = 0; peer < way_.sends().size(); peer++) {
        if (MessageWay& way = way_.receives()[peer]; !way.through()) {
            pair_part(2 * peer, way, part);
        }
        if (MessageWay& way = way_.sends()[peer]; !way.through()) {
            pair_part(2 * peer + 1, way, part);
        }
    }
    return part;
}

std::optional<RelayPart> RelayCut::next() {
    const Call* const call = way_.collective();
    if (call == nullptr && way_.messages_through()) {
        return {};
    }
    RelayPart part = call != nullptr ? collective_part(*call) : round();
    part.slot = parts_++ % shape_.slots;
    return part;
}

// Every peer and direction has a place in a slot.
uint64_t relay_message_bytes(const RelayShape& shape) {
    return room_of(shape) / (2 * static_cast<uint64_t>(shape.rank_count)) / unit * unit;
}

std::vector<Call> relay_place(std::vector<Call> calls, char* slot) {
    const auto placed = [slot](const void* at) { return slot + reinterpret_cast<uintptr_t>(at); };
    for (Call& call : calls) {
        call.send = placed(call.send);
        call.recv = placed(call.recv);
        if (call.scalar_at != nullptr) {
            call.scalar_at = placed(call.scalar_at);
        }
    }
    return calls;
}

}  // namespace weft
