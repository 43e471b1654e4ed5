// A cluster in one line: "hosts=64 ranks=8 rails=4 nic=12.5GB/s nvlink=450GB/s alpha=20us".
//
//   hosts=N         hosts of this kind                     ranks=N   ranks on each
//   rails=N         rails on each, 0 if left out           nic=RATE  of each rail, or RATE,RATE,...
//   by rail nvlink=RATE     one rank to the others of its host (NVLink or shared memory) alpha=TIME
//   latency of the rails                   alpha_local=TIME  inside the host map=0,1/2,3     the
//   rails of every local rank; left out: in blocks order=0.0,1.0   the host and local rank of every
//   rank; left out: in blocks
//
// Hosts of several kinds stand one after the other with " + " between; `order` then belongs to the
// last. A rate may be "unknown", which is the same as leaving it out. Pure. Thread rule: reentrant.
// Failure rule: names the word and what is accepted.
#pragma once

#include <string>
#include <string_view>

#include "topology/cluster.h"

namespace weft::topology {

Result<Cluster> cluster_parse(std::string_view text);

// Parses back to the same cluster; equal clusters give equal text.
std::string cluster_text(const Cluster& cluster);

}  // namespace weft::topology
