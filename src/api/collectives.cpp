// Collectives, sends and receives.
#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/call.h"
#include "src/comm/communicator.h"
#include "src/comm/device_bundle.h"

namespace weft {

namespace {

// Users' scripts parse this line.
void call_log(const CallArgs& args, Communicator& comm, ncclComm_t handle) {
    const uint64_t op_count = comm.op_count_next();
    LOG(info, coll,
        "%s: opCount %lx sendbuff %p recvbuff %p count %zu datatype %d op %d root %d comm %p "
        "[nranks=%d] stream %p",
        args.name, static_cast<unsigned long>(op_count), args.send, args.recv, args.count,
        args.type, args.op, args.root, static_cast<void*>(handle), comm.rank_count(), args.stream);
    LOG(trace, call, "nccl%s(%p,%p,%zu,%d,%d,%d,%p,%p)", args.name, args.send, args.recv,
        args.count, args.type, args.op, args.root, static_cast<void*>(handle), args.stream);
}

ncclResult_t enqueue(const CallArgs& args, ncclComm_t handle) {
    return at_border_grouped([&]() -> Result<void> {
        CommRef comm = TRY(CommRef::enter(handle, args.name));
        TRY(comm->usable());
        log_device_set(comm->device());
        Call call;
        const bool real =
            TRY(call_check(args, comm->rank(), comm->rank_count(), comm->operators(), call));
        CallStream stream;
        if (!comm->on_device()) {
            stream.host = TRY(Process::get().streams().for_call(args.stream, args.name));
        }
        if (!real) {
            return {};
        }
        if (comm->on_device()) {
            stream.device = args.stream;
            TRY(device_call_check(*comm, call, args.name, args.stream));
        }
        call_log(args, *comm, handle);
        return group_call(comm, handle, call, std::move(stream));
    });
}

}  // namespace

}  // namespace weft

using weft::CallArgs;
using weft::Coll;
using weft::enqueue;

NCCL_ENTRY(ncclResult_t, AllReduce, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return enqueue(
        {"AllReduce", Coll::all_reduce, sendbuff, recvbuff, count, datatype, op, 0, false, stream},
        comm);
}

NCCL_ENTRY(ncclResult_t, Reduce, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclRedOp_t op, int root, ncclComm_t comm,
           cudaStream_t stream) {
    return enqueue(
        {"Reduce", Coll::reduce, sendbuff, recvbuff, count, datatype, op, root, false, stream},
        comm);
}

NCCL_ENTRY(ncclResult_t, Broadcast, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
    return enqueue({"Broadcast", Coll::broadcast, sendbuff, recvbuff, count, datatype, ncclSum,
                    root, false, stream},
                   comm);
}

NCCL_ENTRY(ncclResult_t, Bcast, void* buff, size_t count, ncclDataType_t datatype, int root,
           ncclComm_t comm, cudaStream_t stream) {
    return enqueue(
        {"Broadcast", Coll::broadcast, buff, buff, count, datatype, ncclSum, root, false, stream},
        comm);
}

NCCL_ENTRY(ncclResult_t, ReduceScatter, const void* sendbuff, void* recvbuff, size_t recvcount,
           ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return enqueue({"ReduceScatter", Coll::reduce_scatter, sendbuff, recvbuff, recvcount, datatype,
                    op, 0, false, stream},
                   comm);
}

NCCL_ENTRY(ncclResult_t, AllGather, const void* sendbuff, void* recvbuff, size_t sendcount,
           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
    return enqueue({"AllGather", Coll::all_gather, sendbuff, recvbuff, sendcount, datatype, ncclSum,
                    0, false, stream},
                   comm);
}

NCCL_ENTRY(ncclResult_t, AlltoAll, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream) {
    return enqueue({"AlltoAll", Coll::all_to_all, sendbuff, recvbuff, count, datatype, ncclSum, 0,
                    false, stream},
                   comm);
}

NCCL_ENTRY(ncclResult_t, Gather, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
    return enqueue(
        {"Gather", Coll::gather, sendbuff, recvbuff, count, datatype, ncclSum, root, false, stream},
        comm);
}

NCCL_ENTRY(ncclResult_t, Scatter, const void* sendbuff, void* recvbuff, size_t count,
           ncclDataType_t datatype, int root, ncclComm_t comm, cudaStream_t stream) {
    return enqueue({"Scatter", Coll::scatter, sendbuff, recvbuff, count, datatype, ncclSum, root,
                    false, stream},
                   comm);
}

NCCL_ENTRY(ncclResult_t, Send, const void* sendbuff, size_t count, ncclDataType_t datatype,
           int peer, ncclComm_t comm, cudaStream_t stream) {
    return enqueue(
        {"Send", Coll::send_recv, sendbuff, nullptr, count, datatype, ncclSum, peer, true, stream},
        comm);
}

NCCL_ENTRY(ncclResult_t, Recv, void* recvbuff, size_t count, ncclDataType_t datatype, int peer,
           ncclComm_t comm, cudaStream_t stream) {
    return enqueue(
        {"Recv", Coll::send_recv, nullptr, recvbuff, count, datatype, ncclSum, peer, false, stream},
        comm);
}
