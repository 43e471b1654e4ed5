// More hosts than exchange with each other directly: ranks of one process, each taken for a host of
// its own (WEFT_DEVICE_HOSTS).
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("collectives of hosts in a grid") {
    Job job(36);  // 6 x 6
    const auto sent = [&] {
        weftStats_t stats = WEFT_STATS_INITIALIZER;
        NCCL(weftCommStats(job.comms[7], &stats));
        return stats.messages;
    };
    Buffers small(job, Coll::all_reduce, 10);
    small.fill(1);
    const uint64_t before = sent();
    small.gang({job.streams[0]});
    job.synchronize();
    CHECK(small.wrong(1) == 0);
    // To each host of its column, and of its row.
    CHECK(sent() - before == 5 + 5);
    for (const Coll coll : {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                            Coll::broadcast, Coll::reduce, Coll::all_to_all}) {
        for (const uint64_t count : {10u, 70'003u}) {
            INFO(to_string(coll) << " of " << count);
            Buffers buffers(job, coll,
                            reference::blocks_of(coll, 36).input > 1 ? count / 10 : count, 17);
            buffers.fill(3);
            buffers.gang({job.streams[0]});
            job.synchronize();
            CHECK(buffers.wrong(3) == 0);
        }
    }
    Buffers large(job, Coll::all_reduce, 1'000'000);
    large.fill(1);
    job.threads([&](int rank) {
        return large.enqueue(rank, job.streams[static_cast<size_t>(rank)]) == ncclSuccess;
    });
    job.synchronize();
    CHECK(large.wrong(1) == 0);
}
