// Ranks that reach each other's device memory, ordered by their streams: calls go through boards.
// Ranks of several devices do so by themselves; the others here because the run says
// WEFT_DEVICE_BOARD=1. What went by board is seen by what was copied onto one.
#include "include/weft/weft.h"
#include "src/comm/board_layout.h"
#include "tests/device/calls.h"
#include "tests/device/two_devices.h"

using namespace weft;
using namespace weft::test;

namespace {

// More than the slots hold at once.
constexpr uint64_t large = (BoardLayout::slots + 2) * BoardLayout::slot_bytes / 4 + 77;

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
    Buffers whole(job, Coll::all_reduce, large), small(job, Coll::reduce_scatter, 10),
        last(job, Coll::all_reduce, 2 * BoardLayout::slot_bytes / 4 + 9);
    int32_t* const data = job.take<int32_t>(12);
    cudaStream_t const stream = cuda_stream(job.streams[0]);
    // One rank has no messages, so the others take more steps.
    for (int idle = 0; idle < 3; idle++) {
        whole.fill(5);
        small.fill(6);
        last.fill(7);
        std::fill_n(data, 12, 0);
        const int from = (idle + 1) % 3, to = (idle + 2) % 3;
        data[from * 4] = 8;
        NCCL(ncclGroupStart());
        for (int rank = 0; rank < 3; rank++) {
            ncclComm_t const comm = job.comms[static_cast<size_t>(rank)];
            NCCL(whole.enqueue(rank, job.streams[0]));
            for (int i = 0; rank == from && i < 2; i++) {
                NCCL(ncclSend(data + from * 4, 1, ncclInt32, to, comm, stream));
            }
            for (int i = 0; rank == to && i < 2; i++) {
                NCCL(ncclRecv(data + to * 4 + 1 + i, 1, ncclInt32, from, comm, stream));
            }
            NCCL(small.enqueue(rank, job.streams[0]));
            NCCL(last.enqueue(rank, job.streams[0]));
        }
        NCCL(ncclGroupEnd());
        job.synchronize();
        CHECK(whole.wrong(5) == 0);
        CHECK(small.wrong(6) == 0);
        CHECK(last.wrong(7) == 0);
        CHECK(data[to * 4 + 1] == 8);
        CHECK(data[to * 4 + 2] == 8);
    }
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

TEST_CASE("devices that do not reach each other: by way of host memory", "[board]") {
    Cuda cuda(2);
    cuda.fake->no_peers = 1;
    // Often: a rank that was through with init before another would keep the device from it.
    for (int i = 0; i < 20; i++) {
        CHECK(two_devices(cuda) == 2 * 2);  // in and out
    }
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

TEST_CASE("what a rank that was aborted left undone is nobody's data", "[board]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, large);
    buffers.fill(0);
    Gate gate(job, job.streams[1]);
    // Rank 1's kernels all come after its abort; their words reach rank 0, before or after it has
    // heard of it.
    job.threads([&](int rank) {
        return buffers.enqueue(rank, job.streams[static_cast<size_t>(rank)]) == ncclSuccess;
    });
    job.abort(1);
    gate.open();
    CHECK(job.runs_out(0));
    CHECK(job.runs_out(1));
    CHECK(all_are(buffers.output(0), large, untouched));
    CHECK(all_are(buffers.output(1), large, untouched));
    job.abort(0);
}

TEST_CASE("16 replays of each rank's graph in a row, one rank lagging behind", "[board]") {
    Job job(3);
    constexpr uint64_t count = 120'000;  // by shares
    std::vector<int32_t*> memory;
    for (int rank = 0; rank < 3; rank++) {
        memory.push_back(job.take<int32_t>(count));
    }
    replay_lagging(job, memory, count);
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
