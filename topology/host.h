// What a machine contributes to a cluster. Pure. Thread rule: reentrant. Never fails.
#pragma once

#include "topology/cluster.h"
#include "topology/graph.h"
#include "topology/rails.h"

namespace weft::topology {

// The host of these ranks. A rail's rate is its line's, or its PCIe link's where that is slower;
// unknown without a line rate. The rate inside is the slowest GPU's NVLink, unknown without one.
// Latencies are unknown: they are measured.
Host host_of(const Machine& machine, const RailMap& map);

}  // namespace weft::topology
