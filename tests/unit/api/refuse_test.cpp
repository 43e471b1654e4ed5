// What docs/COMPAT.md calls refused, and the few answers that host memory allows.
#include <functional>
#include <string>
#include <vector>

#include "include/weft/nccl_device.h"
#include "tests/catch.h"

namespace {

struct Call {
    const char* name;
    std::function<ncclResult_t(ncclComm_t)> call;
};

// Handles that only have to differ from NULL.
ncclUniqueId id;
ncclComm_t made = nullptr;
void* out = nullptr;
const auto window = reinterpret_cast<ncclWindow_t>(&out);
const ncclCollConfig_t config = NCCL_COLLCONFIG_INITIALIZER;
const ncclTeam_t team{1, 0, 1};

template <class T>
T* some() {
    return static_cast<T*>(static_cast<void*>(&out));
}

const std::vector<Call> refused_on_comm{
    {"ncclCommGetUniqueId", [](auto c) { return ncclCommGetUniqueId(c, &id); }},
    {"ncclCommSuspend", [](auto c) { return ncclCommSuspend(c, NCCL_SUSPEND_MEM); }},
    {"ncclCommResume", [](auto c) { return ncclCommResume(c); }},
    {"ncclPutSignal",
     [](auto c) { return ncclPutSignal(&id, 1, ncclInt8, 0, window, 0, 0, 0, 0, c, nullptr); }},
    {"ncclSignal", [](auto c) { return ncclSignal(0, 0, 0, 0, c, nullptr); }},
    {"ncclWaitSignal", [](auto c) { return ncclWaitSignal(0, nullptr, c, nullptr); }},
    {"ncclDevCommCreate",
     [](auto c) {
         return ncclDevCommCreate(c, some<ncclDevCommRequirements_t>(), some<ncclDevComm_t>());
     }},
    {"ncclDevCommDestroy", [](auto c) { return ncclDevCommDestroy(c, some<ncclDevComm_t>()); }},
    {"ncclGinBarrierCreateRequirement",
     [](auto c) {
         return ncclGinBarrierCreateRequirement(c, team, 1, some<ncclGinBarrierHandle_t>(),
                                                some<ncclDevResourceRequirements_t>());
     }},
    {"ncclAllReduceConfig",
     [](auto c) {
         return ncclAllReduceConfig(&id, &id, 1, ncclInt8, ncclSum, c, nullptr, &config);
     }},
    {"ncclReduceConfig",
     [](auto c) {
         return ncclReduceConfig(&id, &id, 1, ncclInt8, ncclSum, 0, c, nullptr, &config);
     }},
    {"ncclBroadcastConfig",
     [](auto c) { return ncclBroadcastConfig(&id, &id, 1, ncclInt8, 0, c, nullptr, &config); }},
    {"ncclReduceScatterConfig",
     [](auto c) {
         return ncclReduceScatterConfig(&id, &id, 1, ncclInt8, ncclSum, c, nullptr, &config);
     }},
    {"ncclAllGatherConfig",
     [](auto c) { return ncclAllGatherConfig(&id, &id, 1, ncclInt8, c, nullptr, &config); }},
    {"ncclAlltoAllConfig",
     [](auto c) { return ncclAlltoAllConfig(&id, &id, 1, ncclInt8, c, nullptr, &config); }},
    {"ncclGatherConfig",
     [](auto c) { return ncclGatherConfig(&id, &id, 1, ncclInt8, 0, c, nullptr, &config); }},
    {"ncclScatterConfig",
     [](auto c) { return ncclScatterConfig(&id, &id, 1, ncclInt8, 0, c, nullptr, &config); }},
};

ncclParamHandle_t handle = reinterpret_cast<ncclParamHandle_t>(&out);
int length = 0;

const std::vector<Call> refused_always{
    {"ncclParamBind", [](auto) { return ncclParamBind(some<ncclParamHandle_t>(), "NCCL_ALGO"); }},
    {"ncclParamGetI8", [](auto) { return ncclParamGetI8(handle, some<int8_t>()); }},
    {"ncclParamGetI16", [](auto) { return ncclParamGetI16(handle, some<int16_t>()); }},
    {"ncclParamGetI32", [](auto) { return ncclParamGetI32(handle, some<int32_t>()); }},
    {"ncclParamGetI64", [](auto) { return ncclParamGetI64(handle, some<int64_t>()); }},
    {"ncclParamGetU8", [](auto) { return ncclParamGetU8(handle, some<uint8_t>()); }},
    {"ncclParamGetU16", [](auto) { return ncclParamGetU16(handle, some<uint16_t>()); }},
    {"ncclParamGetU32", [](auto) { return ncclParamGetU32(handle, some<uint32_t>()); }},
    {"ncclParamGetU64", [](auto) { return ncclParamGetU64(handle, some<uint64_t>()); }},
    {"ncclParamGetStr", [](auto) { return ncclParamGetStr(handle, some<const char*>()); }},
    {"ncclParamGet", [](auto) { return ncclParamGet(handle, &out, 8, &length); }},
    {"ncclParamGetParameter",
     [](auto) { return ncclParamGetParameter("NCCL_ALGO", some<const char*>(), &length); }},
    {"ncclParamGetAllParameterKeys",
     [](auto) { return ncclParamGetAllParameterKeys(some<const char**>(), &length); }},
    {"ncclLsaBarrierCreateRequirement",
     [](auto) {
         return ncclLsaBarrierCreateRequirement(team, 1, some<ncclLsaBarrierHandle_t>(),
                                                some<ncclDevResourceRequirements_t>());
     }},
    {"ncclLLA2ACreateRequirement",
     [](auto) {
         return ncclLLA2ACreateRequirement(1, 1, some<ncclLLA2AHandle_t>(),
                                           some<ncclDevResourceRequirements_t>());
     }},
    {"ncclGinInboxA2ACreateRequirement",
     [](auto) {
         return ncclGinInboxA2ACreateRequirement(team, 1, 7, some<ncclGinInboxA2AHandle_t>(),
                                                 some<ncclDevResourceRequirements_t>());
     }},
    {"ncclGinOutboxCreateRequirement",
     [](auto) {
         return ncclGinOutboxCreateRequirement(1, 7, some<ncclGinOutboxHandle_t>(),
                                               some<ncclDevResourceRequirements_t>());
     }},
    {"ncclGetLsaMultimemDevicePointer",
     [](auto) { return ncclGetLsaMultimemDevicePointer(window, 0, &out); }},
    {"ncclGetMultimemDevicePointer",
     [](auto) { return ncclGetMultimemDevicePointer(window, 0, {nullptr}, &out); }},
    {"ncclCommGrow", [](auto) { return ncclCommGrow(nullptr, 2, &id, 1, &made, nullptr); }},
};

// A communicator of one rank for the length of a test.
struct Comm {
    Comm() { REQUIRE(ncclCommInitAll(&comm, 1, nullptr) == ncclSuccess); }
    ~Comm() { ncclCommDestroy(comm); }
    Comm(const Comm&) = delete;
    Comm& operator=(const Comm&) = delete;
    ncclComm_t comm = nullptr;
};

void check_refusal(const Call& call, ncclComm_t comm) {
    INFO(call.name);
    CHECK(call.call(comm) == ncclInvalidUsage);
    const std::string line = ncclGetLastError(comm);
    CHECK(line.find(std::string(call.name) + " is not available: ") != std::string::npos);
    CHECK(line.find('\n') == std::string::npos);
}

}  // namespace

