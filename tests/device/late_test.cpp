// Ranks that come late: reported with their names after WEFT_LATE_REPORT, and waited for.
#include "include/weft/weft.h"
#include "tests/device/calls.h"

using namespace weft;
using namespace weft::test;

namespace {

uint64_t late_reports(ncclComm_t comm) {
    weftStats_t stats = WEFT_STATS_INITIALIZER;
    NCCL(weftCommStats(comm, &stats));
    return stats.lateReports;
}

// Ranks 0 and 1 have called, rank 2 has not: what the first of them says.
void reported(Job& job, const std::function<ncclResult_t(int rank)>& enqueue,
              std::initializer_list<const char*> said) {
    for (const ncclComm_t comm : {job.comms[0], job.comms[1]}) {
        const uint64_t before = late_reports(comm);
        NCCL(enqueue(comm == job.comms[0] ? 0 : 1));
        CHECK(comes_true([&] { return late_reports(comm) > before; }));
    }
    CHECK(Warnings().say(said));
    NCCL(enqueue(2));
    job.synchronize();
    CHECK(async_error(job.comms[0]) == ncclSuccess);
}

}  // namespace

TEST_CASE("who has not come to a collective is named, and the call goes on when it comes") {
    Job job(3);
    for (const uint64_t count : {100u, 700'000u}) {
        Buffers buffers(job, Coll::all_reduce, count);
        // What all have done before is no news.
        buffers.fill(1);
        buffers.gang({job.streams[0]});
        job.synchronize();
        buffers.fill(6);
        const uint64_t before = late_reports(job.comms[2]);
        reported(
            job,
            [&](int rank) { return buffers.enqueue(rank, job.streams[static_cast<size_t>(rank)]); },
            {"no progress for", "waits for", "rank 2"});
        CHECK(buffers.wrong(6) == 0);
        CHECK(late_reports(job.comms[2]) == before);
    }
}

TEST_CASE("a message that nobody has sent yet is reported") {
    Job job(2);
    int32_t* const data = job.take<int32_t>(20);
    NCCL(ncclRecv(data, 10, ncclInt32, 1, job.comms[0], cuda_stream(job.streams[0])));
    CHECK(comes_true([&] { return late_reports(job.comms[0]) > 0; }));
    CHECK(Warnings().say({"no progress for"}));
    NCCL(ncclSend(data + 10, 10, ncclInt32, 0, job.comms[1], cuda_stream(job.streams[1])));
    job.synchronize();
}
