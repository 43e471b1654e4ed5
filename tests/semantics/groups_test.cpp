// Groups: nesting, errors inside, what may be mixed, progress of their members.
#include <numeric>

#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

TEST_CASE("a group that was not started cannot end") {
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    CHECK(ncclGroupSimulateEnd(nullptr) == ncclInvalidUsage);
    CHECK(ncclGroupStart() == ncclSuccess);
    CHECK(ncclGroupEnd() == ncclSuccess);
}

TEST_CASE("one thread drives 8 ranks") {
    OneThread world(8);
    std::vector<float> in(8), out(8);
    std::iota(in.begin(), in.end(), 1.0F);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 8; r++) {
        REQUIRE(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
                ncclSuccess);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    CHECK(out == std::vector<float>(8, 36.0F));
}

TEST_CASE("nothing starts before the outermost end") {
    OneThread world(2);
    float in[2] = {1, 2}, out[2] = {0, 0};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        REQUIRE(ncclGroupStart() == ncclSuccess);
        REQUIRE(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
                ncclSuccess);
        REQUIRE(ncclGroupEnd() == ncclSuccess);
        CHECK(out[0] == 0);
    }
    in[0] = 10;
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    CHECK(out[0] == 12);
    CHECK(out[1] == 12);
}

TEST_CASE("an error inside is remembered and nothing runs") {
    OneThread world(2);
    float in[2] = {1, 2}, out[2] = {0, 0};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
              ncclSuccess);
    }
    CHECK(ncclBroadcast(in, out, 1, ncclFloat, 9, world[0], nullptr) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclInvalidArgument);
    CHECK(out[0] == 0);
    // The next group starts afresh.
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
              ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
    CHECK(out[1] == 3);
}

TEST_CASE("communication and init do not mix") {
    OneThread world(1);
    float x = 1;
    ncclComm_t other = nullptr;
    const ncclUniqueId id = id_new();
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], nullptr) == ncclSuccess);
    CHECK(ncclCommInitRank(&other, 1, id, 0) == ncclInvalidUsage);
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    CHECK(other == nullptr);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclCommInitRank(&other, 1, id, 0) == ncclSuccess);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], nullptr) == ncclInvalidUsage);
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    CHECK(other == nullptr);
}

TEST_CASE("blocking and nonblocking communicators do not mix") {
    OneThread world(1);
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t other = nullptr;
    const ncclResult_t made = ncclCommInitRankConfig(&other, 1, id_new(), 0, &config);
    REQUIRE((made == ncclSuccess || made == ncclInProgress));
    REQUIRE(settle(other) == ncclSuccess);
    float x = 1;
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], nullptr) == ncclSuccess);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, other, nullptr) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclInvalidArgument);
    CHECK(ncclCommDestroy(other) == ncclSuccess);
}

TEST_CASE("self sends") {
    OneThread world(2);
    int in = 7, out = 0;
    CHECK(ncclSend(&in, 1, ncclInt, 0, world[0], nullptr) == ncclInvalidUsage);
    CHECK(last_error_has("Trying to send to self without a matching recv"));
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclSend(&in, 1, ncclInt, 0, world[0], nullptr) == ncclSuccess);
    CHECK(ncclRecv(&out, 1, ncclInt, 0, world[0], nullptr) == ncclSuccess);
    CHECK(ncclGroupEnd() == ncclSuccess);
    CHECK(out == 7);
}

TEST_CASE("sends and receives of a group progress independently") {
    ranks_run(3, [](int rank, ncclComm_t comm) {
        constexpr int n = 100'000;
        std::vector<std::vector<int>> in(3, std::vector<int>(n)), out = in;
        for (int peer = 0; peer < 3; peer++) {
            std::fill(in[peer].begin(), in[peer].end(), rank * 10 + peer);
        }
        must(ncclGroupStart(), "start");
        for (int peer = 0; peer < 3; peer++) {
            // Every rank sends in another order than its peers receive.
            const int to = (peer + rank) % 3;
            must(ncclSend(in[to].data(), n, ncclInt, to, comm, nullptr), "send");
        }
        for (int peer = 2; peer >= 0; peer--) {
            must(ncclRecv(out[peer].data(), n, ncclInt, peer, comm, nullptr), "recv");
        }
        must(ncclGroupEnd(), "end");
        for (int peer = 0; peer < 3; peer++) {
            must(out[peer] == std::vector<int>(n, peer * 10 + rank), "wrong data");
        }
    });
}

