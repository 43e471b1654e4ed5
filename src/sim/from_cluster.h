// The network of a cluster graph: rates, rails and latencies from the graph, and a named default
// for each figure that the graph does not know. Thread rule: reentrant, pure. Failure rule: one
// line; a cluster whose hosts differ, or whose rails are not in blocks, has no network here.
#pragma once

#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/sim/network.h"
#include "topology/cluster.h"

namespace weft::sim {

// What no profile knows, or not every one. None of it was measured with Weft.
struct Assumed {
    double rail_bytes_per_ns = 12.5;  // EFA at 100 Gbit/s
    double local_bytes_per_ns = 25;   // PCIe 4 x16, where there is no NVLink
    double rail_latency_ns = 20'000;  // what AWS's tuner for NCCL assumes on p5
    double local_latency_ns = 2'000;  // a store over NVLink and the flag that follows it
    // The host thread that serves a GPU's NICs: 0.3 to 0.5 us a post is usual for libfabric.
    double post_ns = 400;
    double completion_ns = 100;
    // Inside a host the GPU does the work, as many thread blocks as it takes: no thread is busy,
    // but a port takes 50 million messages a second at most.
    double local_gap_ns = 20;
    // Of the destination: a GPU's memory, shared with what trains on it.
    double copy_bytes_per_ns = 1'000;
    double reduce_bytes_per_ns = 500;
    double cross_rail_rate = 0.45;  // raw RDMA on two p5: 0.42 at 64 KiB, 0.46 at 4 MiB
};

struct ClusterNetwork {
    Network network;
    std::vector<std::string> assumed;  // "rail latency 20us": one clause for each default taken
};

Result<ClusterNetwork> network_of(const topology::Cluster& cluster, const Assumed& assumed = {});

}  // namespace weft::sim
