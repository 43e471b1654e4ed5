/*
 * NCCL's C API as Weft states it: every host function of NCCL 2.3 to 2.30 and the per-call
 * configuration calls of 2.31, source and binary compatible. Programs include it as <nccl.h> or
 * <weft/nccl.h> and link libnccl.so.2 or libweft.so, which hold the same code.
 * docs/COMPAT.md says for every function whether it works and why not; the host side of the device
 * API is in nccl_device.h.
 *
 * Thread rule: a communicator is used by one thread at a time, except ncclCommAbort and
 * ncclCommGetAsyncError, which may be called from any thread. Group state belongs to the thread.
 * Lifetime: handles stay valid until destroyed or aborted; buffers until the operation is complete.
 * Failure: every ncclResult_t but ncclSuccess and ncclInProgress comes with one line of text, see
 * ncclGetLastError.
 *
 * Each function exists twice: the strong name pnccl<Name>, and nccl<Name>, which is weak so that a
 * profiler can put itself in between and call on through pnccl<Name>.
 */
#ifndef NCCL_H_
#define NCCL_H_

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* With the CUDA toolkit on the include path this header brings in the same CUDA headers as
 * NVIDIA's. Without it, or with WEFT_NO_CUDA defined, the two handle types are enough. */
#if !defined(WEFT_NO_CUDA) && defined(__has_include)
#if __has_include(<cuda_runtime.h>)
#define WEFT_HAS_CUDA_HEADERS 1
#endif
#endif

#ifdef WEFT_HAS_CUDA_HEADERS
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#ifdef __cplusplus
#include <cuda_fp8.h>
#endif
#else
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
#endif

/* The version whose functions work, which is what programs gate features on. */
#define NCCL_MAJOR 2
#define NCCL_MINOR 28
#define NCCL_PATCH 9
#define NCCL_SUFFIX ""

/* Up to 2.8 a version code had one decimal digit for the minor number, since then it has two. */
#define NCCL_VERSION(X, Y, Z) ((X) * (((X) <= 2 && (Y) <= 8) ? 1000 : 10000) + (Y)*100 + (Z))
#define NCCL_VERSION_CODE 22809

