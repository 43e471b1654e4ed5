// Ranks that reach each other's device memory, ordered by their streams: calls go through boards.
// Ranks of several devices do so by themselves; the others here because the run says
// WEFT_DEVICE_BOARD=1. What went by board is seen by what was copied onto one.
#include <algorithm>

#include "include/weft/weft.h"
#include "src/comm/board_layout.h"
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

// More than the slots hold at once.
constexpr uint64_t large = (BoardLayout::slots + 2) * BoardLayout::slot_bytes / 4 + 77;
constexpr auto untouched = static_cast<int32_t>(0xeeeeeeee);

uint64_t copied(ncclComm_t comm) {
    weftStats_t stats = WEFT_STATS_INITIALIZER;
    NCCL(weftCommStats(comm, &stats));
    return stats.copiedBytes;
}

bool all_are(const int32_t* at, uint64_t count, int32_t value) {
    return std::all_of(at, at + count, [=](int32_t one) { return one == value; });
}

bool runs_out(Job& job, int rank) {
    return comes_true([&] {
        return job.cuda->cuStreamQuery(job.streams[static_cast<size_t>(rank)]) ==
               gpu::status::success;
    });
}

}  // namespace

TEST_CASE("a call larger than all slots, and the next one right behind it", "[board]") {
    Job job(2);
    Buffers first(job, Coll::all_reduce, large), second(job, Coll::all_gather, large / 2);
    first.fill(1);
    second.fill(2);
    job.threads([&](int rank) {
        const gpu::Stream stream = job.streams[static_cast<size_t>(rank)];
        return first.enqueue(rank, stream) == ncclSuccess &&
               second.enqueue(rank, stream) == ncclSuccess;
    });
    job.synchronize();
    CHECK(first.wrong(1) == 0);
    CHECK(second.wrong(2) == 0);
    CHECK(copied(job.comms[1]) == (large + large / 2) * 4);
}

TEST_CASE("ranks of one group on one stream: none waits for what comes behind it", "[board]") {
    Job job(3);
    Buffers large_one(job, Coll::all_reduce, large), small(job, Coll::reduce_scatter, 10);
    large_one.fill(5);
    small.fill(6);
    int32_t* const data = job.take<int32_t>(12);
    std::fill_n(data, 12, 0);
    NCCL(ncclGroupStart());
    for (int rank = 0; rank < 3; rank++) {
        data[rank * 4] = rank + 1;
        ncclComm_t const comm = job.comms[static_cast<size_t>(rank)];
        cudaStream_t const stream = cuda_stream(job.streams[0]);
        NCCL(large_one.enqueue(rank, job.streams[0]));
        // A rank with fewer messages than others, and two of them to one peer.
        for (int i = 0; rank == 0 && i < 2; i++) {
            NCCL(ncclSend(data, 1, ncclInt32, 1, comm, stream));
        }
        for (int i = 0; rank == 1 && i < 2; i++) {
            NCCL(ncclRecv(data + 4 + 1 + i, 1, ncclInt32, 0, comm, stream));
        }
        NCCL(small.enqueue(rank, job.streams[0]));
    }
    NCCL(ncclGroupEnd());
    job.synchronize();
    CHECK(large_one.wrong(5) == 0);
    CHECK(small.wrong(6) == 0);
    CHECK(data[5] == 1);
    CHECK(data[6] == 1);
}

TEST_CASE("by shares: every operation, scaled, divided, in place, of any type", "[board]") {
    Job job(3);
    constexpr size_t count = 400'001;
    float* floats[3];
    uint8_t* bytes[3];
    for (int rank = 0; rank < 3; rank++) {
        floats[rank] = job.take<float>(count);
        bytes[rank] = job.take<uint8_t>(count);
    }
    const auto run = [&](auto** buffers, ncclDataType_t type, ncclRedOp_t op) {
        for (int rank = 0; rank < 3; rank++) {
            for (size_t i = 0; i < count; i++) {
                buffers[rank][i] = static_cast<std::remove_reference_t<decltype(**buffers)>>(
                    static_cast<size_t>(rank) * 4 + i % 4);
            }
        }
        job.threads([&](int rank) {
            const auto own = static_cast<size_t>(rank);
            return ncclAllReduce(buffers[rank], buffers[rank], count, type, op, job.comms[own],
                                 cuda_stream(job.streams[own])) == ncclSuccess;
        });
        job.synchronize();
        for (int rank = 1; rank < 3; rank++) {
            CHECK(std::memcmp(buffers[0], buffers[rank], count * sizeof(**buffers)) == 0);
        }
        return static_cast<double>(buffers[2][count - 1]) * 100 +
               static_cast<double>(buffers[2][3]);
    };
    // The last of rank r is 4 r, its fourth 4 r + 3. Bytes do not go by shares, floats do.
    CHECK(run(floats, ncclFloat32, ncclSum) == 12 * 100 + 21);
    CHECK(run(floats, ncclFloat32, ncclMax) == 8 * 100 + 11);
    CHECK(run(floats, ncclFloat32, ncclAvg) == Approx(4 * 100 + 7));
    CHECK(run(bytes, ncclUint8, ncclAvg) == 4 * 100 + 7);
    CHECK(run(bytes, ncclUint8, ncclMin) == 0 * 100 + 3);
    CHECK(copied(job.comms[0]) == count * (3 * 4 + 2));
}

