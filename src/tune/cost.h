// The price of an algorithm in closed form: LogGP per level, for equal blocks on wires nobody else
// uses, messages sent in the order they are posted. The terms are those the simulator charges
// (src/sim/network.h), and each form follows the plan its generator writes, grants and deliveries
// included; tests hold the two within 1 %.
// Thread rule: reentrant, pure.
// References: Alexandrov et al., "LogGP", SPAA 1995; Chan, Heimlich, Purkayastha, van de Geijn,
// "Collective communication: theory, practice, and experience", CCPE 19(13), 2007; Thakur,
// Rabenseifner, Gropp, IJHPCA 19(1), 2005; Sanders, Speck, Traff, "Two-tree algorithms for full
// bandwidth broadcast, reduction and scan", Parallel Computing 35(12), 2009.
#pragma once

#include <cstdint>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::tune {

// One level of the machine: the wires inside a host, or those between hosts.
struct Level {
    double latency_ns = 0;     // L
    double post_ns = 0;        // o of the sender
    double completion_ns = 0;  // o of the receiver, and of hearing that a put was delivered
    double gap_ns = 0;         // g, per message
    double ns_per_byte = 0;    // G
    double reduce_ns_per_byte = 0;
    double copy_ns_per_byte = 0;
    double header_bytes = 0;   // of a message by value
    double control_bytes = 0;  // of a grant or expose
};

enum class Method : uint8_t {
    direct,            // one shot: every contribution straight to where it is needed
    loads,             // direct, by loading from peers; all_reduce in two shots
    mesh,              // direct between hosts; all_reduce in two shots, reduce_scatter, all_gather
    ring,              // broadcast, reduce: a chain
    halving_doubling,  // recursive halving, doubling or both; a power of two of ranks
    binomial,          // broadcast
    double_tree,       // two binary trees, each with half of the block: an estimate
};

struct Ask {
    Coll coll = Coll::all_reduce;
    Method method = Method::direct;
    int32_t ranks = 2;
    double block_bytes = 0;  // all_reduce: the whole vector
    bool eager = false;
    uint32_t tiles = 1;  // chains and trees: passes
    uint32_t slots = 2;  // eager
};

// Time until the last rank has its result and knows its puts delivered.
Result<double> cost_ns(const Level& level, const Ask& ask);

// Hosts of ranks: a stage between hosts (direct, each rank with its own kind) and one inside.
struct Hierarchy {
    Level inter, intra;
    int32_t hosts = 1, ranks_per_host = 1;
};
enum class Overlap : uint8_t {
    staged,
    pipelined
};  // blocks are forwarded at the end; as they come
// all_gather, reduce_scatter, all_reduce; granted. block_bytes as in Ask.
Result<double> cost_hierarchical_ns(const Hierarchy& machine, Coll coll, double block_bytes,
                                    Overlap overlap);

const char* to_string(Method method);

}  // namespace weft::tune
