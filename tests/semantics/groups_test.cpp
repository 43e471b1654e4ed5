// Groups: nesting, errors inside, what may be mixed, progress of their members.
#include <functional>
#include <numeric>

#include "include/weft/nccl_device.h"
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

namespace {

// A call inside a group of two all_reduces that are in order: does the group run?
struct InGroup {
    const char* name;
    std::function<ncclResult_t(ncclComm_t)> call;
};

struct GroupEnd {
    ncclResult_t called, ended;
    bool ran;
};

GroupEnd group_with(const OneThread& world, const InGroup& tried, bool nested) {
    float in[2] = {1, 2}, out[2] = {0, 0};
    GroupEnd end{};
    must(ncclGroupStart(), "start");
    must(ncclAllReduce(&in[0], &out[0], 1, ncclFloat, ncclSum, world[0], nullptr), "all_reduce");
    if (nested) {
        must(ncclGroupStart(), "start");
    }
    end.called = tried.call(world[0]);
    if (nested) {
        must(ncclGroupEnd(), "the inner end");
    }
    must(ncclAllReduce(&in[1], &out[1], 1, ncclFloat, ncclSum, world[1], nullptr), "all_reduce");
    end.ended = ncclGroupEnd();
    end.ran = out[0] == 3 && out[1] == 3;
    return end;
}

int place;  // handles that only have to differ from NULL
const auto window = reinterpret_cast<ncclWindow_t>(&place);
ncclComm_t made = nullptr;
float value = 1;
const ncclCollConfig_t coll_config = NCCL_COLLCONFIG_INITIALIZER;

// What NCCL takes part in groups with (ncclGroupErrCheck in its src/).
const std::vector<InGroup> fatal{
    {"no communicator",
     [](auto) { return ncclAllReduce(&value, &value, 1, ncclFloat, ncclSum, nullptr, nullptr); }},
    {"no such type",
     [](auto c) { return ncclAllReduce(&value, &value, 1, ncclNumTypes, ncclSum, c, nullptr); }},
    {"no such operator",
     [](auto c) { return ncclAllReduce(&value, &value, 1, ncclFloat, ncclMaxRedOp, c, nullptr); }},
    {"no buffer", [](auto c) { return ncclAllGather(&value, nullptr, 1, ncclFloat, c, nullptr); }},
    {"no such peer", [](auto c) { return ncclSend(&value, 1, ncclFloat, 2, c, nullptr); }},
    {"nothing, to no such root",
     [](auto c) { return ncclBcast(&value, 0, ncclFloat, -1, c, nullptr); }},
    {"a configuration",
     [](auto c) {
         return ncclAllReduceConfig(&value, &value, 1, ncclFloat, ncclSum, c, nullptr,
                                    &coll_config);
     }},
    {"a configuration, no communicator",
     [](auto) {
         return ncclAllGatherConfig(&value, &value, 1, ncclFloat, nullptr, nullptr, &coll_config);
     }},
    {"ncclPutSignal",
     [](auto c) { return ncclPutSignal(&value, 1, ncclFloat, 0, window, 0, 0, 0, 0, c, nullptr); }},
    {"ncclSignal", [](auto c) { return ncclSignal(0, 0, 0, 0, c, nullptr); }},
    {"ncclWaitSignal", [](auto c) { return ncclWaitSignal(0, nullptr, c, nullptr); }},
    {"ncclCommSplit of nothing", [](auto) { return ncclCommSplit(nullptr, 0, 0, &made, nullptr); }},
    {"ncclCommGrow", [](auto c) { return ncclCommGrow(c, 3, nullptr, -1, &made, nullptr); }},
    {"ncclCommGrow to nowhere",
     [](auto c) { return ncclCommGrow(c, 3, nullptr, -1, nullptr, nullptr); }},
    {"ncclCommRevoke", [](auto c) { return ncclCommRevoke(c, 0); }},
    {"ncclCommSuspend", [](auto c) { return ncclCommSuspend(c, 1); }},
    {"ncclCommResume", [](auto c) { return ncclCommResume(c); }},
    {"ncclCommWindowRegister of nothing",
     [](auto c) {
         ncclWindow_t win = nullptr;
         return ncclCommWindowRegister(c, nullptr, 8, &win, 0);
     }},
    {"ncclDevCommCreate",
     [](auto c) {
         return ncclDevCommCreate(c, reinterpret_cast<ncclDevCommRequirements_t*>(&place),
                                  reinterpret_cast<ncclDevComm_t*>(&place));
     }},
    {"ncclDevCommCreate of nothing", [](auto c) { return ncclDevCommCreate(c, nullptr, nullptr); }},
};

// Questions are no part of a group, however they are answered.
const std::vector<InGroup> harmless{
    {"ncclCommCount",
     [](auto) {
         int count = 0;
         return ncclCommCount(nullptr, &count);
     }},
    {"ncclRedOpDestroy", [](auto c) { return ncclRedOpDestroy(ncclSum, c); }},
    {"ncclParamBind", [](auto) { return ncclParamBind(nullptr, nullptr); }},
    {"ncclWinGetUserPtr", [](auto c) { return ncclWinGetUserPtr(c, window, nullptr); }},
};

}  // namespace

TEST_CASE("a call that is refused inside a group is what the outermost end returns") {
    OneThread world(2);
    for (const InGroup& tried : fatal) {
        for (const bool nested : {false, true}) {
            INFO(tried.name << (nested ? " in a group inside" : ""));
            const GroupEnd end = group_with(world, tried, nested);
            CHECK(end.called != ncclSuccess);
            CHECK(end.ended == end.called);
            CHECK_FALSE(end.ran);
        }
    }
    for (const InGroup& tried : harmless) {
        INFO(tried.name);
        const GroupEnd end = group_with(world, tried, false);
        CHECK(end.called != ncclSuccess);
        CHECK(end.ended == ncclSuccess);
        CHECK(end.ran);
    }
}

TEST_CASE("the first of two errors inside a group is its result, and nothing stays for the next") {
    OneThread world(2);
    REQUIRE(ncclGroupStart() == ncclSuccess);
    CHECK(ncclCommSuspend(world[0], 1) == ncclInvalidUsage);
    CHECK(ncclSend(&value, 1, ncclFloat, 9, world[0], nullptr) == ncclInvalidArgument);
    CHECK(ncclGroupEnd() == ncclInvalidUsage);
    // Outside a group an error is its own call's alone.
    CHECK(ncclCommSuspend(world[0], 1) == ncclInvalidUsage);
    const GroupEnd end = group_with(world, {"nothing", [](auto) { return ncclSuccess; }}, true);
    CHECK(end.ended == ncclSuccess);
    CHECK(end.ran);
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
