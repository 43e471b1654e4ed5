// One rank of weft-perf: runs every row of the options on a communicator.
// Thread rule: one thread per rank. Failure rule: a failed call prints one line and ends the
// process, because the other ranks of a broken communicator cannot be waited for.
#pragma once

#include <vector>

#include <weft/nccl.h>

#include "perf/collective.h"
#include "perf/device.h"
#include "perf/options.h"
#include "perf/table.h"

namespace weft::perf {

// Rank 0 prints header and rows as they come; every rank returns the same rows. `device`: null for
// memory of the host.
std::vector<Row> bench_run(const Options& options, ncclComm_t comm, RankPlace place,
                           const Device* device);

}  // namespace weft::perf
