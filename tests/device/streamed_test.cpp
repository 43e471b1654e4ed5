// Launches in parts, by boards and by way of host memory: what must be so by either. The run says
// by which, WEFT_DEVICE_BOARD=1, WEFT_DEVICE_HOSTS=2 or WEFT_DEVICE_RELAY=1; board_test.cpp and
// relay_test.cpp have what is of one alone.
#include <algorithm>
#include <cstdlib>

#include "src/comm/board_layout.h"
#include "src/comm/device_relay.h"
#include "tests/device/calls.h"
#include "tests/device/two_devices.h"

using namespace weft;
using namespace weft::test;

namespace {

struct Way {
    uint64_t large;          // elements: more than the slots hold at once
    uint64_t message_bytes;  // the largest part of a message between two ranks
    int launches;            // of a rank, for a small all_reduce
    std::vector<int> fails;  // which launch of a large one the driver refuses
    const char* refused;     // how that is said
};

const Way& way() {
    static const Way boards{(BoardLayout::slots + 2) * BoardLayout::slot_bytes / 4 + 77,
                            BoardLayout(2).half_bytes(),
                            3,  // in, cards, sum
                            {1, 2, 5, 9, 10},
                            "blocks on stream"};
    static const Way hosts{(BoardLayout::slots + 2) * BoardLayout::slot_bytes / 4 + 77,
                           BoardLayout::slot_bytes,
                           5,  // in, for the other host, sum, its card, out
                           {1, 2, 5, 6, 9, 10, 14},
                           "blocks on stream"};
    static const Way relay{(DeviceRelay::slots + 2) * DeviceRelay::slot_bytes / 4 + 77,
                           DeviceRelay::slot_bytes / 4,  // two peers, two directions
                           2,                            // in, out
                           {1, 2, 3, 5},
                           "launching move_rows"};
    if (std::getenv("WEFT_DEVICE_BOARD") != nullptr) {
        return boards;
    }
    if (std::getenv("WEFT_DEVICE_HOSTS") != nullptr) {
        return hosts;
    }
    REQUIRE(std::getenv("WEFT_DEVICE_RELAY") != nullptr);
    return relay;
}

}  // namespace

TEST_CASE("sends and receives of many parts, both ways and several to one peer", "[streamed]") {
    Job job(2);
    const size_t count = 3 * way().message_bytes / 4 + 5;
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

TEST_CASE("hundreds of calls enqueued before the first is waited for", "[streamed]") {
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

TEST_CASE("ranks on two devices, each in a thread", "[streamed]") {
    Cuda cuda(2);
    CHECK(two_devices(cuda) == 2 * way().launches);
}

TEST_CASE("an abort between parts: the stream runs out, nothing more is stored", "[streamed]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, way().large);
    buffers.fill(0);
    // The peer never comes.
    NCCL(buffers.enqueue(0, job.streams[0]));
    CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
    job.abort(0);
    CHECK(job.runs_out(0));
    CHECK(all_are(buffers.output(0), way().large, untouched));
    job.abort(1);
}

TEST_CASE("a launch that the driver refuses ends the communicator with its words, and its streams",
          "[streamed]") {
    for (const int fails : way().fails) {
        Job job(2);
        Buffers buffers(job, Coll::all_reduce, way().large);
        buffers.fill(0);
        job.cuda.fake->launch_fails = fails;
        CHECK(buffers.enqueue(0, job.streams[0]) == ncclUnhandledCudaError);
        CHECK(Warnings().say({"launching ", way().refused}));
        CHECK(comes_true([&] { return async_error(job.comms[1]) != ncclSuccess; }));
        CHECK(job.runs_out(0));
        job.abort(0);
        job.abort(1);
    }
}

TEST_CASE("a graph that outlives its communicator: launched, it ends and moves nothing",
          "[streamed]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, way().large);
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
    CHECK(buffers.output(0)[way().large - 1] == untouched);
    job.cuda.fake->graph_destroy(graph);
}
