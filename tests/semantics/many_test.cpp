// Many ranks in one process, and communicators used at the same time.
#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

TEST_CASE("256 ranks in one process, one thread") {
    constexpr int count = 256;
    const auto start = std::chrono::steady_clock::now();
    std::vector<ncclComm_t> comms(count);
    REQUIRE(ncclCommInitAll(comms.data(), count, nullptr) == ncclSuccess);
    const std::chrono::duration<double> init = std::chrono::steady_clock::now() - start;
    INFO("init took " << init.count() << " s");
    CHECK(init.count() < 60);
    std::vector<int> in(count), out(count);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < count; r++) {
        in[r] = r;
        REQUIRE(ncclAllReduce(&in[r], &out[r], 1, ncclInt, ncclSum, comms[r], nullptr) ==
                ncclSuccess);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    CHECK(out == std::vector<int>(count, count * (count - 1) / 2));
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommDestroy(comm) == ncclSuccess);
    }
}

TEST_CASE("64 ranks, a thread each") {
    ranks_run(64, [](int, ncclComm_t comm) { sum_check(comm); });
}

TEST_CASE("two threads call two communicators in opposite order on two ranks") {
    const ncclUniqueId ids[2] = {id_new(), id_new()};
    threads_run(2, [&](int rank) {
        ncclComm_t comms[2] = {};
        must(ncclCommInitRank(&comms[0], 2, ids[0], rank), "init");
        must(ncclCommInitRank(&comms[1], 2, ids[1], rank), "init");
        // On each rank one thread per communicator; started in opposite order, none may need the
        // other's.
        threads_run(2, [&](int i) {
            const int which = rank == 0 ? i : 1 - i;
            for (int round = 0; round < 200; round++) {
                sum_check(comms[which]);
            }
        });
        for (ncclComm_t comm : comms) {
            must(ncclCommDestroy(comm), "destroy");
        }
    });
}

TEST_CASE("many communicators of the same ranks") {
    ranks_run(4, [](int rank, ncclComm_t comm) {
        std::vector<ncclComm_t> children(16);
        for (ncclComm_t& child : children) {
            must(ncclCommSplit(comm, 0, rank, &child, nullptr), "split");
        }
        for (ncclComm_t child : children) {
            sum_check(child);
        }
        for (ncclComm_t child : children) {
            must(ncclCommDestroy(child), "destroy");
        }
    });
}
