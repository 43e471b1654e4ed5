// The communication of one group: one bundle of calls per communicator, all started before any is
// waited for. Thread rule: used by the thread that ends the group.
#pragma once

#include <span>
#include <vector>

#include "src/base/result.h"
#include "src/comm/comm_handle.h"
#include "src/comm/stream.h"
#include "src/exec/engine.h"

namespace weft {

struct GroupCall {
    ncclComm* handle = nullptr;
    Call call;
    CallStream stream;
};

// Pure: sends to oneself need as many receives from oneself in the same bundle.
Result<void> self_pairs_check(std::span<const Call> calls, int32_t rank);

// Starts everything, then waits for what is synchronous on blocking communicators. in_progress when
// something synchronous is left on a nonblocking one.
Result<void> bundles_run(std::vector<GroupCall> calls);
// The same for one call, which needs no collecting.
Result<void> bundle_run_one(CommRef& comm, ncclComm* handle, const Call& call, CallStream stream);

}  // namespace weft
