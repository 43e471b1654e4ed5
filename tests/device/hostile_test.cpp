// The stand-in at its worst, each mode with a check that it bites: streams that start late, shared
// hardware queues, few blocks at once, kernels loaded lazily, several threads a block, calls that
// wait for the device refused.
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

void operations(Job& job, bool threads) {
    Buffers large(job, Coll::all_reduce, 20000), small(job, Coll::all_gather, 100),
        exchange(job, Coll::all_to_all, 500);
    for (uint64_t round = 0; round < 3; round++) {
        for (Buffers* buffers : {&large, &small, &exchange}) {
            buffers->fill(round);
        }
        if (threads) {
            job.threads([&](int rank) {
                const gpu::Stream stream = job.streams[static_cast<size_t>(rank)];
                return large.enqueue(rank, stream) == ncclSuccess &&
                       small.enqueue(rank, stream) == ncclSuccess &&
                       exchange.enqueue(rank, stream) == ncclSuccess;
            });
        } else {
            for (const Buffers* buffers : {&large, &small, &exchange}) {
                buffers->gang({job.streams[0], job.streams[1]});
            }
        }
        job.synchronize();
        CHECK(large.wrong(round) == 0);
        CHECK(small.wrong(round) == 0);
        CHECK(exchange.wrong(round) == 0);
    }
    CHECK(job.cuda.fake->waits_refused == 0);
}

}  // namespace

TEST_CASE("streams that start late, by any chance") {
    for (unsigned seed = 1; seed < 5; seed++) {
        Job job(3);
        job.cuda.fake->late = seed;
        operations(job, seed % 2 == 0);
        job.cuda.fake->late = 0;
    }
}

TEST_CASE("streams that share one hardware queue, or two, or eight") {
    for (const unsigned queues : {1u, 2u, 8u}) {
        Job job(3);
        job.synchronize();
        job.cuda.fake->queues = queues;
        operations(job, false);
        job.cuda.fake->queues = 0;
    }
}

TEST_CASE("a device that holds few blocks") {
    Cuda probe;
    probe.fake->resident_blocks = 6;
    Job job(3);
    job.cuda.fake->resident_blocks = 6;
    operations(job, true);
    operations(job, false);
    job.cuda.fake->resident_blocks = 0;
}

TEST_CASE("a device that holds fewer blocks than a group needs", "[clique]") {
    Cuda probe;
    probe.fake->resident_blocks = 6;
    Job job(3);
    Buffers buffers(job, Coll::all_reduce, 20000);
    buffers.fill(0);
    job.cuda.fake->resident_blocks = 2;
    NCCL(ncclGroupStart());
    for (int rank = 0; rank < job.n; rank++) {
        NCCL(buffers.enqueue(rank, job.streams[0]));
    }
    CHECK(ncclGroupEnd() == ncclUnhandledCudaError);
    CHECK(std::string(ncclGetLastError(nullptr)).find("launching lanes_int32_sum") !=
          std::string::npos);
    job.cuda.fake->resident_blocks = 0;
}

TEST_CASE("several threads a block") {
    for (const unsigned threads : {2u, 5u}) {
        Job job(2);
        job.cuda.fake->block_threads = threads;
        operations(job, threads == 2);
        job.cuda.fake->block_threads = 1;
    }
}

TEST_CASE("every kernel is loaded before the first operation") {
    Cuda switches;
    switches.fake->lazy = 1;
    Job job(2);
    job.cuda.fake->lazy = 1;
    operations(job, true);
    // The mode bites: a kernel that nobody has loaded is loaded by its first launch, which waits.
    gpu::Module module = nullptr;
    gpu::Function kernel = nullptr;
    job.cuda.fake->no_waiting = 0;
    CUDA(job.cuda->cuModuleLoadData(&module, "image"));
    job.cuda.fake->no_waiting = 1;
    CHECK(job.cuda.fake->waits_refused == 0);
    gpu::Address refused = 0;
    CHECK(job.cuda->cuMemAlloc(&refused, 64) == gpu::status::not_permitted);
    CHECK(job.cuda.fake->waits_refused == 1);
    job.cuda.fake->no_waiting = 0;
    CUDA(job.cuda->cuModuleUnload(module));
    job.cuda.fake->waits_refused = 0;
    (void)kernel;
}

TEST_CASE("nothing is left of a communicator on the device") {
    Cuda watch;
    const int before = watch.fake->live_allocations;
    const int contexts = watch.fake->primary_refs;
    {
        Job job(3);
        operations(job, true);
    }
    CHECK(comes_true([&] { return watch.fake->live_allocations == before; }));
    CHECK(comes_true([&] { return watch.fake->primary_refs == contexts; }));
}
