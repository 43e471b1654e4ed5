// What NCCL needs for an all_gather or all_reduce on EFA: a model to compare with, not one to plan
// by. Shapes of the algorithms are NCCL's (ring: every rank to the next; tree: a chain in each
// host, a double binary tree over hosts; PAT: logarithmic, one GPU per host only); the constants
// are fitted to nccl-tests 32 MiB to 8 GiB on 2 to 8 p5.48xlarge (NCCL 2.28.7, aws-ofi-nccl
// 1.16.3), by crazyguitar/aws-gpu-communication-benchmark (CC BY 4.0). Thread rule: pure.
#pragma once

#include <cstdint>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::tune {

struct NcclConstants {
    // A ring step without its bytes, mean over seven NVLink hops and one network hop of a host.
    // all_reduce overlaps a part of it with the reduction of the chunk before.
    double hop_all_gather_us = 9.5;
    double hop_all_reduce_us = 7.7;
    // Of one ring through all channels: 400 GB/s of NICs less protocol.
    double ring_bytes_per_us = 365e3;
    // One hand-over over the network; AWS's tuner has the same 20 us for p5. Paid per step of a
    // tree's path, and per ring step by blocks larger than the buffer, which wait for credit.
    double network_us = 20;
    double buffer_bytes = 8 << 20;  // NCCL_BUFFSIZE as aws-ofi-nccl sets it
    // NVLSTree or tree, Simple: bytes of one direction through a host.
    double tree_bytes_per_us = 260e3;
    // Tree by LL128: what small vectors use while the ring's many steps cost more.
    double tree_ll_bytes_per_us = 80e3;
    // Blocks (vector / ranks) from which the tuner prefers the ring again.
    double ring_from_bytes = 48 << 20;
};
inline constexpr int nccl_constant_count = 8;

struct NcclAsk {
    Coll coll = Coll::all_gather;  // all_gather, reduce_scatter or all_reduce
    int32_t hosts = 2, ranks_per_host = 8;
    double bytes = 0;  // nccl-tests' size: the whole vector
};

Result<double> nccl_us(const NcclConstants& constants, const NcclAsk& ask);

double nccl_ring_us(const NcclConstants& constants, const NcclAsk& ask);
double nccl_tree_us(const NcclConstants& constants, const NcclAsk& ask, bool low_latency);
// NCCL's own estimate (2.30): log2(hosts) network hops, sped up by its fan-out, and a share of
// work per rank, at three quarters of the ring's rate. Not fitted: no such rows.
double nccl_pat_us(const NcclConstants& constants, const NcclAsk& ask);

}  // namespace weft::tune
