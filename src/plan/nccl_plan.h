// NCCL's algorithms as plans, to be priced beside Weft's by the same simulator; nobody runs them.
// What they have in common with NCCL is who sends what to whom in which order; its protocols and
// buffers are the pricing's business (src/sim/nccl.h). Hosts of k ranks in blocks.
//
// ring   k channels. Channel c enters every host at local rank c, goes round and leaves it at the
//        rank before, so that every NIC carries a k-th of each block.
// tree   all_reduce; 2k channels: in every host a chain from local rank c on, over their heads two
//        double binary trees, half of the vector each.
// PAT    one rank a host only: the doubling of gen_halving.cpp, which is PAT's order.
// References: NVIDIA/nccl v2.28, src/graph/{rings,trees,connect}.cc; Jeaugey, arXiv 2506.20252.
// Thread rule: reentrant. Failure rule: one line.
#pragma once

#include <cstdint>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

enum class NcclAlgo : uint8_t { ring, tree, pat };

struct NcclPlan {
    NcclAlgo algo = NcclAlgo::ring;
    Coll coll = Coll::all_gather;
    int32_t hosts = 2, ranks_per_host = 8;
};

Result<Shape> nccl_shape(const NcclPlan& plan);
Result<RankPlan> nccl_part(const NcclPlan& plan, int32_t rank);

const char* to_string(NcclAlgo algo);

}  // namespace weft::plan
