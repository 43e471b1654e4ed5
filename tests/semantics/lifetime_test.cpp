// Init in its forms, finalize, destroy, abort.
#include <atomic>
#include <regex>

#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

TEST_CASE("one thread makes all ranks in a group") {
    const ncclUniqueId id = id_new();
    ncclComm_t comms[4] = {};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 4; r++) {
        REQUIRE(ncclCommInitRank(&comms[r], 4, id, r) == ncclSuccess);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    for (int r = 0; r < 4; r++) {
        int rank = -1;
        CHECK(ncclCommUserRank(comms[r], &rank) == ncclSuccess);
        CHECK(rank == r);
    }
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommDestroy(comm) == ncclSuccess);
    }
}

TEST_CASE("scalable init uses the first id") {
    ncclUniqueId ids[2] = {id_new(), id_new()};
    threads_run(2, [&](int rank) {
        ncclComm_t comm = nullptr;
        must(ncclCommInitRankScalable(&comm, 2, rank, 2, ids, nullptr), "init");
        sum_check(comm);
        must(ncclCommDestroy(comm), "destroy");
    });
}

TEST_CASE("the same rank twice fails for everyone with one line") {
    const ncclUniqueId id = id_new();
    std::atomic<int> failures{0};
    threads_run(2, [&](int) {
        ncclComm_t comm = nullptr;
        if (ncclCommInitRank(&comm, 2, id, 1) != ncclSuccess) {
            failures++;
            must(comm == nullptr, "a failed init leaves NULL");
        }
    });
    CHECK(failures == 2);
    CHECK(last_error_has("rank 1"));
}

TEST_CASE("finalize rules") {
    ranks_run(2,
              [](int, ncclComm_t comm) {
                  sum_check(comm);
                  must(ncclCommFinalize(comm), "finalize");
                  must(ncclCommFinalize(comm), "twice", ncclInvalidArgument);
                  float x = 0;
                  must(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr), "call after it",
                       ncclInvalidUsage);
                  ncclResult_t state = ncclInProgress;
                  must(ncclCommGetAsyncError(comm, &state), "async error");
                  must(state, "state after finalize");
                  must(ncclCommDestroy(comm), "destroy");
                  must(ncclCommDestroy(comm), "destroy twice", ncclInvalidArgument);
                  must(ncclCommAbort(comm), "abort of a destroyed one", ncclInvalidArgument);
              },
              {.destroy = false});
    CHECK(last_error_has("already been destroyed"));
}

TEST_CASE("one thread ends its ranks one after the other") {
    const auto start = Clock::now();
    for (int round = 0; round < 3; round++) {
        OneThread world(4);
    }
    CHECK(seconds_since(start) < 4);
}

TEST_CASE("abort from another thread ends a blocked call") {
    const ncclUniqueId id = id_new();
    std::atomic<ncclComm_t> stuck{nullptr};
    threads_run(2, [&](int rank) {
        ncclComm_t comm = nullptr;
        must(ncclCommInitRank(&comm, 2, id, rank), "init");
        if (rank == 1) {
            stuck = comm;
            float x = 1;
            // The peer never calls: only the abort can end this.
            must(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr), "blocked call",
                 ncclRemoteError);
            return;
        }
        while (stuck == nullptr) {
            std::this_thread::yield();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        const auto start = Clock::now();
        must(ncclCommAbort(stuck), "abort");
        must(seconds_since(start) < 2, "abort took too long");
        // This rank hears of it and names the rank.
        float x = 1;
        must(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr), "call after the abort",
             ncclRemoteError);
        ncclResult_t state = ncclSuccess;
        must(ncclCommGetAsyncError(comm, &state), "async error");
        must(state, "state", ncclRemoteError);
        must(std::regex_match(ncclGetLastError(comm),
                              std::regex("rank 0 of comm \\S+: rank 1 \\(host \\S+, pid \\d+\\) "
                                         "aborted: ncclCommAbort was called")),
             std::string("what it hears is ") + ncclGetLastError(comm));
        must(ncclCommDestroy(comm), "destroy of a failed communicator");
    });
}

TEST_CASE("abort during init") {
    const ncclUniqueId id = id_new();
    ncclComm_t comm = nullptr;
    std::atomic<ncclResult_t> result{ncclSuccess};
    std::thread blocked([&] {
        // The other rank never comes.
        result = ncclCommInitRank(&comm, 2, id, 0);
    });
    // The handle is there before the call returns, so that another thread can end it.
    ncclComm_t seen = nullptr;
    while (seen == nullptr) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        seen = __atomic_load_n(&comm, __ATOMIC_ACQUIRE);
    }
    CHECK(ncclCommAbort(seen) == ncclSuccess);
    blocked.join();
    CHECK(result == ncclRemoteError);
    CHECK(comm == nullptr);
}

TEST_CASE("abort of a communicator that is doing nothing") {
    OneThread world(2);
    ncclComm_t comms[2];
    REQUIRE(ncclCommInitAll(comms, 2, nullptr) == ncclSuccess);
    CHECK(ncclCommAbort(comms[0]) == ncclSuccess);
    CHECK(settle(comms[1]) != ncclInternalError);
    CHECK(ncclCommAbort(comms[1]) == ncclSuccess);
    float in[2] = {1, 2}, out[2];
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
              ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
    CHECK(out[0] == 3);
}

TEST_CASE("communicators come and go") {
    for (int round = 0; round < 20; round++) {
        ranks_run(3, [](int, ncclComm_t comm) { sum_check(comm); });
    }
}
