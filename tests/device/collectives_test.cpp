// Every collective on device memory: ranks in one group, and each in a thread with a stream of its
// own; sends and receives; operators; what is counted.
#include <algorithm>
#include <cstdlib>

#include "include/weft/weft.h"
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("every collective, all ranks in one group on one stream") {
    Job job(4);
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {1u, 37u, 3000u, 70000u}) {
            Buffers buffers(job, coll, count, 3);
            for (uint64_t salt = 0; salt < 2; salt++) {
                buffers.fill(salt);
                buffers.gang({job.streams[0]});
                job.synchronize();
                INFO(to_string(coll) << " count " << count);
                CHECK(buffers.wrong(salt) == 0);
            }
        }
    }
    CHECK(job.cuda.fake->waits_refused == 0);
}

TEST_CASE("every collective, each rank in a thread with a stream of its own, one after the other") {
    Job job(3);
    std::vector<std::unique_ptr<Buffers>> all;
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {5u, 9000u}) {
            all.push_back(std::make_unique<Buffers>(job, coll, count, 1));
            all.back()->fill(7);
        }
    }
    job.threads([&](int rank) {
        return std::ranges::all_of(all, [&](const auto& buffers) {
            return buffers->enqueue(rank, job.streams[static_cast<size_t>(rank)]) == ncclSuccess;
        });
    });
    job.synchronize();
    for (const auto& buffers : all) {
        CHECK(buffers->wrong(7) == 0);
    }
    CHECK(job.cuda.fake->waits_refused == 0);
}

TEST_CASE("small operations go by LL words, unless NCCL_PROTO leaves none", "[clique]") {
    const char* const proto = std::getenv("NCCL_PROTO");
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 10);
    for (uint64_t round = 0; round < 2; round++) {
        buffers.fill(round);
        buffers.gang({job.streams[0]});
        job.synchronize();
        CHECK(buffers.wrong(round) == 0);
    }
    CHECK((job.cuda.fake->small_launches == 0) == (proto != nullptr));
}

TEST_CASE("one group on several streams begins after all of them and ends before all") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 4000);
    buffers.fill(0);
    for (uint64_t round = 1; round < 4; round++) {
        // The inputs of rank 1 change on its own stream just before.
        const gpu::Stream second = job.streams[1];
        CUDA(job.cuda->cuMemsetD8Async(reinterpret_cast<gpu::Address>(buffers.input(1)),
                                       static_cast<unsigned char>(round), 4000 * 4, second));
        buffers.gang({job.streams[0], second});
        int32_t seen = 0;
        CUDA(job.cuda->cuMemcpyAsync(reinterpret_cast<gpu::Address>(&seen),
                                     reinterpret_cast<gpu::Address>(buffers.output(1) + 3999), 4,
                                     second));
        CUDA(job.cuda->cuStreamSynchronize(second));
        CHECK(seen == input_at(0, 3999, 0) + static_cast<int32_t>(round * 0x01010101));
    }
}

TEST_CASE("operations of a communicator keep their order when the stream changes") {
    Job job(2);
    Buffers first(job, Coll::all_reduce, 30000), second(job, Coll::all_reduce, 2500);
    for (uint64_t round = 0; round < 20; round++) {
        first.fill(round);
        second.fill(round);
        first.gang({job.streams[round % 2]});
        second.gang({job.streams[1 - round % 2]});
        job.synchronize();
        CHECK(first.wrong(round) == 0);
        CHECK(second.wrong(round) == 0);
    }
}

TEST_CASE("sends and receives in groups: a ring, all to all with zero sizes, to oneself") {
    Job job(4);
    const auto elements = [](int from, int to) { return static_cast<size_t>((from + 2 * to) % 5); };
    std::vector<int32_t*> out, in;
    for (int rank = 0; rank < job.n; rank++) {
        out.push_back(job.take<int32_t>(32));
        in.push_back(job.take<int32_t>(32));
    }
    for (int32_t round = 0; round < 3; round++) {
        for (int rank = 0; rank < job.n; rank++) {
            for (int i = 0; i < 32; i++) {
                out[static_cast<size_t>(rank)][i] = round * 1000 + rank * 100 + i;
                in[static_cast<size_t>(rank)][i] = -1;
            }
        }
        job.threads([&](int rank) {
            const auto own = static_cast<size_t>(rank);
            cudaStream_t const stream = cuda_stream(job.streams[own]);
            bool well = ncclGroupStart() == ncclSuccess;
            for (int peer = 0; peer < job.n; peer++) {
                well = well &&
                       ncclSend(out[own] + peer * 8, elements(rank, peer), ncclInt32, peer,
                                job.comms[own], stream) == ncclSuccess &&
                       ncclRecv(in[own] + peer * 8, elements(peer, rank), ncclInt32, peer,
                                job.comms[own], stream) == ncclSuccess;
            }
            return ncclGroupEnd() == ncclSuccess && well;
        });
        job.synchronize();
        for (int at = 0; at < job.n; at++) {
            for (int from = 0; from < job.n; from++) {
                for (int i = 0; i < 8; i++) {
                    const bool sent = static_cast<size_t>(i) < elements(from, at);
                    CHECK(in[static_cast<size_t>(at)][from * 8 + i] ==
                          (sent ? round * 1000 + from * 100 + at * 8 + i : -1));
                }
            }
        }
    }
}

