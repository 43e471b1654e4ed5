// How operations on devices end that do not end well: arguments that differ between ranks that
// launch alone, an abort while a kernel waits, a communicator that is destroyed with work queued.
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("arguments that differ are found, and every rank is told") {
    for (const size_t count : {10u, 5000u}) {
        Job job(2);
        int32_t* const memory = job.take<int32_t>(10000);
        int32_t* const result = job.take<int32_t>(10000);
        std::memset(result, 0x11, 40000);
        job.threads([&](int rank) {
            const auto own = static_cast<size_t>(rank);
            return ncclAllReduce(memory, result + 5000 * rank, count + own, ncclInt32, ncclSum,
                                 job.comms[own], cuda_stream(job.streams[own])) == ncclSuccess;
        });
        for (const ncclComm_t comm : job.comms) {
            CHECK(comes_true([&] { return async_error(comm) != ncclSuccess; }));
        }
        job.synchronize();
        CHECK(result[0] == 0x11111111);
        CHECK(result[5000] == 0x11111111);
        CHECK(ncclAllReduce(memory, memory, 1, ncclInt32, ncclSum, job.comms[0],
                            cuda_stream(job.streams[0])) != ncclSuccess);
        CHECK(Warnings().say({"rank 0", "rank 1", "count"}));
        job.abort(0);
        job.abort(1);
    }
}

TEST_CASE("an abort ends a kernel that waits, and stores nothing afterwards") {
    for (const size_t count : {10u, 5000u}) {
        Job job(2);
        Buffers buffers(job, Coll::all_reduce, count);
        buffers.fill(0);
        NCCL(buffers.enqueue(0, job.streams[0]));
        CHECK(job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::not_ready);
        job.abort(0);
        CHECK(comes_true(
            [&] { return job.cuda->cuStreamQuery(job.streams[0]) == gpu::status::success; }));
        CHECK(buffers.output(0)[0] == static_cast<int32_t>(0xeeeeeeee));
        // The other rank has heard of it, and its kernels end, too.
        CHECK(comes_true([&] { return async_error(job.comms[1]) != ncclSuccess; }));
        CHECK(buffers.enqueue(1, job.streams[1]) != ncclSuccess);
        job.abort(1);
    }
}

TEST_CASE("an abort before the kernel has begun: it begins, and does nothing") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 5000);
    buffers.fill(0);
    Gate gate(job, job.streams[0]);
    NCCL(buffers.enqueue(0, job.streams[0]));
    // Returns although the stream is held up: it waits for nobody's stream.
    job.abort(0);
    gate.open();
    job.synchronize();
    CHECK(buffers.output(0)[0] == untouched);
    job.abort(1);
}

TEST_CASE("a destroy lets queued operations end, and a finalize reports them done") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 20000);
    buffers.fill(3);
    job.threads([&](int rank) {
        const auto own = static_cast<size_t>(rank);
        return buffers.enqueue(rank, job.streams[own]) == ncclSuccess &&
               ncclCommFinalize(job.comms[own]) == ncclSuccess;
    });
    CHECK(buffers.wrong(3) == 0);
}

TEST_CASE("a failure of one launch in a group ends the communicators with the driver's words",
          "[clique]") {
    Job job(2);
    Buffers buffers(job, Coll::all_reduce, 20000);
    buffers.fill(0);
    // A group that cannot be resident on a device that shrank since.
    job.cuda.fake->resident_blocks = 1;
    NCCL(ncclGroupStart());
    NCCL(buffers.enqueue(0, job.streams[0]));
    NCCL(buffers.enqueue(1, job.streams[0]));
    CHECK(ncclGroupEnd() != ncclSuccess);
    job.cuda.fake->resident_blocks = 0;
    CHECK(async_error(job.comms[0]) != ncclSuccess);
    job.abort(0);
    job.abort(1);
}
