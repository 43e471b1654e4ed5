#include "src/comm/board_direct.h"

#include "src/exec/device_plan.h"

namespace weft {

namespace {

// Below, a copy costs less than to wait until all have left before the call ends. Not measured.
constexpr uint64_t direct_from = 1 << 20;

bool overlap(const void* a, const void* b, uint64_t a_bytes, uint64_t b_bytes) {
    const auto from = reinterpret_cast<uint64_t>(a), to = reinterpret_cast<uint64_t>(b);
    return from < to + b_bytes && to < from + a_bytes;
}

}  // namespace

BoardDirect board_direct(const Call& call, int32_t rank_count, const WindowFind& find) {
    const auto ranks = static_cast<uint64_t>(rank_count);
    const uint64_t bytes = call.count * size_of(call.type), all = ranks * bytes;
    const bool gathers = call.coll == Coll::all_gather, reduces = call.coll == Coll::all_reduce;
    const bool exchanges = call.coll == Coll::all_to_all;
    if (rank_count < 2 || all < direct_from ||
        !(gathers || reduces || exchanges || call.coll == Coll::reduce_scatter)) {
        return {};
    }
    // What is multiplied on its way needs a place to go.
    if (device_request(call).call.scale_inputs) {
        return {};
    }
    const uint64_t send_bytes = gathers || reduces ? bytes : all;
    const uint64_t recv_bytes = gathers || exchanges ? all : bytes;
    if (exchanges && overlap(call.send, call.recv, all, all)) {
        return {};
    }
    const WindowPlace send = find(reinterpret_cast<uint64_t>(call.send), send_bytes);
    const WindowPlace recv = find(reinterpret_cast<uint64_t>(call.recv), recv_bytes);
    if (!send || !recv) {
        return {};
    }
    // Every rank has its own block in its output, where all read it. By shares, every rank reads
    // its share of the inputs, and those of others of the outputs.
    return {gathers ? WindowPlace() : send, gathers || reduces ? recv : WindowPlace()};
}

}  // namespace weft
