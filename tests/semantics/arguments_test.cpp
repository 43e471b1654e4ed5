// Result codes of wrong arguments, and the line that names the argument.
#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

TEST_CASE("NULL communicators") {
    int value = 0;
    ncclResult_t state = ncclSuccess;
    float x = 0;
    CHECK(ncclCommDestroy(nullptr) == ncclSuccess);
    CHECK(ncclCommAbort(nullptr) == ncclSuccess);
    CHECK(ncclCommFinalize(nullptr) == ncclSuccess);
    CHECK(ncclCommCount(nullptr, &value) == ncclInvalidArgument);
    CHECK(last_error_has("NULL"));
    CHECK(ncclCommUserRank(nullptr, &value) == ncclInvalidArgument);
    CHECK(ncclCommCuDevice(nullptr, &value) == ncclInvalidArgument);
    CHECK(ncclCommGetAsyncError(nullptr, &state) == ncclInvalidArgument);
    CHECK(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, nullptr, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(&x, &x, 0, ncclFloat, ncclSum, nullptr, nullptr) == ncclInvalidArgument);
    CHECK(ncclSend(&x, 1, ncclFloat, 0, nullptr, nullptr) == ncclInvalidArgument);
    ncclComm_t child = nullptr;
    CHECK(ncclCommSplit(nullptr, 0, 0, &child, nullptr) == ncclInvalidArgument);
    int exclude = 0;
    CHECK(ncclCommShrink(nullptr, &exclude, 1, &child, nullptr, 0) == ncclInvalidArgument);
    CHECK(ncclRedOpDestroy(ncclSum, nullptr) == ncclInvalidArgument);
}

TEST_CASE("what needs no communicator") {
    int version = 0;
    CHECK(ncclGetVersion(nullptr) == ncclInvalidArgument);
    CHECK(ncclGetVersion(&version) == ncclSuccess);
    CHECK(version == NCCL_VERSION_CODE);
    CHECK(ncclGetUniqueId(nullptr) == ncclInvalidArgument);
    CHECK(std::string(ncclGetErrorString(ncclSuccess)) == "no error");
    CHECK(std::string(ncclGetErrorString(ncclRemoteError)) ==
          "remote process exited or there was a network error");
    CHECK(std::string(ncclGetErrorString(static_cast<ncclResult_t>(77))) == "unknown result code");
}

TEST_CASE("arguments of init") {
    ncclComm_t comm = nullptr;
    ncclUniqueId id = id_new();
    CHECK(ncclCommInitRank(nullptr, 1, id, 0) == ncclInvalidArgument);
    CHECK(ncclCommInitRank(&comm, 0, id, 0) == ncclInvalidArgument);
    CHECK(ncclCommInitRank(&comm, 4, id, 4) == ncclInvalidArgument);
    CHECK(last_error_has("4/4"));
    CHECK(ncclCommInitRank(&comm, 4, id, -1) == ncclInvalidArgument);
    CHECK(comm == nullptr);
    ncclUniqueId foreign{};
    foreign.internal[0] = 'x';
    CHECK(ncclCommInitRank(&comm, 1, foreign, 0) == ncclInvalidArgument);
    ncclConfig_t config{};
    CHECK(ncclCommInitRankConfig(&comm, 1, id, 0, &config) == ncclInvalidArgument);
    CHECK(last_error_has("NCCL_CONFIG_INITIALIZER"));
    config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 2;
    CHECK(ncclCommInitRankConfig(&comm, 1, id, 0, &config) == ncclInvalidArgument);
    CHECK(last_error_has("blocking"));
    CHECK(ncclCommInitRankScalable(&comm, 1, 0, 0, &id, nullptr) == ncclInvalidArgument);
    CHECK(ncclCommInitRankScalable(&comm, 1, 0, 1, nullptr, nullptr) == ncclInvalidArgument);
    CHECK(ncclCommInitAll(nullptr, 1, nullptr) == ncclInvalidArgument);
    CHECK(ncclCommInitAll(&comm, -1, nullptr) == ncclInvalidArgument);
    const int bad[] = {-1}, twice[] = {3, 3};
    ncclComm_t two[2];
    CHECK(ncclCommInitAll(&comm, 1, bad) == ncclInvalidArgument);
    CHECK(ncclCommInitAll(two, 2, twice) == ncclInvalidUsage);
}