TEST_CASE("refused calls name themselves and the reason") {
    const Comm one;
    for (const Call& call : refused_on_comm) {
        check_refusal(call, one.comm);
    }
    for (const Call& call : refused_always) {
        check_refusal(call, nullptr);
    }
    check_refusal({"ncclCommRevoke", [](auto c) { return ncclCommRevoke(c, 0); }}, one.comm);
}

TEST_CASE("a window that nobody made is an invalid argument") {
    const Comm one;
    const std::vector<Call> calls{
        {"ncclWinGetUserPtr", [](auto c) { return ncclWinGetUserPtr(c, window, &out); }},
        {"ncclGetPeerDevicePointer",
         [](auto) { return ncclGetPeerDevicePointer(window, 0, 0, &out); }},
        {"ncclGetLsaDevicePointer",
         [](auto) { return ncclGetLsaDevicePointer(window, 0, 0, &out); }},
        {"ncclCommWindowDeregister", [](auto c) { return ncclCommWindowDeregister(c, window); }}};
    for (const Call& call : calls) {
        INFO(call.name);
        CHECK(call.call(one.comm) == ncclInvalidArgument);
        const std::string line = ncclGetLastError(one.comm);
        CHECK(line.find(std::string(call.name) + " : ") == 0);
        CHECK(line.find("window") != std::string::npos);
    }
}

