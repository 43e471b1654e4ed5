// What NCCL needs on EFA, to compare with: its algorithms as plans (src/plan/nccl_plan.h), run by
// the same simulator as Weft's, on a network in which NCCL's protocols are folded into eight
// constants. They are fitted to nccl-tests, 32 MiB to 8 GiB on 2 to 8 p5.48xlarge (NCCL 2.28.7,
// aws-ofi-nccl 1.16.3; crazyguitar/aws-gpu-communication-benchmark, CC BY 4.0); what is computed
// for more hosts or smaller vectors is extrapolated. Thread rule: reentrant. Failure rule: one
// line.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/result.h"
#include "src/plan/nccl_plan.h"
#include "src/sim/simulate.h"

namespace weft::sim {

struct NcclConstants {
    double nvlink_hop_us = 9;  // one hand-over inside a host, protocol and all
    double network_us = 20;    // one between hosts; AWS's tuner has the same for p5
    // Of a rank's NVLink port while a ring reads, reduces and forwards through it.
    double ring_nvlink_bytes_per_us = 290e3;
    double ring_share = 0.91;  // of the NICs' rate that a ring's payload gets
    double tree_share = 0.80;  // the same for trees, whose NICs take turns between two
    // NCCL_BUFFSIZE as aws-ofi-nccl sets it. A gathered or scattered block that does not fit waits
    // for credit at every step. A tree's chunk is a sixteenth.
    double buffer_bytes = 8 << 20;
    double credit_us = 21;
    // Blocks (vector / ranks) from which the tuner prefers the ring to the tree again.
    double ring_from_bytes = 48 << 20;
};
inline constexpr int nccl_constant_count = 8;

// A call as NCCL makes it; `bytes` is nccl-tests' size.
struct NcclCall {
    Coll coll = Coll::all_gather;
    uint64_t bytes = 0;
};

struct NcclTime {
    plan::NcclAlgo algo = plan::NcclAlgo::ring;
    double time_ns = 0;
    uint64_t bytes_per_nic = 0;  // of the network asked about
    std::string folding;
};

// One algorithm on the network; NCCL's tree in its better protocol.
Result<NcclTime> nccl_simulate(const Network& network, const NcclCall& call, plan::NcclAlgo algo,
                               const NcclConstants& constants = {}, uint64_t events_max = 0);
// No tree of NCCL's is faster: up and down it once, and every host sends the vector twice. For
// clusters whose trees are too many to simulate.
double nccl_tree_least_ns(const Network& network, const NcclCall& call,
                          const NcclConstants& constants = {});
// The algorithms NCCL allows for the call.
std::vector<plan::NcclAlgo> nccl_algos(const Network& network, Coll coll);
// What its tuner takes: what the measured rows look like, which is not always the fastest.
Result<NcclTime> nccl_tuned(const Network& network, const NcclCall& call,
                            const NcclConstants& constants = {});

}  // namespace weft::sim
