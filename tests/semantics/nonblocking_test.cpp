// Communicators with blocking = 0: everything may be in progress, polling drives.
#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

namespace {

void started(ncclResult_t result, const char* what) {
    must(result == ncclSuccess || result == ncclInProgress,
         std::string(what) + ": " + ncclGetErrorString(result));
}

void nonblocking_run(int count, const std::function<void(int, ncclComm_t)>& body) {
    const ncclUniqueId id = id_new();
    threads_run(count, [&](int rank) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        ncclComm_t comm = nullptr;
        started(ncclCommInitRankConfig(&comm, count, id, rank, &config), "init");
        must(comm != nullptr, "the handle is there at once");
        must(settle(comm), "init");
        body(rank, comm);
        must(ncclCommDestroy(comm), "destroy");
    });
}

}  // namespace

TEST_CASE("in progress until the peers come") {
    const ncclUniqueId id = id_new();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comms[2] = {};
    REQUIRE(ncclCommInitRankConfig(&comms[0], 2, id, 0, &config) == ncclInProgress);
    ncclResult_t state = ncclSuccess;
    REQUIRE(ncclCommGetAsyncError(comms[0], &state) == ncclSuccess);
    CHECK(state == ncclInProgress);
    int count = 0;
    float x = 0;
    CHECK(ncclCommCount(comms[0], &count) == ncclInvalidArgument);
    CHECK(last_error_has("before the previous operation returned ncclSuccess"));
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comms[0], nullptr) == ncclInvalidArgument);
    CHECK(ncclCommInitRankConfig(&comms[1], 2, id, 1, &config) == ncclInProgress);
    CHECK(settle(comms[0]) == ncclSuccess);
    CHECK(settle(comms[1]) == ncclSuccess);
    CHECK(ncclCommCount(comms[0], &count) == ncclSuccess);
    CHECK(count == 2);
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommAbort(comm) == ncclSuccess);
    }
}

TEST_CASE("a collective is final when the state is success") {
    nonblocking_run(3, [](int rank, ncclComm_t comm) {
        std::vector<int> in(50'000, rank + 1), out(50'000);
        for (int round = 0; round < 10; round++) {
            started(
                ncclAllReduce(in.data(), out.data(), in.size(), ncclInt, ncclSum, comm, nullptr),
                "call");
            must(settle(comm), "all_reduce");
            must(out == std::vector<int>(50'000, 6), "wrong sum");
        }
    });
}

TEST_CASE("a group is in progress as a whole") {
    nonblocking_run(2, [](int rank, ncclComm_t comm) {
        int in = rank + 1, sum = 0, other = 0;
        must(ncclGroupStart(), "start");
        started(ncclAllReduce(&in, &sum, 1, ncclInt, ncclSum, comm, nullptr), "all_reduce");
        started(ncclSend(&in, 1, ncclInt, 1 - rank, comm, nullptr), "send");
        started(ncclRecv(&other, 1, ncclInt, 1 - rank, comm, nullptr), "recv");
        started(ncclGroupEnd(), "end");
        must(settle(comm), "group");
        must(sum == 3 && other == 2 - rank, "wrong data");
    });
}

TEST_CASE("the child appears when the parent's state is success") {
    nonblocking_run(4, [](int rank, ncclComm_t comm) {
        ncclComm_t child = comm;
        const ncclResult_t result = ncclCommSplit(comm, rank % 2, rank, &child, nullptr);
        started(result, "split");
        must(settle(comm), "split");
        must(child != nullptr && child != comm, "no child");
        must(settle(child), "the child");
        // It inherited blocking = 0.
        int in = 1, sum = 0;
        started(ncclAllReduce(&in, &sum, 1, ncclInt, ncclSum, child, nullptr), "all_reduce");
        must(settle(child), "all_reduce");
        must(sum == 2, "wrong sum");
        must(ncclCommDestroy(child), "destroy");
    });
}

TEST_CASE("finalize in progress, then destroy") {
    const ncclUniqueId id = id_new();
    threads_run(2, [&](int rank) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        ncclComm_t comm = nullptr;
        started(ncclCommInitRankConfig(&comm, 2, id, rank, &config), "init");
        must(settle(comm), "init");
        started(ncclCommFinalize(comm), "finalize");
        must(settle(comm), "finalize");
        must(ncclCommDestroy(comm), "destroy");
    });
}

TEST_CASE("abort while something is in progress") {
    const ncclUniqueId id = id_new();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t comm = nullptr;
    REQUIRE(ncclCommInitRankConfig(&comm, 2, id, 0, &config) == ncclInProgress);
    CHECK(ncclCommAbort(comm) == ncclSuccess);
    CHECK(ncclCommAbort(comm) == ncclInvalidArgument);
}

TEST_CASE("a blocking child of a nonblocking parent") {
    nonblocking_run(2, [](int rank, ncclComm_t comm) {
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 1;
        ncclComm_t child = nullptr;
        started(ncclCommSplit(comm, 0, rank, &child, &config), "split");
        must(settle(comm), "split");
        sum_check(child);
        must(ncclCommDestroy(child), "destroy");
    });
}