TEST_CASE("arguments of calls") {
    OneThread world(1);
    float x = 1, y = 0;
    const ncclComm_t comm = world[0];
    CHECK(ncclAllReduce(&x, &y, 1, static_cast<ncclDataType_t>(12), ncclSum, comm, nullptr) ==
          ncclInvalidArgument);
    CHECK(last_error_has("type 12"));
    CHECK(ncclAllReduce(&x, &y, 1, ncclFloat, static_cast<ncclRedOp_t>(77), comm, nullptr) ==
          ncclInvalidArgument);
    CHECK(ncclBroadcast(&x, &y, 1, ncclFloat, 1, comm, nullptr) == ncclInvalidArgument);
    CHECK(last_error_has("root 1"));
    CHECK(ncclSend(&x, 1, ncclFloat, -1, comm, nullptr) == ncclInvalidArgument);
    CHECK(ncclAllReduce(nullptr, &y, 1, ncclFloat, ncclSum, comm, nullptr) == ncclInvalidArgument);
    CHECK(last_error_has("sendbuff"));
    CHECK(ncclAllReduce(&x, &y, SIZE_MAX, ncclFloat, ncclSum, comm, nullptr) ==
          ncclInvalidArgument);
    // Nothing to do, but checked all the same.
    CHECK(ncclAllReduce(nullptr, nullptr, 0, ncclFloat, ncclSum, comm, nullptr) == ncclSuccess);
    CHECK(ncclBroadcast(&x, &y, 0, ncclFloat, 1, comm, nullptr) == ncclInvalidArgument);
    // The communicator is as good as before.
    CHECK(ncclAllReduce(&x, &y, 1, ncclFloat, ncclSum, comm, nullptr) == ncclSuccess);
    CHECK(y == 1);
}

TEST_CASE("queries") {
    const int devices[] = {5, 2};
    ncclComm_t comms[2];
    REQUIRE(ncclCommInitAll(comms, 2, devices) == ncclSuccess);
    for (int i = 0; i < 2; i++) {
        int count = 0, rank = -1, device = -1;
        CHECK(ncclCommCount(comms[i], &count) == ncclSuccess);
        CHECK(ncclCommUserRank(comms[i], &rank) == ncclSuccess);
        CHECK(ncclCommCuDevice(comms[i], &device) == ncclSuccess);
        CHECK(count == 2);
        CHECK(rank == i);
        CHECK(device == devices[i]);
        CHECK(ncclCommCount(comms[i], nullptr) == ncclInvalidArgument);
    }
    for (ncclComm_t comm : comms) {
        CHECK(ncclCommDestroy(comm) == ncclSuccess);
    }
    OneThread local(3);
    for (int i = 0; i < 3; i++) {
        int device = -1;
        CHECK(ncclCommCuDevice(local[i], &device) == ncclSuccess);
        CHECK(device == i);
    }
}

TEST_CASE("operators") {
    OneThread world(2);
    float scalar = 2;
    ncclRedOp_t op;
    CHECK(ncclRedOpCreatePreMulSum(nullptr, &scalar, ncclFloat, ncclScalarHostImmediate,
                                   world[0]) == ncclInvalidArgument);
    CHECK(ncclRedOpCreatePreMulSum(&op, nullptr, ncclFloat, ncclScalarHostImmediate, world[0]) ==
          ncclInvalidArgument);
    REQUIRE(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat, ncclScalarHostImmediate, world[0]) ==
            ncclSuccess);
    CHECK(op >= ncclNumOps);
    double d = 0;
    CHECK(ncclAllReduce(&d, &d, 1, ncclDouble, op, world[0], nullptr) == ncclInvalidArgument);
    CHECK(ncclRedOpDestroy(ncclSum, world[0]) == ncclInvalidArgument);
    CHECK(ncclRedOpDestroy(op, world[1]) == ncclInvalidArgument);
    CHECK(ncclRedOpDestroy(op, world[0]) == ncclSuccess);
    CHECK(ncclRedOpDestroy(op, world[0]) == ncclInvalidArgument);
}

TEST_CASE("buffers") {
    OneThread world(1);
    void* memory = nullptr;
    CHECK(ncclMemAlloc(nullptr, 16) == ncclInvalidArgument);
    REQUIRE(ncclMemAlloc(&memory, 1 << 20) == ncclSuccess);
    void* handle = nullptr;
    CHECK(ncclCommRegister(world[0], memory, 1 << 20, &handle) == ncclSuccess);
    CHECK(ncclCommDeregister(world[0], handle) == ncclSuccess);
    CHECK(ncclCommDeregister(world[0], nullptr) == ncclSuccess);
    CHECK(ncclCommDeregister(world[0], &handle) == ncclInvalidArgument);
    ncclWindow_t window = reinterpret_cast<ncclWindow_t>(&handle);
    CHECK(ncclCommWindowRegister(world[0], memory, 1 << 20, &window, 0) == ncclSuccess);
    CHECK(window == nullptr);
    CHECK(ncclCommWindowRegister(world[0], nullptr, 1, &window, 0) == ncclInvalidArgument);
    CHECK(ncclCommWindowRegister(world[0], memory, 0, &window, 0) == ncclInvalidArgument);
    CHECK(ncclCommWindowDeregister(world[0], nullptr) == ncclSuccess);
    CHECK(ncclMemFree(memory) == ncclSuccess);
    CHECK(ncclMemFree(nullptr) == ncclSuccess);
    CHECK(ncclMemFree(&handle) == ncclInvalidArgument);
}