#ifdef __cplusplus
extern "C" {
#endif

/* ---- handles and results ---------------------------------------------------------------- */

typedef struct ncclComm* ncclComm_t;
typedef struct ncclWindow_vidmem* ncclWindow_t;
#define NCCL_COMM_NULL NULL

/* Names a communicator that is about to be made. Opaque; all 128 bytes travel to all ranks. */
#define NCCL_UNIQUE_ID_BYTES 128
typedef struct {
    char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

typedef enum {
    ncclSuccess = 0,
    ncclUnhandledCudaError = 1,
    ncclSystemError = 2,     /* the operating system or a provider refused something */
    ncclInternalError = 3,   /* a bug of the library, or corrupted memory */
    ncclInvalidArgument = 4, /* one argument is wrong by itself */
    ncclInvalidUsage = 5,    /* the call is not allowed here or now */
    ncclRemoteError = 6,     /* a peer or the network to it failed */
    ncclInProgress = 7,      /* nonblocking communicators: not finished */
    ncclTimeout = 8,         /* 2.30 */
    ncclNumResults = 9
} ncclResult_t;

typedef enum {
    ncclInt8 = 0,
    ncclChar = 0,
    ncclUint8 = 1,
    ncclInt32 = 2,
    ncclInt = 2,
    ncclUint32 = 3,
    ncclInt64 = 4,
    ncclUint64 = 5,
    ncclFloat16 = 6,
    ncclHalf = 6,
    ncclFloat32 = 7,
    ncclFloat = 7,
    ncclFloat64 = 8,
    ncclDouble = 8,
    ncclBfloat16 = 9,
    ncclFloat8e4m3 = 10,
    ncclFloat8e5m2 = 11,
    ncclNumTypes = 12
} ncclDataType_t;

/* Values from ncclNumOps to ncclMaxRedOp are operators made by ncclRedOpCreatePreMulSum. */
typedef enum {
    ncclSum = 0,
    ncclProd = 1,
    ncclMax = 2,
    ncclMin = 3,
    ncclAvg = 4,
    ncclNumOps = 5,
    ncclMaxRedOp = 0x7fffffff
} ncclRedOp_t;

/* When the scalar of a made operator is read. */
typedef enum {
    ncclScalarDevice = 0,       /* while each operation that uses it runs */
    ncclScalarHostImmediate = 1 /* before the creating call returns */
} ncclScalarResidence_t;

/* ---- constants ----------------------------------------------------------------------------- */

#define NCCL_API_MAGIC 0xcafebeef
#define NCCL_CONFIG_UNDEF_INT INT_MIN
#define NCCL_CONFIG_UNDEF_PTR NULL
#define NCCL_UNDEF_FLOAT -1.0f
#define NCCL_SPLIT_NOCOLOR -1

#define NCCL_WIN_DEFAULT 0x00
#define NCCL_WIN_COLL_SYMMETRIC 0x01
#define NCCL_WIN_STRICT_ORDERING 0x02
#define NCCL_WIN_REQUIRED_ALIGNMENT 4096

#define NCCL_CTA_POLICY_DEFAULT 0x00
#define NCCL_CTA_POLICY_EFFICIENCY 0x01
#define NCCL_CTA_POLICY_ZERO 0x02

#define NCCL_SHRINK_DEFAULT 0x00
#define NCCL_SHRINK_ABORT 0x01
#define NCCL_REVOKE_DEFAULT 0x00
#define NCCL_SUSPEND_MEM 0x01

/* ---- configuration ------------------------------------------------------------------------- */

/* Append-only. The initialiser writes the first three members and marks the others unset; the
 * library reads the members that exist at the stated version and no byte beyond `size`. */
typedef struct ncclConfig_v23000 {
    size_t size;
    unsigned int magic;
    unsigned int version;
    int blocking;
    int cgaClusterSize;
    int minCTAs;
    int maxCTAs;
    const char* netName;
    int splitShare;
    int trafficClass; /* 2.26 */
    const char* commName;
    int collnetEnable; /* 2.27 */
    int CTAPolicy;
    int shrinkShare;
    int nvlsCTAs;
    int nChannelsPerNetPeer; /* 2.28 */
    int nvlinkCentricSched;
    int graphUsageMode; /* 2.29 */
    int numRmaCtx;
    int maxP2pPeers; /* 2.30 */
    int graphStreamOrdering;
} ncclConfig_t;

/* The version whose struct layouts this header has. It is ahead of NCCL_VERSION_CODE, because a
 * reader of the struct decides by it which members were set on purpose. */
#define WEFT_NCCL_LAYOUT_VERSION NCCL_VERSION(2, 30, 7)

#define NCCL_CONFIG_INITIALIZER                                                                \
    {                                                                                          \
        sizeof(ncclConfig_t), NCCL_API_MAGIC, WEFT_NCCL_LAYOUT_VERSION, NCCL_CONFIG_UNDEF_INT, \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,               \
            NCCL_CONFIG_UNDEF_PTR, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,               \
            NCCL_CONFIG_UNDEF_PTR, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,               \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,               \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,               \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT                                       \
    }

/* What ncclGroupSimulateEnd fills. */
typedef struct ncclSimInfo_v22200 {
    size_t size;
    unsigned int magic;
    unsigned int version;
    float estimatedTime; /* microseconds */
} ncclSimInfo_t;

#define NCCL_SIM_INFO_INITIALIZER \
    { sizeof(ncclSimInfo_t), 0x74685283, WEFT_NCCL_LAYOUT_VERSION, NCCL_UNDEF_FLOAT }

/* One vendor option of a per-call configuration: a list of (vendor, option) -> value. */
typedef struct ncclConfigExt {
    struct ncclConfigExt* next;
    struct {
        int vendorId; /* 24 bits, chosen by the vendor, not 0 */
        int optionId;
    } key;
    union {
        int i;
        const char* s;
        void* raw;
    } val;
} ncclConfigExt_t;

/* Per-call configuration (2.31), append-only. */
typedef struct ncclCollConfig_v23100 {
    size_t size;
    unsigned int magic;
    unsigned int version;
    ncclConfigExt_t* ext;
    int minCTAs;
    int maxCTAs;
    int nvlsCTAs;
    int cgaClusterSize;
    const char* algSelection;
    int forceAlgSelection;
    int CTAPolicy;
    uint64_t userProfilerTag;
} ncclCollConfig_t;

#define NCCL_COLLCONFIG_INITIALIZER                                                              \
    {                                                                                            \
        sizeof(ncclCollConfig_t), NCCL_API_MAGIC, NCCL_VERSION(2, 31, 2), NCCL_CONFIG_UNDEF_PTR, \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,                 \
            NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_PTR, 1, NCCL_CONFIG_UNDEF_INT, 0            \
    }

/* ---- library ------------------------------------------------------------------------------- */

/* Stores NCCL_VERSION_CODE of the library. Thread-safe. */
ncclResult_t ncclGetVersion(int* version);
extern __typeof__(ncclGetVersion) pncclGetVersion;

/* One fixed sentence per result code; never NULL. */
const char* ncclGetErrorString(ncclResult_t result);
extern __typeof__(ncclGetErrorString) pncclGetErrorString;

/* The last warning of the process: which call, which argument, why. `comm` is not looked at. The
 * text is kept until the next warning. */
const char* ncclGetLastError(ncclComm_t comm);
extern __typeof__(ncclGetLastError) pncclGetLastError;

/* Kept for programs that resolve it. The settings of a process are read once and stay. */
__attribute__((deprecated("logging settings are read once per process"))) void ncclResetDebugInit(
    void);
__attribute__((deprecated("logging settings are read once per process"))) void pncclResetDebugInit(
    void);

/* Memory that peers on the same host reach without a copy. Freed by ncclMemFree only. */
ncclResult_t ncclMemAlloc(void** ptr, size_t size);
extern __typeof__(ncclMemAlloc) pncclMemAlloc;
ncclResult_t ncclMemFree(void* ptr);
extern __typeof__(ncclMemFree) pncclMemFree;

/* ---- communicators ------------------------------------------------------------------------- */

/* Makes the id of one new communicator. The calling process must live until its init is done. */
ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId);
extern __typeof__(ncclGetUniqueId) pncclGetUniqueId;

/* Joins communicator `commId` as `rank` of `nranks`. All ranks call it; inside a group one thread
 * may call it for several ranks. The device current at the call becomes the rank's device. */
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank);
extern __typeof__(ncclCommInitRank) pncclCommInitRank;

