// What a device communicator cannot use: one line each, and nothing is launched.
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("host memory that CUDA does not know is refused by name") {
    Job job(1);
    int32_t host[4] = {};
    int32_t* const device = job.take<int32_t>(4);
    const int before = job.cuda.fake->launches;
    cudaStream_t const stream = cuda_stream(job.streams[0]);
    CHECK(ncclAllReduce(host, device, 4, ncclInt32, ncclSum, job.comms[0], stream) ==
          ncclInvalidArgument);
    CHECK(Warnings().say({"AllReduce", "sendbuff", "host memory that CUDA does not know",
                          "cudaHostRegister", "WEFT_DEVICE=host"}));
    CHECK(ncclAllReduce(device, host, 4, ncclInt32, ncclSum, job.comms[0], stream) ==
          ncclInvalidArgument);
    CHECK(Warnings().say({"recvbuff"}));
    CHECK(job.cuda.fake->launches == before);
    CHECK(ncclAllReduce(host, device, 0, ncclInt32, ncclSum, job.comms[0], stream) == ncclSuccess);
}

TEST_CASE("a factor in host memory that CUDA does not know") {
    Job job(1);
    float host = 2;
    float* const device = job.take<float>(4);
    ncclRedOp_t op;
    NCCL(ncclRedOpCreatePreMulSum(&op, &host, ncclFloat32, ncclScalarDevice, job.comms[0]));
    CHECK(ncclAllReduce(device, device, 4, ncclFloat32, op, job.comms[0],
                        cuda_stream(job.streams[0])) == ncclInvalidArgument);
    CHECK(Warnings().say({"the factor at", "host memory that CUDA does not know"}));
}

TEST_CASE("memory and streams of another device are refused by name") {
    Job job(1);
    job.cuda.fake->devices = 2;
    Cuda both(2);
    int32_t* const device = job.take<int32_t>(4);
    gpu::Address other = 0;
    gpu::Stream stream = nullptr;
    job.cuda.fake->no_waiting = 0;
    {
        const auto second = both.use(1);
        CUDA(both->cuMemAlloc(&other, 64));
        CUDA(both->cuStreamCreateWithPriority(&stream, gpu::stream_flag::non_blocking, 0));
    }
    CHECK(ncclAllReduce(reinterpret_cast<void*>(other), device, 4, ncclInt32, ncclSum, job.comms[0],
                        cuda_stream(job.streams[0])) == ncclInvalidArgument);
    CHECK(Warnings().say({"sendbuff", "memory of CUDA device 1", "works on device 0"}));
    CHECK(ncclAllReduce(device, device, 4, ncclInt32, ncclSum, job.comms[0], cuda_stream(stream)) ==
          ncclInvalidArgument);
    CHECK(Warnings().say({"stream", "another CUDA context", "device 0"}));
    CUDA(both->cuStreamDestroy(stream));
    CUDA(both->cuMemFree(other));
}

TEST_CASE("two threads that hand over the same stream: both ranks are named, nothing hangs") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 3000);
    buffers.fill(0);
    NCCL(buffers.enqueue(0, job.streams[0]));
    CHECK(buffers.enqueue(1, job.streams[0]) == ncclInvalidUsage);
    CHECK(Warnings().say({"rank 0", "rank 1", "same stream", "one group"}));
    // The first is still there for the second on a stream of its own.
    NCCL(buffers.enqueue(1, job.streams[1]));
    job.synchronize();
    CHECK(buffers.wrong(0) == 0);
}

TEST_CASE("ranks of one group that call different things are told at once", "[clique]") {
    Job job(2);
    int32_t* const memory = job.take<int32_t>(100);
    cudaStream_t const stream = cuda_stream(job.streams[0]);
    const int before = job.cuda.fake->launches;
    NCCL(ncclGroupStart());
    NCCL(ncclAllReduce(memory, memory, 10, ncclInt32, ncclSum, job.comms[0], stream));
    NCCL(ncclAllReduce(memory, memory, 11, ncclInt32, ncclSum, job.comms[1], stream));
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    CHECK(Warnings().say({"rank 0", "count 10", "rank 1", "count 11"}));
    CHECK(job.cuda.fake->launches == before);
}

TEST_CASE("ranks that do not work on the same kind of memory") {
    Cuda cuda;
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    ncclResult_t results[2] = {};
    std::string lines[2];
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; rank++) {
        threads.emplace_back([&, rank] {
            std::optional<gpu::ContextGuard> guard;
            if (rank == 0) {
                guard.emplace(cuda.use());
            }
            ncclComm_t comm = nullptr;
            results[rank] = ncclCommInitRank(&comm, 2, id, rank);
            lines[rank] = ncclGetLastError(nullptr);
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(results[0] == ncclInvalidUsage);
    CHECK(results[1] == ncclInvalidUsage);
    CHECK(lines[0].find("WEFT_DEVICE alike") != std::string::npos);
}

TEST_CASE("a device that does not exist, named by ncclCommInitAll") {
    Cuda cuda;
    const auto guard = cuda.use();
    ncclComm_t comms[1] = {};
    const int devices[] = {3};
    CHECK(ncclCommInitAll(comms, 1, devices) == ncclInvalidArgument);
    CHECK(Warnings().say({"there is no CUDA device 3", "the driver sees 1"}));
}
