// What the API's calls make of communicators: init, split, shrink, windows, finalize, destroy as
// jobs of the calling thread's group, and abort, which never waits for a group. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "include/weft/nccl.h"
#include "src/base/result.h"
#include "src/bootstrap/control.h"
#include "src/comm/board_windows.h"
#include "src/comm/communicator.h"

struct ncclComm;

namespace weft {

struct InitRequest {
    UniqueIdBytes id{};
    int32_t rank_count = 1;
    int32_t rank = 0;
    int32_t device = -1;  // -1: the local index
    CommConfig config;
};

// *newcomm refers to the new communicator at once, so that another thread can abort the init; it is
// NULL again when a blocking init failed.
Result<void> comm_init(ncclComm** newcomm, InitRequest request);
// config null: the parent's. The child stays NULL until it is ready.
Result<void> comm_split(ncclComm* parent, int32_t color, int32_t key, const CommConfig* config,
                        ncclComm** newcomm);
Result<void> comm_shrink(ncclComm* parent, std::vector<int32_t> excluded, const CommConfig* config,
                         bool end_operations, ncclComm** newcomm);
// *window is written when the job ends; NULL: there is none.
Result<void> comm_window_register(ncclComm* handle, const WindowRange& range, ncclWindow_t* window);
Result<void> comm_finalize(ncclComm* handle);
Result<void> comm_destroy(ncclComm* handle);
Result<void> comm_abort(ncclComm* handle);

// Ends a communicator that no caller has seen or will see again.
void comm_discard(ncclComm& handle);

}  // namespace weft