TEST_CASE("sends to one peer keep their order, empty ones included") {
    ranks_run(2, [](int rank, ncclComm_t comm) {
        int a = 1, b = 2;
        must(ncclGroupStart(), "start");
        if (rank == 0) {
            must(ncclSend(&a, 1, ncclInt, 1, comm, nullptr), "send");
            must(ncclSend(nullptr, 0, ncclInt, 1, comm, nullptr), "send of nothing");
            must(ncclSend(&b, 1, ncclInt, 1, comm, nullptr), "send");
        } else {
            a = b = 0;
            must(ncclRecv(&a, 1, ncclInt, 0, comm, nullptr), "recv");
            must(ncclRecv(nullptr, 0, ncclInt, 0, comm, nullptr), "recv of nothing");
            must(ncclRecv(&b, 1, ncclInt, 0, comm, nullptr), "recv");
        }
        must(ncclGroupEnd(), "end");
        must(a == 1 && b == 2, "order lost");
    });
}

TEST_CASE("a group fuses collectives and pairs") {
    ranks_run(2, [](int rank, ncclComm_t comm) {
        float sum = 0, gathered[2] = {};
        const float mine = static_cast<float>(rank + 1);
        int token = rank;
        must(ncclGroupStart(), "start");
        must(ncclAllReduce(&mine, &sum, 1, ncclFloat, ncclSum, comm, nullptr), "all_reduce");
        must(rank == 0 ? ncclSend(&token, 1, ncclInt, 1, comm, nullptr)
                       : ncclRecv(&token, 1, ncclInt, 0, comm, nullptr),
             "pair");
        must(ncclAllGather(&mine, gathered, 1, ncclFloat, comm, nullptr), "all_gather");
        must(ncclGroupEnd(), "end");
        must(sum == 3 && gathered[0] == 1 && gathered[1] == 2 && token == 0, "wrong data");
    });
}

TEST_CASE("several communicators in one group") {
    OneThread first(2), second(2);
    float in[4] = {1, 2, 3, 4}, out[4] = {};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, first[r], nullptr) ==
              ncclSuccess);
        CHECK(ncclAllReduce(&in[2 + r], &out[2 + r], 1, ncclFloat, ncclSum, second[r], nullptr) ==
              ncclSuccess);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    CHECK(out[0] == 3);
    CHECK(out[3] == 7);
}

TEST_CASE("simulation runs nothing") {
    OneThread world(1);
    float in = 1, out = 0;
    ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclAllReduce(&in, &out, 1, ncclFloat, ncclSum, world[0], nullptr) == ncclSuccess);
    CHECK(ncclGroupSimulateEnd(&info) == ncclSuccess);
    CHECK(info.estimatedTime > 0);
    CHECK(out == 0);
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    info.magic = 1;
    CHECK(ncclGroupSimulateEnd(&info) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclSuccess);
}

TEST_CASE("destroy and abort inside a group") {
    ncclComm_t comms[4];
    REQUIRE(ncclCommInitAll(comms, 4, nullptr) == ncclSuccess);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommDestroy(comm) == ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
    REQUIRE(ncclCommInitAll(comms, 4, nullptr) == ncclSuccess);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommAbort(comm) == ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
}

TEST_CASE("a communicator that is gone when its group ends") {
    OneThread world(1);
    ncclComm_t gone = nullptr;
    REQUIRE(ncclCommInitAll(&gone, 1, nullptr) == ncclSuccess);
    float x = 1;
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, gone, nullptr) == ncclSuccess);
    CHECK(ncclCommAbort(gone) == ncclSuccess);
    CHECK(ncclGroupEnd() == ncclInvalidArgument);
}