TEST_CASE("more sends to one peer in one group than cards take turns") {
    Job job(2);
    constexpr int count = 20;
    int32_t* const from = job.take<int32_t>(count);
    int32_t* const to = job.take<int32_t>(count);
    for (int i = 0; i < count; i++) {
        from[i] = i;
        to[i] = -1;
    }
    NCCL(ncclGroupStart());
    for (int i = 0; i < count; i++) {
        NCCL(ncclSend(from + i, 1, ncclInt32, 1, job.comms[0], cuda_stream(job.streams[0])));
        NCCL(ncclRecv(to + i, 1, ncclInt32, 0, job.comms[1], cuda_stream(job.streams[0])));
    }
    NCCL(ncclGroupEnd());
    job.synchronize();
    for (int i = 0; i < count; i++) {
        CHECK(to[i] == i);
    }
}

TEST_CASE("averages and factors, from the host and from device memory") {
    Job job(2);
    for (const size_t count : {6u, 5000u}) {
        float* buffers[2] = {job.take<float>(count), job.take<float>(count)};
        float* const factor = job.take<float>(1);
        *factor = 0.5f;
        const float immediate = 2;
        ncclRedOp_t at_device[2], at_host[2];
        for (int rank = 0; rank < 2; rank++) {
            NCCL(ncclRedOpCreatePreMulSum(&at_device[rank], factor, ncclFloat32, ncclScalarDevice,
                                          job.comms[static_cast<size_t>(rank)]));
            NCCL(ncclRedOpCreatePreMulSum(&at_host[rank], const_cast<float*>(&immediate),
                                          ncclFloat32, ncclScalarHostImmediate,
                                          job.comms[static_cast<size_t>(rank)]));
        }
        const auto run = [&](ncclRedOp_t first, ncclRedOp_t second) {
            for (size_t i = 0; i < count; i++) {
                buffers[0][i] = static_cast<float>(i % 100);
                buffers[1][i] = 8;
            }
            NCCL(ncclGroupStart());
            NCCL(ncclAllReduce(buffers[0], buffers[0], count, ncclFloat32, first, job.comms[0],
                               cuda_stream(job.streams[0])));
            NCCL(ncclAllReduce(buffers[1], buffers[1], count, ncclFloat32, second, job.comms[1],
                               cuda_stream(job.streams[0])));
            NCCL(ncclGroupEnd());
            job.synchronize();
            return buffers[1][count - 1];
        };
        const auto last = static_cast<float>((count - 1) % 100);
        CHECK(run(ncclAvg, ncclAvg) == (last + 8) / 2);
        CHECK(run(at_device[0], at_device[1]) == (last + 8) / 2);
        CHECK(run(at_host[0], at_host[1]) == (last + 8) * 2);
        for (int rank = 0; rank < 2; rank++) {
            NCCL(ncclRedOpDestroy(at_device[rank], job.comms[static_cast<size_t>(rank)]));
            NCCL(ncclRedOpDestroy(at_host[rank], job.comms[static_cast<size_t>(rank)]));
        }
    }
}

TEST_CASE("one rank alone, pinned host memory, and a child communicator") {
    Job job(1);
    job.cuda.fake->no_waiting = 0;
    void* pinned = nullptr;
    CUDA(job.cuda->cuMemHostAlloc(&pinned, 4096, gpu::host_alloc_flag::portable));
    ncclComm_t child = nullptr;
    NCCL(ncclCommSplit(job.comms[0], 0, 0, &child, nullptr));
    auto* const values = static_cast<int32_t*>(pinned);
    int32_t* const to = job.take<int32_t>(1000);
    for (const ncclComm_t comm : {job.comms[0], child}) {
        for (const size_t count : {3u, 1000u}) {
            for (size_t i = 0; i < count; i++) {
                values[i] = static_cast<int32_t>(i);
                to[i] = -1;
            }
            NCCL(ncclAllReduce(values, to, count, ncclInt32, ncclMax, comm,
                               cuda_stream(job.streams[0])));
            job.synchronize();
            CHECK(to[count - 1] == static_cast<int32_t>(count - 1));
        }
    }
    NCCL(ncclCommDestroy(child));
    CUDA(job.cuda->cuMemFreeHost(pinned));
}

