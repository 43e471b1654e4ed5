// The nine collectives as weft-perf sees them: how many elements go where, and the call itself.
// Thread rule: reentrant. Failure rule: a failed call prints one line and ends the process.
#pragma once

#include <cstddef>

#include <weft/nccl.h>

#include "perf/options.h"

namespace weft::perf {

struct RankPlace {
    int rank;
    int rank_count;
};

// Ends the process if `result` is an error.
void call_check(ncclResult_t result, const char* call, int rank);

// Elements per rank; `count` is what the call is given.
struct Shape {
    size_t count;
    size_t send;
    size_t recv;
    size_t row() const { return send > recv ? send : recv; }
};
// The shape whose larger side has at most `elements`.
Shape shape_of(Collective collective, size_t elements, int rank_count);

bool has_in_place(Collective collective);
// Where in the one buffer of an in-place call the send and receive parts of `rank` begin.
struct Offsets {
    size_t send;
    size_t recv;
};
Offsets in_place_offsets(Collective collective, const Shape& shape, int rank);

// What the receive buffer of `rank` holds afterwards: `blocks` runs of `count` elements each. Block
// b is the input of rank source(b) (or the reduction) from element `first` on.
struct Expected {
    int blocks;
    size_t count;
    size_t first;
    bool reduced;
    int source;  // of block 0; later blocks count up
};
Expected expected_of(Collective collective, const Shape& shape, RankPlace place, int root);

struct Call {
    Collective collective;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
    cudaStream_t stream = nullptr;
};
void call_run(const Call& call, const void* send, void* recv, ncclComm_t comm, RankPlace place);

}  // namespace weft::perf
