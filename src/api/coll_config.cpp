// The collectives with a per-call configuration (NCCL 2.31): the plain call when there is none. A
// configuration is refused and never ignored: its members limit device resources and algorithms,
// and a caller who sets them relies on them.
#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/api/refuse.h"

namespace {

template <class Plain>
ncclResult_t plain_only(const char* function, ncclComm_t comm, const ncclCollConfig_t* config,
                        Plain plain) {
    if (config == nullptr) {
        return plain();
    }
    return weft::grouped(weft::refuse_on(
        comm, {function, "per-call configurations do not apply", "pass NULL as the config"}));
}

}  // namespace

NCCL_ENTRY(ncclResult_t, AllReduceConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclAllReduceConfig", comm, config, [&] {
        return pncclAllReduce(sendbuff, recvbuff, count, datatype, op, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, ReduceConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclReduceConfig", comm, config, [&] {
        return pncclReduce(sendbuff, recvbuff, count, datatype, op, root, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, BroadcastConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclBroadcastConfig", comm, config, [&] {
        return pncclBroadcast(sendbuff, recvbuff, count, datatype, root, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, ReduceScatterConfig, const void* sendbuff, void* recvbuff,
           size_t recvcount, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
           cudaStream_t stream, const ncclCollConfig_t* config) {
    return plain_only("ncclReduceScatterConfig", comm, config, [&] {
        return pncclReduceScatter(sendbuff, recvbuff, recvcount, datatype, op, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, AllGatherConfig, const void* sendbuff, void* recvbuff, size_t sendcount,
           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclAllGatherConfig", comm, config, [&] {
        return pncclAllGather(sendbuff, recvbuff, sendcount, datatype, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, AlltoAllConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclAlltoAllConfig", comm, config, [&] {
        return pncclAlltoAll(sendbuff, recvbuff, count, datatype, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, GatherConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclGatherConfig", comm, config, [&] {
        return pncclGather(sendbuff, recvbuff, count, datatype, root, comm, stream);
    });
}

NCCL_ENTRY(ncclResult_t, ScatterConfig, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream,
           const ncclCollConfig_t* config) {
    return plain_only("ncclScatterConfig", comm, config, [&] {
        return pncclScatter(sendbuff, recvbuff, count, datatype, root, comm, stream);
    });
}
