// How much memory this process may lock, against what an EFA endpoint registers: registering locks
// pages, and a limit that is too low shows only as a refused endpoint or, worse, in the middle of a
// job. Thread rule: reentrant. Failure rule: one line with both numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/result.h"

namespace weft::fabric {

struct LockLimit {
    bool unlimited = true;
    uint64_t bytes = 0;
};
LockLimit lock_limit();  // RLIMIT_MEMLOCK; none for a process with CAP_IPC_LOCK

// What this many rails lock before the first operation. `receive_per_write`: see features.h.
uint64_t lock_need(size_t rails, bool direct, bool receive_per_write);

// An error below `need`; a warning below `need` and the memory budget together.
Result<void> lock_check(const LockLimit& limit, uint64_t need, uint64_t budget);

}  // namespace weft::fabric