TEST_CASE("refused calls without a result leave their line") {
    ncclParamDumpAll();
    CHECK(ncclGetLastError(nullptr) ==
          std::string("ncclParamDumpAll is not available: settings are not read through this "
                      "interface; docs/SETTINGS.md lists them"));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ncclResetDebugInit();
#pragma GCC diagnostic pop
    CHECK(ncclGetLastError(nullptr) ==
          std::string("ncclResetDebugInit is not available: settings are read once per process; "
                      "set them before the first call"));
}

TEST_CASE("a NULL communicator is an invalid argument") {
    for (const Call& call : refused_on_comm) {
        INFO(call.name);
        CHECK(call.call(nullptr) == ncclInvalidArgument);
    }
    CHECK(ncclCommRevoke(nullptr, 0) == ncclSuccess);  // as for abort
    ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
    CHECK(ncclCommQueryProperties(nullptr, &properties) == ncclInvalidArgument);
    uint64_t bytes = 0;
    CHECK(ncclCommMemStats(nullptr, ncclStatGpuMemTotal, &bytes) == ncclInvalidArgument);
    CHECK(ncclTeamWorld(nullptr).nRanks == 0);
    CHECK(ncclTeamRankToWorld(nullptr, team, 0) == -1);
}

TEST_CASE("a NULL result is an invalid argument with the argument's name") {
    CHECK(ncclCommGrow(nullptr, 2, &id, 1, nullptr, nullptr) == ncclInvalidArgument);
    CHECK(ncclGetLastError(nullptr) == std::string("ncclCommGrow: argument newcomm is NULL"));
    CHECK(ncclParamGet(handle, &out, 8, nullptr) == ncclInvalidArgument);
    CHECK(ncclParamGetI8(nullptr, some<int8_t>()) == ncclInvalidArgument);
    CHECK(ncclGetPeerDevicePointer(nullptr, 0, 0, &out) == ncclInvalidArgument);
    CHECK(ncclGetLastError(nullptr) ==
          std::string("ncclGetPeerDevicePointer : window argument is NULL"));
}

TEST_CASE("properties, teams and memory figures of a rank on host memory") {
    const Comm one;
    ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
    REQUIRE(ncclCommQueryProperties(one.comm, &properties) == ncclSuccess);
    CHECK(properties.rank == 0);
    CHECK(properties.nRanks == 1);
    CHECK_FALSE(properties.deviceApiSupport);
    CHECK_FALSE(properties.hostRmaSupport);
    CHECK(properties.nLsaTeams == 1);

    ncclCommProperties_t older = NCCL_COMM_PROPERTIES_INITIALIZER;
    older.size = offsetof(ncclCommProperties_t, nRanks);
    older.nRanks = 77;
    CHECK(ncclCommQueryProperties(one.comm, &older) == ncclSuccess);
    CHECK(older.nRanks == 77);  // not covered by the stated size
    older.magic = 0;
    CHECK(ncclCommQueryProperties(one.comm, &older) == ncclInvalidUsage);

    CHECK(ncclTeamWorld(one.comm).nRanks == 1);
    CHECK(ncclTeamLsa(one.comm).nRanks == 1);
    CHECK(ncclTeamRail(one.comm).nRanks == 1);
    CHECK(ncclTeamRankToWorld(one.comm, ncclTeamLsa(one.comm), 0) == 0);
    CHECK(ncclTeamRankToLsa(one.comm, ncclTeamWorld(one.comm), 0) == 0);
    CHECK(ncclLLA2ACalcSlots(4, 8) == 0);
    CHECK(ncclGetResourceBufferOffset(3) == 384);

    uint64_t bytes = 1;
    CHECK(ncclCommMemStats(one.comm, ncclStatGpuMemTotal, &bytes) == ncclSuccess);
    CHECK(bytes == 0);
    CHECK(ncclCommMemStats(one.comm, static_cast<ncclCommMemStat_t>(4), &bytes) ==
          ncclInvalidArgument);
}

TEST_CASE("a NULL configuration makes the plain call") {
    const Comm one;
    float value = 3.0F;
    float sum = 0.0F;
    CHECK(ncclAllReduceConfig(&value, &sum, 1, ncclFloat, ncclSum, one.comm, nullptr, nullptr) ==
          ncclSuccess);
    CHECK(sum == 3.0F);
    CHECK(ncclAllReduceConfig(&value, &sum, 1, ncclFloat, ncclSum, nullptr, nullptr, nullptr) ==
          ncclInvalidArgument);
}