TEST_CASE("memory of the library is memory of the device") {
    Job job(2);
    job.cuda.fake->no_waiting = 0;
    const int before = job.cuda.fake->live_allocations;
    void* memory = nullptr;
    NCCL(ncclMemAlloc(&memory, 4096));
    CHECK(job.cuda.fake->live_allocations == before + 1);
    auto* const values = static_cast<int32_t*>(memory);
    values[0] = 5;
    values[8] = 7;
    NCCL(ncclGroupStart());
    for (int rank = 0; rank < 2; rank++) {
        NCCL(ncclAllReduce(values + 8 * rank, values + 8 * rank, 1, ncclInt32, ncclSum,
                           job.comms[static_cast<size_t>(rank)], cuda_stream(job.streams[0])));
    }
    NCCL(ncclGroupEnd());
    job.synchronize();
    CHECK(values[8] == 12);
    NCCL(ncclMemFree(memory));
    CHECK(job.cuda.fake->live_allocations == before);
}

TEST_CASE("blocks have as many threads as the setting allows, if there is work for them") {
    const char* const text = std::getenv("WEFT_DEVICE_THREADS");
    const unsigned most = text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 512;
    Job job(2);
    for (const uint64_t count : {4000, 10}) {
        Buffers buffers(job, Coll::all_reduce, count);
        buffers.fill(0);
        buffers.gang({job.streams[0]});
        job.synchronize();
        CHECK(buffers.wrong(0) == 0);
        CHECK(job.cuda.fake->widest_block == most);
    }
}

TEST_CASE("operations are counted, launches are one for a group", "[clique]") {
    Job job(4);
    Buffers buffers(job, Coll::all_reduce, 4000);
    buffers.fill(0);
    const int before = job.cuda.fake->launches;
    buffers.gang({job.streams[0]});
    CHECK(job.cuda.fake->launches == before + 1);
    job.synchronize();
    weftStats_t stats = WEFT_STATS_INITIALIZER;
    NCCL(weftCommStats(job.comms[2], &stats));
    CHECK(stats.ops == 1);
}

TEST_CASE("memory of the library is freed when the device has done with it") {
    Job job(1);
    job.cuda.fake->no_waiting = 0;
    const int allocations = job.cuda.fake->live_allocations;
    const int physicals = job.cuda.fake->live_physicals;
    const bool plain = GENERATE(false, true);
    job.cuda.fake->no_virtual_memory = plain ? 1 : 0;
    void* memory = nullptr;
    NCCL(ncclMemAlloc(&memory, 4096));
    CHECK(job.cuda.fake->live_physicals == physicals + (plain ? 0 : 1));
    // The stream stands still and then uses the memory: that it is freed at once would end us.
    std::atomic<bool> go{false};
    CUDA(job.cuda->cuLaunchHostFunc(
        job.streams[0],
        [](void* at) {
            while (!*static_cast<std::atomic<bool>*>(at)) {
                std::this_thread::yield();
            }
        },
        &go));
    CUDA(
        job.cuda->cuMemsetD8Async(reinterpret_cast<gpu::Address>(memory), 1, 4096, job.streams[0]));
    std::thread later([&] {
        for (int turns = 0; turns < 10'000; turns++) {
            std::this_thread::yield();
        }
        go = true;
    });
    CHECK(ncclMemFree(memory) == ncclSuccess);
    CHECK(go);
    later.join();
    CHECK(job.cuda.fake->live_allocations == allocations);
    CHECK(job.cuda.fake->live_physicals == physicals);
}

TEST_CASE("memory of the library stays when it cannot be freed now") {
    Job job(1);
    job.cuda.fake->no_waiting = 0;
    const int before = job.cuda.fake->live_allocations;
    void* memory = nullptr;
    NCCL(ncclMemAlloc(&memory, 4096));
    job.cuda.fake->no_waiting = 1;
    CHECK(ncclMemFree(memory) == ncclUnhandledCudaError);
    CHECK(job.cuda.fake->live_allocations == before + 1);
    job.cuda.fake->no_waiting = 0;
    CHECK(ncclMemFree(memory) == ncclSuccess);
    CHECK(job.cuda.fake->live_allocations == before);
}