/* The same with a configuration; NULL means the defaults. */
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId commId, int rank,
                                    ncclConfig_t* config);
extern __typeof__(ncclCommInitRankConfig) pncclCommInitRankConfig;

/* The same with nId ids, equal and in equal order on all ranks. The first one is used. */
ncclResult_t ncclCommInitRankScalable(ncclComm_t* newcomm, int nranks, int myrank, int nId,
                                      ncclUniqueId* commIds, ncclConfig_t* config);
extern __typeof__(ncclCommInitRankScalable) pncclCommInitRankScalable;

/* Makes all `ndev` ranks of a communicator in this process; rank i goes to devlist[i], or to device
 * i when devlist is NULL. */
ncclResult_t ncclCommInitAll(ncclComm_t* comm, int ndev, const int* devlist);
extern __typeof__(ncclCommInitAll) pncclCommInitAll;

/* Makes one communicator per colour, ranks ordered by key and then by old rank. All ranks of `comm`
 * call it; those with NCCL_SPLIT_NOCOLOR get NULL. A NULL config inherits the parent's. */
ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
                           ncclConfig_t* config);
extern __typeof__(ncclCommSplit) pncclCommSplit;

/* Makes a communicator without the listed ranks; the survivors call it and keep their order. With
 * NCCL_SHRINK_ABORT the parent's operations are ended first. */
ncclResult_t ncclCommShrink(ncclComm_t comm, int* excludeRanksList, int excludeRanksCount,
                            ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags);
extern __typeof__(ncclCommShrink) pncclCommShrink;

/* 2.29: makes an id by which new ranks join the members of `comm` in ncclCommGrow. */
ncclResult_t ncclCommGetUniqueId(ncclComm_t comm, ncclUniqueId* uniqueId);
extern __typeof__(ncclCommGetUniqueId) pncclCommGetUniqueId;

/* 2.29: makes a communicator of `nRanks` from the members of `comm` (rank -1, the id at one of them
 * only) and new ranks (comm NULL, the id, their rank). */
ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId, int rank,
                          ncclComm_t* newcomm, ncclConfig_t* config);
extern __typeof__(ncclCommGrow) pncclCommGrow;

/* 2.28.7: ends the communicator's operations and refuses new ones; split, shrink and destroy stay
 * possible. `revokeFlags` is NCCL_REVOKE_DEFAULT. */
ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags);
extern __typeof__(ncclCommRevoke) pncclCommRevoke;

