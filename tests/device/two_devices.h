// A rank for each of two devices, in a thread, once around. Thread rule: as tests/device/device.h.
// Failure rule: what is wrong fails the test.
#pragma once

#include "tests/device/calls.h"

namespace weft::test {

// How many launches it took.
inline int two_devices(Cuda& cuda) {
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    gpu::Address memory[2] = {};
    gpu::Stream streams[2] = {};
    for (int rank = 0; rank < 2; rank++) {
        const auto guard = cuda.use(rank);
        CUDA(cuda->cuMemAlloc(&memory[rank], 4000));
        CUDA(cuda->cuStreamCreateWithPriority(&streams[rank], gpu::stream_flag::non_blocking, 0));
        std::fill_n(reinterpret_cast<int32_t*>(memory[rank]), 1000, 10 + rank);
    }
    std::atomic<int> well{0};
    const int before = cuda.fake->launches;
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; rank++) {
        threads.emplace_back([&, rank] {
            const auto guard = cuda.use(rank);
            ncclComm_t comm = nullptr;
            auto* const data = reinterpret_cast<int32_t*>(memory[rank]);
            const bool good = ncclCommInitRank(&comm, 2, id, rank) == ncclSuccess &&
                              ncclAllReduce(data, data, 1000, ncclInt32, ncclSum, comm,
                                            cuda_stream(streams[rank])) == ncclSuccess &&
                              cuda->cuStreamSynchronize(streams[rank]) == gpu::status::success &&
                              all_are(data, 1000, 21);
            well += good ? 1 : 0;
            ncclCommDestroy(comm);
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(well == 2);
    const int launches = cuda.fake->launches - before;
    for (int rank = 0; rank < 2; rank++) {
        const auto guard = cuda.use(rank);
        CUDA(cuda->cuStreamDestroy(streams[rank]));
        CUDA(cuda->cuMemFree(memory[rank]));
    }
    return launches;
}

}  // namespace weft::test
