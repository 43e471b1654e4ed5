// The host side of the device API: teams and properties are answered, resources and addresses of
// device communicators are refused, because there is no device memory that peers could reach.
// On host memory no rank loads from or stores to another's buffers, so each rank is alone in its
// load/store team and the rail team is everyone (NCCL 2.28 device API documentation: the rail team
// holds the ranks with the same place in their load/store team).
#include <cstddef>

#include "include/weft/nccl_device.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/api/refuse.h"

using weft::grouped;
using weft::null_argument;
using weft::refuse;
using weft::refuse_on;

NCCL_ENTRY(ncclTeam_t, TeamWorld, ncclComm_t comm) {
    ncclTeam_t team{0, 0, 1};
    if (pncclCommCount(comm, &team.nRanks) != ncclSuccess ||
        pncclCommUserRank(comm, &team.rank) != ncclSuccess) {
        return {0, 0, 1};
    }
    return team;
}

NCCL_ENTRY(ncclTeam_t, TeamLsa, ncclComm_t comm) {
    return {pncclTeamWorld(comm).nRanks > 0 ? 1 : 0, 0, 1};
}

NCCL_ENTRY(ncclTeam_t, TeamRail, ncclComm_t comm) {
    return pncclTeamWorld(comm);
}

NCCL_ENTRY(int, TeamRankToWorld, ncclComm_t comm, ncclTeam_t team, int rank) {
    const ncclTeam_t world = pncclTeamWorld(comm);
    if (world.nRanks == 0) {
        return -1;
    }
    return world.rank + (rank - team.rank) * team.stride;
}

// The load/store team is this rank alone: every other rank has no number in it.
NCCL_ENTRY(int, TeamRankToLsa, ncclComm_t comm, ncclTeam_t team, int rank) {
    const ncclTeam_t world = pncclTeamWorld(comm);
    return world.nRanks > 0 && rank == team.rank ? 0 : -1;
}

namespace {

// Writes a member when the caller's struct, as long as it says, holds it.
template <class T>
void put(ncclCommProperties_t* props, size_t size, T ncclCommProperties_t::*member, T value) {
    const auto* at = reinterpret_cast<const char*>(&(props->*member));
    if (static_cast<size_t>(at - reinterpret_cast<const char*>(props)) + sizeof(T) <= size) {
        props->*member = value;
    }
}

}  // namespace

NCCL_ENTRY(ncclResult_t, CommQueryProperties, ncclComm_t comm, ncclCommProperties_t* props) {
    if (props == nullptr) {
        return null_argument("ncclCommQueryProperties", "props");
    }
    if (props->magic != NCCL_API_MAGIC) {
        return weft::reject(
            ncclInvalidUsage,
            {"ncclCommQueryProperties: props was not set by NCCL_COMM_PROPERTIES_INITIALIZER"});
    }
    int device = 0;
    if (const ncclResult_t usable = pncclCommCuDevice(comm, &device); usable != ncclSuccess) {
        return usable;
    }
    const ncclTeam_t world = pncclTeamWorld(comm);
    const size_t size = props->size;
    put(props, size, &ncclCommProperties_t::rank, world.rank);
    put(props, size, &ncclCommProperties_t::nRanks, world.nRanks);
    put(props, size, &ncclCommProperties_t::cudaDev, device);
    put(props, size, &ncclCommProperties_t::nvmlDev, device);
    put(props, size, &ncclCommProperties_t::deviceApiSupport, false);
    put(props, size, &ncclCommProperties_t::multimemSupport, false);
    put(props, size, &ncclCommProperties_t::ginType, NCCL_GIN_TYPE_NONE);
    put(props, size, &ncclCommProperties_t::nLsaTeams, world.nRanks);
    put(props, size, &ncclCommProperties_t::hostRmaSupport, false);
    put(props, size, &ncclCommProperties_t::railedGinType, NCCL_GIN_TYPE_NONE);
    return ncclSuccess;
}