/* Waits for the operations issued so far and tells the peers that this rank is leaving. On a
 * nonblocking communicator it returns ncclInProgress. */
ncclResult_t ncclCommFinalize(ncclComm_t comm);
extern __typeof__(ncclCommFinalize) pncclCommFinalize;

/* Finalizes if that was not done, then frees the communicator. */
ncclResult_t ncclCommDestroy(ncclComm_t comm);
extern __typeof__(ncclCommDestroy) pncclCommDestroy;

/* Ends every operation with an error and frees the communicator, without help of the peers and in
 * bounded time. From any thread. */
ncclResult_t ncclCommAbort(ncclComm_t comm);
extern __typeof__(ncclCommAbort) pncclCommAbort;

/* Stores the communicator's state: ncclSuccess, ncclInProgress, or the first error. From any
 * thread; drives a nonblocking communicator. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError);
extern __typeof__(ncclCommGetAsyncError) pncclCommGetAsyncError;

/* Number of ranks, this rank's device, this rank. */
ncclResult_t ncclCommCount(const ncclComm_t comm, int* count);
extern __typeof__(ncclCommCount) pncclCommCount;
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device);
extern __typeof__(ncclCommCuDevice) pncclCommCuDevice;
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank);
extern __typeof__(ncclCommUserRank) pncclCommUserRank;

/* 2.29.7: gives dynamic device memory back until ncclCommResume. Collective. */
ncclResult_t ncclCommSuspend(ncclComm_t comm, int flags);
extern __typeof__(ncclCommSuspend) pncclCommSuspend;
ncclResult_t ncclCommResume(ncclComm_t comm);
extern __typeof__(ncclCommResume) pncclCommResume;

/* 2.29.7: bytes of device memory the communicator holds. */
typedef enum {
    ncclStatGpuMemSuspend = 0,   /* bytes that a suspend would free */
    ncclStatGpuMemSuspended = 1, /* 1 while suspended */
    ncclStatGpuMemPersist = 2,   /* bytes that a suspend keeps */
    ncclStatGpuMemTotal = 3
} ncclCommMemStat_t;
ncclResult_t ncclCommMemStats(ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value);
extern __typeof__(ncclCommMemStats) pncclCommMemStats;

/* ---- buffers ------------------------------------------------------------------------------- */

/* Announces a buffer that many operations will use. Local. */
ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size, void** handle);
extern __typeof__(ncclCommRegister) pncclCommRegister;
ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle);
extern __typeof__(ncclCommDeregister) pncclCommDeregister;

/* Makes a window of equal buffers, one per rank. Collective. Success with a NULL window means that
 * this communicator has no windows, or a rank's memory cannot be shared, and the buffer works as
 * any other. In a group *win is written at its end. With NCCL_WIN_COLL_SYMMETRIC every rank passes
 * the same offsets to collectives. Memory is deregistered before it is freed. */
ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win,
                                    int winFlags);
extern __typeof__(ncclCommWindowRegister) pncclCommWindowRegister;
ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win);
extern __typeof__(ncclCommWindowDeregister) pncclCommWindowDeregister;

/* 2.29: the buffer a window was made of. */
ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win, void** outUserPtr);
extern __typeof__(ncclWinGetUserPtr) pncclWinGetUserPtr;

/* ---- operators ----------------------------------------------------------------------------- */

/* Makes an operator that multiplies this rank's input by *scalar (of type `datatype`) and sums. For
 * `comm` and `datatype` only. It may be destroyed when the last call given it has returned. */
ncclResult_t ncclRedOpCreatePreMulSum(ncclRedOp_t* op, void* scalar, ncclDataType_t datatype,
                                      ncclScalarResidence_t residence, ncclComm_t comm);
extern __typeof__(ncclRedOpCreatePreMulSum) pncclRedOpCreatePreMulSum;
ncclResult_t ncclRedOpDestroy(ncclRedOp_t op, ncclComm_t comm);
extern __typeof__(ncclRedOpDestroy) pncclRedOpDestroy;

/* ---- collectives --------------------------------------------------------------------------- */

/* All ranks call the same collectives in the same order. Counts are elements. With device pointers
 * a call is ordered on `stream` and returns at once. With host pointers and the NULL stream it
 * returns when the caller's buffers are final, on a nonblocking communicator when started; host
 * streams (weft.h) give the asynchronous form. "In place" is allowed where it is stated. */

