// What every rank of a multi-process test program begins with: who it is among those weft-run has
// started, its communicator, and the one way to say what went wrong. Public API only.
//
// Thread rule: `env` is set by main before there are threads; `comm` belongs to whoever calls.
// Failure rule: one line on stderr that names the rank, and exit 1 at once.
#pragma once

#include <weft/nccl.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "perf/launch_env.h"

namespace weft::multiproc {

inline LaunchEnv env;
inline ncclComm_t comm = nullptr;  // what `ok` asks for the last error

[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* text, ...) {
    va_list args;
    va_start(args, text);
    std::fprintf(stderr, "rank %d: ", env.rank);
    std::vfprintf(stderr, text, args);
    std::fprintf(stderr, "\n");
    va_end(args);
    std::_Exit(1);
}

inline void ok(ncclResult_t result, const char* what) {
    if (result != ncclSuccess) {
        fail("%s: %s: %s", what, ncclGetErrorString(result), ncclGetLastError(comm));
    }
}

// All ranks that weft-run has started.
inline ncclComm_t comm_of_all() {
    ncclUniqueId id;
    ncclComm_t made = nullptr;
    ok(ncclGetUniqueId(&id), "ncclGetUniqueId");  // NCCL_COMM_ID is set: the id only says so
    ok(ncclCommInitRank(&made, env.rank_count, id, env.rank), "ncclCommInitRank");
    return made;
}

}  // namespace weft::multiproc
