/*
 * The host side of NCCL's device API (2.28 to 2.30), under the name NVIDIA gives it. The layouts of
 * the device structures carry no promise between NCCL releases, so they are opaque here; kernels
 * cannot be written against this header. Weft answers the questions about teams and properties and
 * refuses the rest (docs/COMPAT.md).
 *
 * Thread and failure rules are those of nccl.h. Do not mix with NVIDIA's nccl_device.h.
 */
#ifndef WEFT_NCCL_DEVICE_H_
#define WEFT_NCCL_DEVICE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nccl.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ncclDevComm ncclDevComm_t;
typedef struct ncclDevCommRequirements ncclDevCommRequirements_t;
typedef struct ncclDevResourceRequirements ncclDevResourceRequirements_t;
typedef struct ncclLsaBarrierHandle ncclLsaBarrierHandle_t;
typedef struct ncclGinBarrierHandle ncclGinBarrierHandle_t;
typedef struct ncclLLA2AHandle ncclLLA2AHandle_t;
typedef struct ncclGinInboxA2AHandle ncclGinInboxA2AHandle_t;
typedef struct ncclGinOutboxHandle ncclGinOutboxHandle_t;
typedef uint32_t ncclDevResourceHandle_t;

/* Passed by value; NCCL 2.28 to 2.30. */
typedef struct ncclMultimemHandle {
    void* mcBasePtr;
} ncclMultimemHandle_t;

/* A set of ranks: nRanks of them, `stride` apart, this rank being number `rank`. */
typedef struct ncclTeam {
    int nRanks, rank, stride;
} ncclTeam_t;

typedef enum {
    NCCL_GIN_TYPE_NONE = 0,
    NCCL_GIN_TYPE_PROXY = 2,
    NCCL_GIN_TYPE_GDAKI = 3
} ncclGinType_t;

/* 2.29, append-only. */
typedef struct ncclCommProperties {
    size_t size;
    unsigned int magic;
    unsigned int version;
    int rank;
    int nRanks;
    int cudaDev;
    int nvmlDev;
    bool deviceApiSupport;
    bool multimemSupport;
    ncclGinType_t ginType;
    int nLsaTeams;
    bool hostRmaSupport;
    ncclGinType_t railedGinType;
} ncclCommProperties_t;

#define NCCL_COMM_PROPERTIES_INITIALIZER                                                           \
    {                                                                                              \
        sizeof(ncclCommProperties_t), NCCL_API_MAGIC, WEFT_NCCL_LAYOUT_VERSION, 0, 0, 0, 0, false, \
            false, NCCL_GIN_TYPE_NONE, 0, false, NCCL_GIN_TYPE_NONE                                \
    }

/* What the communicator can do. Writes the members that `props->size` covers. */
ncclResult_t ncclCommQueryProperties(ncclComm_t comm, ncclCommProperties_t* props);
extern __typeof__(ncclCommQueryProperties) pncclCommQueryProperties;

/* Device communicators. */
ncclResult_t ncclDevCommCreate(ncclComm_t comm, const ncclDevCommRequirements_t* reqs,
                               ncclDevComm_t* outDevComm);
extern __typeof__(ncclDevCommCreate) pncclDevCommCreate;
ncclResult_t ncclDevCommDestroy(ncclComm_t comm, const ncclDevComm_t* devComm);
extern __typeof__(ncclDevCommDestroy) pncclDevCommDestroy;

/* Teams: all ranks; those this rank can load from and store to; those with the same place in their
 * load/store team. A NULL communicator gives an empty team. */
ncclTeam_t ncclTeamWorld(ncclComm_t comm);
extern __typeof__(ncclTeamWorld) pncclTeamWorld;
ncclTeam_t ncclTeamLsa(ncclComm_t comm);
extern __typeof__(ncclTeamLsa) pncclTeamLsa;
ncclTeam_t ncclTeamRail(ncclComm_t comm);
extern __typeof__(ncclTeamRail) pncclTeamRail;