/* recvbuff[i] = op over ranks of sendbuff[i], on every rank. In place: recvbuff == sendbuff. */
ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream);
extern __typeof__(ncclAllReduce) pncclAllReduce;

/* The same on `root` only; elsewhere recvbuff may be NULL. In place: recvbuff == sendbuff. */
ncclResult_t ncclReduce(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclReduce) pncclReduce;

/* Root's sendbuff into every recvbuff; elsewhere sendbuff is ignored. In place: equal pointers. */
ncclResult_t ncclBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclBroadcast) pncclBroadcast;

/* ncclBroadcast in place, the older form. */
ncclResult_t ncclBcast(void* buff, size_t count, ncclDataType_t datatype, int root, ncclComm_t comm,
                       cudaStream_t stream);
extern __typeof__(ncclBcast) pncclBcast;

/* Block r of the reduction of nranks * recvcount elements, on rank r. In place: recvbuff is block r
 * of sendbuff. */
ncclResult_t ncclReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                               ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream);
extern __typeof__(ncclReduceScatter) pncclReduceScatter;

/* Rank r's sendcount elements as block r of every recvbuff. In place: sendbuff is block r of
 * recvbuff. */
ncclResult_t ncclAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclAllGather) pncclAllGather;

/* Block j of rank i's sendbuff becomes block i of rank j's recvbuff. Not in place. */
ncclResult_t ncclAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                          ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclAlltoAll) pncclAlltoAll;

/* Rank r's sendbuff as block r of root's recvbuff. In place: root's sendbuff is its block. */
ncclResult_t ncclGather(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                        int root, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclGather) pncclGather;

/* Block r of root's sendbuff into rank r's recvbuff. In place: root's recvbuff is its block. */
ncclResult_t ncclScatter(const void* sendbuff, void* recvbuff, size_t count,
                         ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclScatter) pncclScatter;

/* 2.31: the same calls with a per-call configuration; NULL makes them the plain calls. */
ncclResult_t ncclAllReduceConfig(const void* sendbuff, void* recvbuff, size_t count,
                                 ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                                 cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclAllReduceConfig) pncclAllReduceConfig;
ncclResult_t ncclReduceConfig(const void* sendbuff, void* recvbuff, size_t count,
                              ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm,
                              cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclReduceConfig) pncclReduceConfig;
ncclResult_t ncclBroadcastConfig(const void* sendbuff, void* recvbuff, size_t count,
                                 ncclDataType_t datatype, int root, ncclComm_t comm,
                                 cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclBroadcastConfig) pncclBroadcastConfig;
ncclResult_t ncclReduceScatterConfig(const void* sendbuff, void* recvbuff, size_t recvcount,
                                     ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                                     cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclReduceScatterConfig) pncclReduceScatterConfig;
ncclResult_t ncclAllGatherConfig(const void* sendbuff, void* recvbuff, size_t sendcount,
                                 ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
                                 const ncclCollConfig_t* config);
extern __typeof__(ncclAllGatherConfig) pncclAllGatherConfig;
ncclResult_t ncclAlltoAllConfig(const void* sendbuff, void* recvbuff, size_t count,
                                ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
                                const ncclCollConfig_t* config);
extern __typeof__(ncclAlltoAllConfig) pncclAlltoAllConfig;
ncclResult_t ncclGatherConfig(const void* sendbuff, void* recvbuff, size_t count,
                              ncclDataType_t datatype, int root, ncclComm_t comm,
                              cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclGatherConfig) pncclGatherConfig;
ncclResult_t ncclScatterConfig(const void* sendbuff, void* recvbuff, size_t count,
                               ncclDataType_t datatype, int root, ncclComm_t comm,
                               cudaStream_t stream, const ncclCollConfig_t* config);
extern __typeof__(ncclScatterConfig) pncclScatterConfig;

/* ---- point to point ------------------------------------------------------------------------ */

/* Every send meets a receive of the same count and type at the peer, in call order per pair. Inside
 * a group sends and receives progress independently of each other; outside, each call completes
 * alone, so two ranks that both send first wait for each other. */
ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype, int peer,
                      ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclSend) pncclSend;
ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype, int peer,
                      ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclRecv) pncclRecv;

