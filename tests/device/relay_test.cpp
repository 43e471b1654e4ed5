// Ranks that do not reach each other's memory: calls go through slots of host memory. Ranks of
// several devices do so by themselves; the others here because the run says WEFT_DEVICE_RELAY=1.
#include <algorithm>

#include "src/comm/device_relay.h"
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

// More than the slots hold at once.
constexpr uint64_t large = (DeviceRelay::slots + 2) * DeviceRelay::slot_bytes / 4 + 77;

}  // namespace

TEST_CASE("a call larger than all slots, and the next one right behind it", "[relay]") {
    Job job(2);
    Buffers first(job, Coll::all_reduce, large), second(job, Coll::all_gather, large / 2);
    first.fill(1);
    second.fill(2);
    const int before = job.cuda.fake->launches;
    job.threads([&](int rank) {
        const gpu::Stream stream = job.streams[static_cast<size_t>(rank)];
        return first.enqueue(rank, stream) == ncclSuccess &&
               second.enqueue(rank, stream) == ncclSuccess;
    });
    job.synchronize();
    CHECK(first.wrong(1) == 0);
    CHECK(second.wrong(2) == 0);
    // In and out, seven parts of each for each rank.
    CHECK(job.cuda.fake->launches - before == 2 * 2 * (7 + 7));
}

TEST_CASE("ranks of one group on one stream, large: none waits before all have asked", "[relay]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    buffers.fill(5);
    buffers.gang({job.streams[0]});
    job.synchronize();
    CHECK(buffers.wrong(5) == 0);
}

