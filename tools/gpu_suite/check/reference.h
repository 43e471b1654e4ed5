// What must come out of every collective, computed the slow way from what went in, in whole
// numbers: inputs are chosen so that every type holds all sums exactly. Used by the suite on GPUs
// and by the tests on the stand-in driver. Thread rule: reentrant. Failure rule: none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "include/weft/nccl.h"
#include "src/base/types.h"

namespace weft::reference {

struct Shape {
    Coll coll = Coll::all_reduce;
    int ranks = 1;
    int root = 0;
    uint64_t count = 0;  // of a block
};

// Blocks of a rank's input and output.
struct Blocks {
    uint64_t input, output;
};

inline Blocks blocks_of(Coll coll, int ranks) {
    const auto many = static_cast<uint64_t>(ranks);
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

inline bool reduces(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce || coll == Coll::reduce_scatter;
}

// Element i of rank's output; nothing where it is unspecified (not a root). `input(rank, i)` is
// what went in, `fold` combines two.
template <class Input, class Fold>
std::optional<int64_t> output_at(const Shape& shape, int rank, uint64_t i, const Input& input,
                                 const Fold& fold) {
    const uint64_t own = static_cast<uint64_t>(rank) * shape.count;
    const auto all = [&](uint64_t at) {
        int64_t total = input(0, at);
        for (int from = 1; from < shape.ranks; from++) {
            total = fold(total, input(from, at));
        }
        return total;
    };
    const bool is_root = rank == shape.root;
    const auto from_block = [&] { return static_cast<int>(i / shape.count); };
    switch (shape.coll) {
        case Coll::all_reduce:
            return all(i);
        case Coll::reduce:
            return is_root ? std::optional<int64_t>(all(i)) : std::nullopt;
        case Coll::reduce_scatter:
            return all(own + i);
        case Coll::broadcast:
            return input(shape.root, i);
        case Coll::all_gather:
            return input(from_block(), i % shape.count);
        case Coll::gather:
            return is_root ? std::optional<int64_t>(input(from_block(), i % shape.count))
                           : std::nullopt;
        case Coll::scatter:
            return input(shape.root, own + i);
        case Coll::all_to_all:
            return input(from_block(), own + i % shape.count);
        case Coll::send_recv:
            return input((rank + shape.ranks - 1) % shape.ranks, i);
    }
    return std::nullopt;
}

// One rank's call. send_recv is a ring: to the next rank, from the one before.
inline ncclResult_t call(const Shape& shape, ncclDataType_t type, ncclRedOp_t op, int rank,
                         const void* send, void* recv, ncclComm_t comm, cudaStream_t stream) {
    const uint64_t count = shape.count;
    switch (shape.coll) {
        case Coll::all_reduce:
            return ncclAllReduce(send, recv, count, type, op, comm, stream);
        case Coll::reduce_scatter:
            return ncclReduceScatter(send, recv, count, type, op, comm, stream);
        case Coll::all_gather:
            return ncclAllGather(send, recv, count, type, comm, stream);
        case Coll::broadcast:
            return ncclBroadcast(send, recv, count, type, shape.root, comm, stream);
        case Coll::reduce:
            return ncclReduce(send, recv, count, type, op, shape.root, comm, stream);
        case Coll::all_to_all:
            return ncclAlltoAll(send, recv, count, type, comm, stream);
        case Coll::gather:
            return ncclGather(send, recv, count, type, shape.root, comm, stream);
        case Coll::scatter:
            return ncclScatter(send, recv, count, type, shape.root, comm, stream);
        case Coll::send_recv:
            break;
    }
    ncclGroupStart();
    ncclSend(send, count, type, (rank + 1) % shape.ranks, comm, stream);
    ncclRecv(recv, count, type, (rank + shape.ranks - 1) % shape.ranks, comm, stream);
    return ncclGroupEnd();
}

}  // namespace weft::reference