namespace {

constexpr std::string_view device_why = "communicators on host memory have no device side";
constexpr std::string_view device_instead = "use the collectives of nccl.h";
constexpr std::string_view window_why = "windows have no multicast addresses";
constexpr std::string_view window_instead = "ncclGetPeerDevicePointer gives each peer's";

ncclResult_t requirement_refuse(std::string_view function, const void* handle,
                                const void* requirement) noexcept {
    if (handle == nullptr || requirement == nullptr) {
        return null_argument(function, handle == nullptr ? "outHandle" : "outReq");
    }
    return refuse({function, device_why, device_instead});
}

ncclResult_t pointer_refuse(std::string_view function, ncclWindow_t window,
                            const void* out) noexcept {
    if (window == nullptr || out == nullptr) {
        return null_argument(function, window == nullptr ? "window" : "outPtr");
    }
    return refuse({function, window_why, window_instead});
}

}  // namespace

NCCL_ENTRY(ncclResult_t, DevCommCreate, ncclComm_t comm, const ncclDevCommRequirements_t* reqs,
           ncclDevComm_t* outDevComm) {
    if (reqs == nullptr || outDevComm == nullptr) {
        return grouped(null_argument("ncclDevCommCreate", reqs == nullptr ? "reqs" : "outDevComm"));
    }
    return grouped(refuse_on(comm, {"ncclDevCommCreate", device_why, device_instead}));
}

NCCL_ENTRY(ncclResult_t, DevCommDestroy, ncclComm_t comm, const ncclDevComm_t* devComm) {
    if (devComm == nullptr) {
        return null_argument("ncclDevCommDestroy", "devComm");
    }
    return refuse_on(comm, {"ncclDevCommDestroy", device_why, device_instead});
}

NCCL_ENTRY(ncclResult_t, LsaBarrierCreateRequirement, ncclTeam_t, int,
           ncclLsaBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq) {
    return requirement_refuse("ncclLsaBarrierCreateRequirement", outHandle, outReq);
}

NCCL_ENTRY(ncclResult_t, GinBarrierCreateRequirement, ncclComm_t comm, ncclTeam_t, int,
           ncclGinBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq) {
    if (outHandle == nullptr || outReq == nullptr) {
        return null_argument("ncclGinBarrierCreateRequirement",
                             outHandle == nullptr ? "outHandle" : "outReq");
    }
    return refuse_on(comm, {"ncclGinBarrierCreateRequirement", device_why, device_instead});
}

// A count cannot carry an error; no slots is the honest answer.
NCCL_ENTRY(int, LLA2ACalcSlots, int, int) {
    refuse({"ncclLLA2ACalcSlots", device_why, device_instead});
    return 0;
}

NCCL_ENTRY(ncclResult_t, LLA2ACreateRequirement, int, int, ncclLLA2AHandle_t* outHandle,
           ncclDevResourceRequirements_t* outReq) {
    return requirement_refuse("ncclLLA2ACreateRequirement", outHandle, outReq);
}

NCCL_ENTRY(ncclResult_t, GinInboxA2ACreateRequirement, ncclTeam_t, int, int,
           ncclGinInboxA2AHandle_t* outHandle, ncclDevResourceRequirements_t* outReq) {
    return requirement_refuse("ncclGinInboxA2ACreateRequirement", outHandle, outReq);
}

NCCL_ENTRY(ncclResult_t, GinOutboxCreateRequirement, int, int, ncclGinOutboxHandle_t* outHandle,
           ncclDevResourceRequirements_t* outReq) {
    return requirement_refuse("ncclGinOutboxCreateRequirement", outHandle, outReq);
}

// Handles count units of 128 bytes (NCCL 2.28, nccl_device/impl/core__funcs.h).
NCCL_ENTRY(size_t, GetResourceBufferOffset, ncclDevResourceHandle_t handle) {
    return static_cast<size_t>(handle) * 128;
}

NCCL_ENTRY(ncclResult_t, GetLsaMultimemDevicePointer, ncclWindow_t window, size_t, void** outPtr) {
    return pointer_refuse("ncclGetLsaMultimemDevicePointer", window, outPtr);
}

NCCL_ENTRY(ncclResult_t, GetMultimemDevicePointer, ncclWindow_t window, size_t,
           ncclMultimemHandle_t, void** outPtr) {
    return pointer_refuse("ncclGetMultimemDevicePointer", window, outPtr);
}