TEST_CASE("sends and receives of many parts, both ways and several to one peer", "[relay]") {
    Job job(2);
    // A part of a way is a slot by four here: two peers, two directions.
    constexpr size_t count = 3 * DeviceRelay::slot_bytes / 4 / 4 + 5;
    int32_t* out[2];
    int32_t* in[2];
    for (int rank = 0; rank < 2; rank++) {
        out[rank] = job.take<int32_t>(count + 3);
        in[rank] = job.take<int32_t>(count + 3);
        for (size_t i = 0; i < count + 3; i++) {
            out[rank][i] = static_cast<int32_t>(i * 3) + rank;
            in[rank][i] = -1;
        }
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        ncclComm_t const comm = job.comms[own];
        cudaStream_t const stream = cuda_stream(job.streams[own]);
        const auto send = [&](size_t from, size_t n) {
            return ncclSend(out[rank] + from, n, ncclInt32, 1 - rank, comm, stream);
        };
        const auto receive = [&](size_t to, size_t n) {
            return ncclRecv(in[rank] + to, n, ncclInt32, 1 - rank, comm, stream);
        };
        return ncclGroupStart() == ncclSuccess && send(0, count) == ncclSuccess &&
               send(count, 0) == ncclSuccess && send(count, 3) == ncclSuccess &&
               receive(0, count) == ncclSuccess && receive(count, 0) == ncclSuccess &&
               receive(count, 3) == ncclSuccess && ncclGroupEnd() == ncclSuccess;
    });
    job.synchronize();
    for (int rank = 0; rank < 2; rank++) {
        size_t wrong = 0;
        for (size_t i = 0; i < count + 3; i++) {
            wrong += in[rank][i] != static_cast<int32_t>(i * 3) + 1 - rank ? 1 : 0;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("hundreds of calls enqueued before the first is waited for", "[relay]") {
    Job job(3);
    constexpr int calls = 300;
    int32_t* memory[3];
    for (int rank = 0; rank < 3; rank++) {
        memory[rank] = job.take<int32_t>(50);
        std::fill_n(memory[rank], 50, rank + 1);
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        bool well = true;
        for (int i = 0; well && i < calls; i++) {
            // Each takes what the one before has left: the largest of it.
            well =
                ncclAllReduce(memory[rank], memory[rank], 50, ncclInt32, i % 2 ? ncclMax : ncclMin,
                              job.comms[own], cuda_stream(job.streams[own])) == ncclSuccess;
        }
        return well && ncclAllReduce(memory[rank], memory[rank], 50, ncclInt32, ncclSum,
                                     job.comms[own], cuda_stream(job.streams[own])) == ncclSuccess;
    });
    job.synchronize();
    for (int rank = 0; rank < 3; rank++) {
        CHECK(std::count(memory[rank], memory[rank] + 50, 3) == 50);
    }
}

TEST_CASE("ranks on two devices, each in a thread", "[relay]") {
    Cuda cuda(2);
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
                              std::count(data, data + 1000, 21) == 1000;
            well += good ? 1 : 0;
            ncclCommDestroy(comm);
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(well == 2);
    for (int rank = 0; rank < 2; rank++) {
        const auto guard = cuda.use(rank);
        CUDA(cuda->cuStreamDestroy(streams[rank]));
        CUDA(cuda->cuMemFree(memory[rank]));
    }
}

TEST_CASE("an abort between parts: the stream runs out, nothing more is stored", "[relay]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    buffers.fill(0);
    // The peer never comes.
    NCCL(buffers.enqueue(0, job.streams[0]));
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    job.abort(0);
    CHECK(comes_true(
        [&] { return job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::success; }));
    CHECK(std::all_of(buffers.output(0), buffers.output(0) + large,
                      [](int32_t value) { return value == static_cast<int32_t>(0xeeeeeeee); }));
    job.abort(1);
}

TEST_CASE("a launch that the driver refuses ends the communicator with its words, and its streams",
          "[relay]") {
    for (const int fails : {1, 2, 3, 5}) {
        Job job(2);
        Buffers buffers(job, Coll::all_reduce, large);
        buffers.fill(0);
        job.cuda.fake->launch_fails = fails;
        CHECK(buffers.enqueue(0, job.streams[0]) == ncclUnhandledCudaError);
        CHECK(Warnings().say({"launching move_rows"}));
        CHECK(comes_true([&] { return async_error(job.comms[1]) != ncclSuccess; }));
        CHECK(comes_true(
            [&] { return job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::success; }));
        job.abort(0);
        job.abort(1);
    }
}

TEST_CASE("a graph that outlives its communicator: launched, it ends and moves nothing",
          "[relay]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    CUDA(job.cuda.fake->capture_begin(job.streams[0], gpu::capture_mode::relaxed));
    buffers.gang({job.streams[0]});
    gpu::Graph const graph = job.cuda.fake->capture_end(job.streams[0]);
    REQUIRE(graph != nullptr);
    for (uint64_t round = 0; round < 2; round++) {
        buffers.fill(round);
        CUDA(job.cuda.fake->graph_launch(graph, job.streams[0]));
        job.synchronize();
        CHECK(buffers.wrong(round) == 0);
    }
    job.cuda.fake->no_waiting = 0;
    for (ncclComm_t& comm : job.comms) {
        NCCL(ncclCommDestroy(comm));
        comm = nullptr;
    }
    buffers.fill(3);
    CUDA(job.cuda.fake->graph_launch(graph, job.streams[0]));
    job.synchronize();
    CHECK(buffers.output(0)[large - 1] == static_cast<int32_t>(0xeeeeeeee));
    job.cuda.fake->graph_destroy(graph);
}

// A process of its own: the driver is loaded once.
TEST_CASE("a driver without stream memory operations", "[.][old]") {
    Cuda cuda;
    const auto guard = cuda.use();
    cuda.fake->lacking = "cuStreamWaitValue32";
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    ncclComm_t comm = nullptr;
    CHECK(ncclCommInitRank(&comm, 1, id, 0) == ncclInvalidUsage);
    CHECK(Warnings().say({"no stream memory operations", "CUDA 11.7", "WEFT_DEVICE=host"}));
}
