/*
 * Weft's own calls, beside the NCCL API of nccl.h.
 *
 * Thread rule: thread-safe unless a function says otherwise. Failure: result codes and
 * ncclGetLastError as in nccl.h. After a fork the child's calls return ncclInvalidUsage.
 */
#ifndef WEFT_H_
#define WEFT_H_

#include <stddef.h>
#include <stdint.h>

#include "nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- which library this is ----------------------------------------------------------------- */

/* Stores Weft's own version as major * 10000 + minor * 100 + patch; ncclGetVersion gives the NCCL
 * version it stands for. ncclInvalidArgument when `version` is NULL. */
ncclResult_t weftGetVersion(int* version);

/* One line: name, version, compiler, build options. Never NULL; valid for the process's life. */
const char* weftGetBuildInfo(void);

/* ---- host streams -------------------------------------------------------------------------- */

/* A host stream makes calls on host buffers asynchronous: given where a cudaStream_t stands, the
 * call returns at once, and operations of one stream run in call order. It is not a CUDA stream:
 * CUDA must not be given one. Buffers stay untouched until the stream has passed them. */

/* Makes a stream. ncclInvalidArgument when `stream` is NULL. */
ncclResult_t weftStreamCreate(cudaStream_t* stream);

/* Waits for the stream's operations, then frees it. Returns what weftStreamSynchronize would.
 * ncclInvalidArgument when `stream` is not a live host stream. */
ncclResult_t weftStreamDestroy(cudaStream_t stream);

/* Waits until every operation issued on the stream so far is complete and drives them meanwhile.
 * Returns the first error among them since the last synchronize or query that reported one. */
ncclResult_t weftStreamSynchronize(cudaStream_t stream);

/* The same without waiting: ncclInProgress while something is unfinished. */
ncclResult_t weftStreamQuery(cudaStream_t stream);

/* ---- counters ------------------------------------------------------------------------------ */

/* What one rank of one communicator has done since init. Append-only. */
typedef struct weftStats {
    size_t size;                /* set by the caller: bytes of the struct it knows */
    uint64_t ops;               /* collectives, sends and receives completed */
    uint64_t putBytes;          /* payload handed to links */
    uint64_t copiedBytes;       /* payload copied by CPUs, staging included, or onto boards */
    uint64_t eagerBytes;        /* part of putBytes that went through slots granted in advance */
    uint64_t messages;          /* puts, grants and acknowledgements posted */
    uint64_t grants;            /* grants sent */
    uint64_t retries;           /* posts that a link refused for now */
    uint64_t duplicatesDropped; /* pieces that arrived again */
    uint64_t staleDropped;      /* pieces of an old generation */
    uint64_t lateReports;       /* waits reported as late */
    uint64_t strangersDropped;  /* control connections of this process that were not from a peer */
    uint64_t registrations;     /* memory registered with NICs: windows, on each rail */
    uint64_t deregistrations;   /* of these, ended */
    uint64_t registrationHits;  /* memory that was found registered */
} weftStats_t;

#define WEFT_STATS_INITIALIZER \
    { sizeof(weftStats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fills the members that `stats->size` covers. The numbers may be some operations old.
 * ncclInvalidArgument when an argument is NULL or the size is smaller than the first member. */
ncclResult_t weftCommStats(ncclComm_t comm, weftStats_t* stats);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_H_ */