/* 2.29: one-sided writes into a peer's window, with counted signals. */
typedef struct {
    int opCnt; /* signals to wait for... */
    int peer;  /* ...from this rank */
    int sigIdx;
    int ctx;
} ncclWaitSignalDesc_t;
ncclResult_t ncclPutSignal(const void* localbuff, size_t count, ncclDataType_t datatype, int peer,
                           ncclWindow_t peerWin, size_t peerWinOffset, int sigIdx, int ctx,
                           unsigned int flags, ncclComm_t comm, cudaStream_t stream);
extern __typeof__(ncclPutSignal) pncclPutSignal;
ncclResult_t ncclSignal(int peer, int sigIdx, int ctx, unsigned int flags, ncclComm_t comm,
                        cudaStream_t stream);
extern __typeof__(ncclSignal) pncclSignal;
ncclResult_t ncclWaitSignal(int nDesc, ncclWaitSignalDesc_t* signalDescs, ncclComm_t comm,
                            cudaStream_t stream);
extern __typeof__(ncclWaitSignal) pncclWaitSignal;

/* ---- groups -------------------------------------------------------------------------------- */

/* Calls between Start and End are collected and started together by the outermost End. A group
 * holds either communication or init/split/finalize/destroy calls. The first error inside it is
 * what End returns, and then nothing of the group ran. Groups nest; their state is the thread's. */
ncclResult_t ncclGroupStart(void);
extern __typeof__(ncclGroupStart) pncclGroupStart;
ncclResult_t ncclGroupEnd(void);
extern __typeof__(ncclGroupEnd) pncclGroupEnd;

/* Ends a group without running it and stores how long it would have taken. */
ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo);
extern __typeof__(ncclGroupSimulateEnd) pncclGroupSimulateEnd;

/* ---- parameters (2.30) --------------------------------------------------------------------- */

/* Reads settings by name. Handles belong to the library. Strings and tables are valid until the
 * same thread makes the same call again. */
typedef struct ncclParamHandle* ncclParamHandle_t;
ncclResult_t ncclParamBind(ncclParamHandle_t* out, const char* key);
extern __typeof__(ncclParamBind) pncclParamBind;
ncclResult_t ncclParamGetI8(ncclParamHandle_t h, int8_t* out);
extern __typeof__(ncclParamGetI8) pncclParamGetI8;
ncclResult_t ncclParamGetI16(ncclParamHandle_t h, int16_t* out);
extern __typeof__(ncclParamGetI16) pncclParamGetI16;
ncclResult_t ncclParamGetI32(ncclParamHandle_t h, int32_t* out);
extern __typeof__(ncclParamGetI32) pncclParamGetI32;
ncclResult_t ncclParamGetI64(ncclParamHandle_t h, int64_t* out);
extern __typeof__(ncclParamGetI64) pncclParamGetI64;
ncclResult_t ncclParamGetU8(ncclParamHandle_t h, uint8_t* out);
extern __typeof__(ncclParamGetU8) pncclParamGetU8;
ncclResult_t ncclParamGetU16(ncclParamHandle_t h, uint16_t* out);
extern __typeof__(ncclParamGetU16) pncclParamGetU16;
ncclResult_t ncclParamGetU32(ncclParamHandle_t h, uint32_t* out);
extern __typeof__(ncclParamGetU32) pncclParamGetU32;
ncclResult_t ncclParamGetU64(ncclParamHandle_t h, uint64_t* out);
extern __typeof__(ncclParamGetU64) pncclParamGetU64;
ncclResult_t ncclParamGetStr(ncclParamHandle_t h, const char** out);
extern __typeof__(ncclParamGetStr) pncclParamGetStr;
ncclResult_t ncclParamGet(ncclParamHandle_t h, void* out, int maxLen, int* len);
extern __typeof__(ncclParamGet) pncclParamGet;
ncclResult_t ncclParamGetParameter(const char* key, const char** value, int* valueLen);
extern __typeof__(ncclParamGetParameter) pncclParamGetParameter;
ncclResult_t ncclParamGetAllParameterKeys(const char*** table, int* tableLen);
extern __typeof__(ncclParamGetAllParameterKeys) pncclParamGetAllParameterKeys;
void ncclParamDumpAll(void);
extern __typeof__(ncclParamDumpAll) pncclParamDumpAll;

#ifdef __cplusplus
}
#endif

#endif /* NCCL_H_ */