/* Rank `rank` of `team` as a rank of the communicator, or of the load/store team; -1 on error. */
int ncclTeamRankToWorld(ncclComm_t comm, ncclTeam_t team, int rank);
extern __typeof__(ncclTeamRankToWorld) pncclTeamRankToWorld;
int ncclTeamRankToLsa(ncclComm_t comm, ncclTeam_t team, int rank);
extern __typeof__(ncclTeamRankToLsa) pncclTeamRankToLsa;

/* Resources that a device communicator is created with. */
ncclResult_t ncclLsaBarrierCreateRequirement(ncclTeam_t team, int nBarriers,
                                             ncclLsaBarrierHandle_t* outHandle,
                                             ncclDevResourceRequirements_t* outReq);
extern __typeof__(ncclLsaBarrierCreateRequirement) pncclLsaBarrierCreateRequirement;
ncclResult_t ncclGinBarrierCreateRequirement(ncclComm_t comm, ncclTeam_t team, int nBarriers,
                                             ncclGinBarrierHandle_t* outHandle,
                                             ncclDevResourceRequirements_t* outReq);
extern __typeof__(ncclGinBarrierCreateRequirement) pncclGinBarrierCreateRequirement;
int ncclLLA2ACalcSlots(int maxElts, int maxEltSize);
extern __typeof__(ncclLLA2ACalcSlots) pncclLLA2ACalcSlots;
ncclResult_t ncclLLA2ACreateRequirement(int nBlocks, int nSlots, ncclLLA2AHandle_t* outHandle,
                                        ncclDevResourceRequirements_t* outReq);
extern __typeof__(ncclLLA2ACreateRequirement) pncclLLA2ACreateRequirement;
ncclResult_t ncclGinInboxA2ACreateRequirement(ncclTeam_t peers, int nBlocks, int size_log2,
                                              ncclGinInboxA2AHandle_t* outHandle,
                                              ncclDevResourceRequirements_t* outReq);
extern __typeof__(ncclGinInboxA2ACreateRequirement) pncclGinInboxA2ACreateRequirement;
ncclResult_t ncclGinOutboxCreateRequirement(int nBlocks, int size_log2,
                                            ncclGinOutboxHandle_t* outHandle,
                                            ncclDevResourceRequirements_t* outReq);
extern __typeof__(ncclGinOutboxCreateRequirement) pncclGinOutboxCreateRequirement;

/* Where a resource lies in the resource window; an inline function of NVIDIA's header. */
size_t ncclGetResourceBufferOffset(ncclDevResourceHandle_t handle);
extern __typeof__(ncclGetResourceBufferOffset) pncclGetResourceBufferOffset;

/* Device addresses of a place in a window: at a peer, at a load/store peer, multicast. */
ncclResult_t ncclGetPeerDevicePointer(ncclWindow_t window, size_t offset, int peer, void** outPtr);
extern __typeof__(ncclGetPeerDevicePointer) pncclGetPeerDevicePointer;
ncclResult_t ncclGetLsaDevicePointer(ncclWindow_t window, size_t offset, int lsaRank,
                                     void** outPtr);
extern __typeof__(ncclGetLsaDevicePointer) pncclGetLsaDevicePointer;
ncclResult_t ncclGetLsaMultimemDevicePointer(ncclWindow_t window, size_t offset, void** outPtr);
extern __typeof__(ncclGetLsaMultimemDevicePointer) pncclGetLsaMultimemDevicePointer;
ncclResult_t ncclGetMultimemDevicePointer(ncclWindow_t window, size_t offset,
                                          ncclMultimemHandle_t multimem, void** outPtr);
extern __typeof__(ncclGetMultimemDevicePointer) pncclGetMultimemDevicePointer;

#ifdef __cplusplus
}
#endif

#endif /* WEFT_NCCL_DEVICE_H_ */
