// WEFT_PROBE: what messages really cost, measured between a few pairs of ranks over the links of a
// communicator that is about to be ready. At most 4 MiB in each direction and about 100 ms a pair;
// pairs of different hosts measure at the same time, as plans will use the wires.
// Thread rule: probe_run drives the shard of the caller's rank and blocks; the rest is pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/exec/engine.h"
#include "src/tune/table.h"

namespace weft {

// The peer this rank measures with, -1 if none, inside its host and then between hosts; the one of
// the smaller rank leads. The first two ranks of every host; the first ranks of hosts 0 and 1, 2
// and 3, and so on.
struct ProbePairs {
    int32_t inside = -1, between = -1;
};
ProbePairs probe_pairs(const std::vector<std::vector<int32_t>>& hosts, int32_t rank);

// Samples of the pairs this rank leads, encoded; fewer once the shard has failed, which ends it.
std::string probe_run(Shard& shard, const ProbePairs& pairs);

// Puts what all ranks measured into the table: the same blobs make the same table.
Result<void> probe_merge(const std::vector<std::string>& blobs, tune::Table& table);

}  // namespace weft