TEST_CASE("sends and receives of many parts, both ways and several to one peer", "[board]") {
    Job job(2);
    const size_t count = 3 * BoardLayout(2).half_bytes() / 4 + 5;
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

TEST_CASE("ranks may group the same calls otherwise", "[board]") {
    Job job(2);
    int32_t* memory[2];
    for (int rank = 0; rank < 2; rank++) {
        memory[rank] = job.take<int32_t>(300);
        std::fill_n(memory[rank], 300, rank + 1);
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        bool well = rank == 1 || ncclGroupStart() == ncclSuccess;
        for (int i = 0; i < 3; i++) {
            int32_t* const at = memory[rank] + 100 * i;
            well = well && ncclAllReduce(at, at, 100, ncclInt32, ncclSum, job.comms[own],
                                         cuda_stream(job.streams[own])) == ncclSuccess;
        }
        return well && (rank == 1 || ncclGroupEnd() == ncclSuccess);
    });
    job.synchronize();
    CHECK(all_are(memory[0], 300, 3));
    CHECK(all_are(memory[1], 300, 3));
}

TEST_CASE("hundreds of calls enqueued before the first is waited for", "[board]") {
    Job job(3);
    int32_t* memory[3];
    for (int rank = 0; rank < 3; rank++) {
        memory[rank] = job.take<int32_t>(50);
        std::fill_n(memory[rank], 50, rank + 1);
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        bool well = true;
        for (int i = 0; well && i < 300; i++) {
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
        CHECK(all_are(memory[rank], 50, 3));
    }
}

namespace {

// A rank for each of two devices, in a thread, once around. By boards it takes three launches: in,
// cards, sum; by way of host memory two.
void two_devices(Cuda& cuda, int launches) {
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
    CHECK(cuda.fake->launches - before == 2 * launches);
    for (int rank = 0; rank < 2; rank++) {
        const auto guard = cuda.use(rank);
        CUDA(cuda->cuStreamDestroy(streams[rank]));
        CUDA(cuda->cuMemFree(memory[rank]));
    }
}

}  // namespace

TEST_CASE("ranks on two devices, each in a thread, by boards", "[board]") {
    Cuda cuda(2);
    two_devices(cuda, 3);
}

TEST_CASE("devices that do not reach each other: by way of host memory", "[board]") {
    Cuda cuda(2);
    cuda.fake->no_peers = 1;
    two_devices(cuda, 2);
    cuda.fake->no_peers = 0;
}

TEST_CASE("a message of another length than its receive: found by the receiver, nothing stored",
          "[board]") {
    Job job(2);
    int32_t* const from = job.take<int32_t>(100);
    int32_t* const to = job.take<int32_t>(100);
    std::fill_n(from, 100, 4);
    std::fill_n(to, 100, untouched);
    job.threads([&](int rank) {
        cudaStream_t const stream = cuda_stream(job.streams[static_cast<size_t>(rank)]);
        return rank == 0 ? ncclSend(from, 100, ncclInt32, 1, job.comms[0], stream) == ncclSuccess
                         : ncclRecv(to, 99, ncclInt32, 0, job.comms[1], stream) == ncclSuccess;
    });
    for (const ncclComm_t comm : job.comms) {
        CHECK(comes_true([&] { return async_error(comm) != ncclSuccess; }));
    }
    job.synchronize();
    CHECK(all_are(to, 100, untouched));
    job.abort(0);
    job.abort(1);
}

TEST_CASE("an abort between parts: the stream runs out, nothing more is stored", "[board]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    buffers.fill(0);
    // The peer never comes.
    NCCL(buffers.enqueue(0, job.streams[0]));
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    job.abort(0);
    CHECK(runs_out(job, 0));
    CHECK(all_are(buffers.output(0), large, untouched));
    job.abort(1);
}

TEST_CASE("what a rank that was aborted left undone is nobody's data", "[board]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    buffers.fill(0);
    std::atomic<bool> go{false};
    CUDA(job.cuda->cuLaunchHostFunc(
        job.streams[1],
        [](void* at) {
            while (!static_cast<std::atomic<bool>*>(at)->load()) {
                std::this_thread::yield();
            }
        },
        &go));
    // Rank 1's kernels all come after its abort; rank 0 may see their words before it hears of it.
    job.threads([&](int rank) {
        return buffers.enqueue(rank, job.streams[static_cast<size_t>(rank)]) == ncclSuccess;
    });
    job.abort(1);
    go = true;
    CHECK(runs_out(job, 0));
    CHECK(runs_out(job, 1));
    CHECK(all_are(buffers.output(0), large, untouched));
    CHECK(all_are(buffers.output(1), large, untouched));
    job.abort(0);
}

TEST_CASE("a launch that the driver refuses ends the communicator with its words, and its streams",
          "[board]") {
    for (const int fails : {1, 2, 5, 9, 10}) {
        Job job(2);
        Buffers buffers(job, Coll::all_reduce, large);
        buffers.fill(0);
        job.cuda.fake->launch_fails = fails;
        CHECK(buffers.enqueue(0, job.streams[0]) == ncclUnhandledCudaError);
        CHECK(Warnings().say({"launching ", "blocks on stream"}));
        CHECK(comes_true([&] { return async_error(job.comms[1]) != ncclSuccess; }));
        CHECK(runs_out(job, 0));
        job.abort(0);
        job.abort(1);
    }
}

TEST_CASE("a graph that outlives its communicator: launched, it ends and moves nothing",
          "[board]") {
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
    CHECK(buffers.output(0)[large - 1] == untouched);
    job.cuda.fake->graph_destroy(graph);
}

TEST_CASE("16 replays of each rank's graph in a row, one rank lagging behind", "[board]") {
    Job job(3);
    constexpr uint64_t count = 120'000;  // by shares
    int32_t* memory[3];
    gpu::Graph graphs[3] = {};
    for (int rank = 0; rank < 3; rank++) {
        memory[rank] = job.take<int32_t>(count);
        std::fill_n(memory[rank], count, 1);
    }
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        const gpu::Stream stream = job.streams[own];
        bool well = job.cuda.fake->capture_begin(stream, gpu::capture_mode::thread_local_) ==
                    gpu::status::success;
        // In place: every replay triples what the one before has left.
        well = well && ncclAllReduce(memory[rank], memory[rank], count, ncclInt32, ncclSum,
                                     job.comms[own], cuda_stream(stream)) == ncclSuccess;
        graphs[rank] = job.cuda.fake->capture_end(stream);
        return well && graphs[rank] != nullptr;
    });
    int32_t want = 1;
    for (int replay = 0; replay < 16; replay++) {
        want *= 3;
        CUDA(job.cuda.fake->graph_launch(graphs[0], job.streams[0]));
        CUDA(job.cuda.fake->graph_launch(graphs[1], job.streams[1]));
    }
    for (int replay = 0; replay < 16; replay++) {
        CUDA(job.cuda.fake->graph_launch(graphs[2], job.streams[2]));
        CUDA(job.cuda->cuStreamSynchronize(job.streams[2]));
    }
    job.synchronize();
    for (int rank = 0; rank < 3; rank++) {
        CHECK(all_are(memory[rank], count, want));
        job.cuda.fake->graph_destroy(graphs[rank]);
    }
}

TEST_CASE("an end in any order while a peer still reads", "[board]") {
    Job job(2);
    Buffers buffers(job, Coll::all_gather, 1000);
    buffers.fill(3);
    // Rank 0 has what it needs and goes, though rank 1's stream has only begun.
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        const bool well = buffers.enqueue(rank, job.streams[own]) == ncclSuccess;
        if (rank == 0) {
            job.cuda->cuStreamSynchronize(job.streams[0]);
        }
        return well;
    });
    job.cuda.fake->no_waiting = 0;
    NCCL(ncclCommDestroy(job.comms[0]));
    job.comms[0] = nullptr;
    job.synchronize();
    CHECK(buffers.wrong(3) == 0);
}
