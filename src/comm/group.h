// The calling thread's group: collects calls and jobs until the outermost end, then starts all of
// them before it waits for any. Thread rule: the state is thread-local. Failure rule: the first
// error inside a group is what its end returns, and then nothing of it runs.
#pragma once

#include <functional>

#include "src/base/result.h"
#include "src/comm/comm_handle.h"
#include "src/comm/stream.h"
#include "src/exec/engine.h"

namespace weft {

// Init, split, shrink, finalize or destroy.
struct Job {
    bool blocking = true;        // of the communicator: nonblocking ones are not finished here
    bool always_blocks = false;  // whatever the communicator is
    std::function<Result<void>()> start;   // does not wait
    std::function<Result<void>()> finish;  // waits; after a start that succeeded
    std::function<void()> drop;            // the group does not run; may be empty
};

void group_start();
Result<void> group_end();
// Ends the group without running it: an estimate of its time in microseconds.
Result<float> group_simulate_end();
bool group_open();
// An error that a call inside the group returned.
void group_remember(const Error& error);

// Runs the call, or adds it to the open group.
Result<void> group_call(CommRef& comm, ncclComm* handle, const Call& call, CallStream stream);
Result<void> group_job(Job job);

}  // namespace weft
