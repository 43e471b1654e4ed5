#include "perf/collective.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace weft::perf {
namespace {

// Ranks exchange `rank_count` blocks; the others move one block of `count` per rank.
bool sends_blocks(Collective collective) {
    return collective == Collective::reduce_scatter || collective == Collective::all_to_all ||
           collective == Collective::scatter;
}

bool receives_blocks(Collective collective) {
    return collective == Collective::all_gather || collective == Collective::all_to_all ||
           collective == Collective::gather;
}

void ring_exchange(const Call& call, const void* send, void* recv, ncclComm_t comm,
                   RankPlace place) {
    const int next = (place.rank + 1) % place.rank_count;
    const int previous = (place.rank + place.rank_count - 1) % place.rank_count;
    call_check(ncclGroupStart(), "ncclGroupStart", place.rank);
    call_check(ncclSend(send, call.count, call.type, next, comm, call.stream), "ncclSend",
               place.rank);
    call_check(ncclRecv(recv, call.count, call.type, previous, comm, call.stream), "ncclRecv",
               place.rank);
    call_check(ncclGroupEnd(), "ncclGroupEnd", place.rank);
}

}  // namespace

void call_check(ncclResult_t result, const char* call, int rank) {
    if (result == ncclSuccess) {
        return;
    }
    const char* detail = ncclGetLastError(nullptr);
    std::fprintf(stderr, "%s: rank %d: %s: %s%s%s\n", program_invocation_short_name, rank, call,
                 ncclGetErrorString(result), detail && *detail ? ": " : "", detail ? detail : "");
    std::fflush(nullptr);
    std::_Exit(1);
}

Shape shape_of(Collective collective, size_t elements, int rank_count) {
    const auto ranks = static_cast<size_t>(rank_count);
    const bool blocks = sends_blocks(collective) || receives_blocks(collective);
    const size_t count = blocks ? elements / ranks : elements;
    return {count, sends_blocks(collective) ? count * ranks : count,
            receives_blocks(collective) ? count * ranks : count};
}

bool has_in_place(Collective collective) {
    return collective != Collective::all_to_all && collective != Collective::send_recv;
}

Offsets in_place_offsets(Collective collective, const Shape& shape, int rank) {
    const size_t own = shape.count * static_cast<size_t>(rank);
    return {receives_blocks(collective) ? own : 0, sends_blocks(collective) ? own : 0};
}

Expected expected_of(Collective collective, const Shape& shape, RankPlace place, int root) {
    const size_t own = shape.count * static_cast<size_t>(place.rank);
    const int blocks_at_root = place.rank == root ? 1 : 0;
    switch (collective) {
        case Collective::all_reduce:
            return {1, shape.count, 0, true, 0};
        case Collective::reduce:
            return {blocks_at_root, shape.count, 0, true, 0};
        case Collective::reduce_scatter:
            return {1, shape.count, own, true, 0};
        case Collective::all_gather:
            return {place.rank_count, shape.count, 0, false, 0};
        case Collective::gather:
            return {blocks_at_root * place.rank_count, shape.count, 0, false, 0};
        case Collective::all_to_all:
            return {place.rank_count, shape.count, own, false, 0};
        case Collective::broadcast:
            return {1, shape.count, 0, false, root};
        case Collective::scatter:
            return {1, shape.count, own, false, root};
        case Collective::send_recv:
            break;
    }
    return {1, shape.count, 0, false, (place.rank + place.rank_count - 1) % place.rank_count};
}

void call_run(const Call& call, const void* send, void* recv, ncclComm_t comm, RankPlace place) {
    const auto [collective, count, type, op, root, stream] = call;
    switch (collective) {
        case Collective::all_reduce:
            return call_check(ncclAllReduce(send, recv, count, type, op, comm, stream),
                              "ncclAllReduce", place.rank);
        case Collective::all_gather:
            return call_check(ncclAllGather(send, recv, count, type, comm, stream), "ncclAllGather",
                              place.rank);
        case Collective::reduce_scatter:
            return call_check(ncclReduceScatter(send, recv, count, type, op, comm, stream),
                              "ncclReduceScatter", place.rank);
        case Collective::broadcast:
            return call_check(ncclBroadcast(send, recv, count, type, root, comm, stream),
                              "ncclBroadcast", place.rank);
        case Collective::reduce:
            return call_check(ncclReduce(send, recv, count, type, op, root, comm, stream),
                              "ncclReduce", place.rank);
        case Collective::all_to_all:
            return call_check(ncclAlltoAll(send, recv, count, type, comm, stream), "ncclAlltoAll",
                              place.rank);
        case Collective::gather:
            return call_check(ncclGather(send, recv, count, type, root, comm, stream), "ncclGather",
                              place.rank);
        case Collective::scatter:
            return call_check(ncclScatter(send, recv, count, type, root, comm, stream),
                              "ncclScatter", place.rank);
        case Collective::send_recv:
            return ring_exchange(call, send, recv, comm, place);
    }
}

}  // namespace weft::perf
