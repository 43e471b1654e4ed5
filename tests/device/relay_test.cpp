// Ranks that do not reach each other's memory: calls go through slots of host memory. Ranks of
// several devices do so by themselves; the others here because the run says WEFT_DEVICE_RELAY=1.
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
