/* The binary facts of NCCL 2.30's API on x86_64, each compared with our headers when this compiles.
 * Sources: NVIDIA's nccl.h of 2.14 to 2.30 and, for ncclCollConfig_t, 2.31. */
#include <assert.h>
#include <stddef.h>
#include <weft/nccl.h>
#include <weft/nccl_device.h>
#include <weft/weft.h>

#define AT(type, member, offset) \
    static_assert(offsetof(type, member) == (offset), #type "." #member)
#define SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#define IS(name, value) static_assert((long long)(name) == (value), #name)

SIZE(ncclUniqueId, 128);
SIZE(ncclComm_t, sizeof(void*));
SIZE(ncclWindow_t, sizeof(void*));
SIZE(ncclResult_t, 4);
SIZE(ncclDataType_t, 4);
SIZE(ncclRedOp_t, 4);
SIZE(ncclScalarResidence_t, 4);
SIZE(ncclCommMemStat_t, 4);
static_assert(_Alignof(ncclUniqueId) == 1, "passed by value in memory");

IS(ncclSuccess, 0);
IS(ncclUnhandledCudaError, 1);
IS(ncclSystemError, 2);
IS(ncclInternalError, 3);
IS(ncclInvalidArgument, 4);
IS(ncclInvalidUsage, 5);
IS(ncclRemoteError, 6);
IS(ncclInProgress, 7);
IS(ncclTimeout, 8);
IS(ncclNumResults, 9);

IS(ncclInt8, 0);
IS(ncclChar, 0);
IS(ncclUint8, 1);
IS(ncclInt32, 2);
IS(ncclInt, 2);
IS(ncclUint32, 3);
IS(ncclInt64, 4);
IS(ncclUint64, 5);
IS(ncclFloat16, 6);
IS(ncclHalf, 6);
IS(ncclFloat32, 7);
IS(ncclFloat, 7);
IS(ncclFloat64, 8);
IS(ncclDouble, 8);
IS(ncclBfloat16, 9);
IS(ncclFloat8e4m3, 10);
IS(ncclFloat8e5m2, 11);
IS(ncclNumTypes, 12);

IS(ncclSum, 0);
IS(ncclProd, 1);
IS(ncclMax, 2);
IS(ncclMin, 3);
IS(ncclAvg, 4);
IS(ncclNumOps, 5);
IS(ncclMaxRedOp, 0x7fffffff);
IS(ncclScalarDevice, 0);
IS(ncclScalarHostImmediate, 1);

IS(NCCL_UNIQUE_ID_BYTES, 128);
IS(NCCL_API_MAGIC, 0xcafebeef);
IS(NCCL_CONFIG_UNDEF_INT, INT_MIN);
IS(NCCL_SPLIT_NOCOLOR, -1);
IS(NCCL_WIN_DEFAULT, 0);
IS(NCCL_WIN_COLL_SYMMETRIC, 1);
IS(NCCL_WIN_STRICT_ORDERING, 2);
IS(NCCL_WIN_REQUIRED_ALIGNMENT, 4096);
IS(NCCL_CTA_POLICY_DEFAULT, 0);
IS(NCCL_CTA_POLICY_EFFICIENCY, 1);
IS(NCCL_CTA_POLICY_ZERO, 2);
IS(NCCL_SHRINK_DEFAULT, 0);
IS(NCCL_SHRINK_ABORT, 1);
IS(NCCL_REVOKE_DEFAULT, 0);
IS(NCCL_SUSPEND_MEM, 1);
IS(ncclStatGpuMemSuspend, 0);
IS(ncclStatGpuMemSuspended, 1);
IS(ncclStatGpuMemPersist, 2);
IS(ncclStatGpuMemTotal, 3);
IS(NCCL_GIN_TYPE_NONE, 0);
IS(NCCL_GIN_TYPE_PROXY, 2);
IS(NCCL_GIN_TYPE_GDAKI, 3);

IS(NCCL_VERSION(2, 28, 9), 22809);
IS(NCCL_VERSION(2, 9, 6), 20906);
IS(NCCL_VERSION(2, 8, 3), 2803);
IS(NCCL_VERSION_CODE, NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH));

SIZE(ncclConfig_t, 96);
AT(ncclConfig_t, size, 0);
AT(ncclConfig_t, magic, 8);
AT(ncclConfig_t, version, 12);
AT(ncclConfig_t, blocking, 16);
AT(ncclConfig_t, cgaClusterSize, 20);
AT(ncclConfig_t, minCTAs, 24);
AT(ncclConfig_t, maxCTAs, 28);
AT(ncclConfig_t, netName, 32);
AT(ncclConfig_t, splitShare, 40);
AT(ncclConfig_t, trafficClass, 44);
AT(ncclConfig_t, commName, 48);
AT(ncclConfig_t, collnetEnable, 56);
AT(ncclConfig_t, CTAPolicy, 60);
AT(ncclConfig_t, shrinkShare, 64);
AT(ncclConfig_t, nvlsCTAs, 68);
AT(ncclConfig_t, nChannelsPerNetPeer, 72);
AT(ncclConfig_t, nvlinkCentricSched, 76);
AT(ncclConfig_t, graphUsageMode, 80);
AT(ncclConfig_t, numRmaCtx, 84);
AT(ncclConfig_t, maxP2pPeers, 88);
AT(ncclConfig_t, graphStreamOrdering, 92);

SIZE(ncclSimInfo_t, 24);
AT(ncclSimInfo_t, magic, 8);
AT(ncclSimInfo_t, version, 12);
AT(ncclSimInfo_t, estimatedTime, 16);

SIZE(ncclWaitSignalDesc_t, 16);
AT(ncclWaitSignalDesc_t, opCnt, 0);
AT(ncclWaitSignalDesc_t, peer, 4);
AT(ncclWaitSignalDesc_t, sigIdx, 8);
AT(ncclWaitSignalDesc_t, ctx, 12);

SIZE(ncclConfigExt_t, 24);
AT(ncclConfigExt_t, key.vendorId, 8);
AT(ncclConfigExt_t, key.optionId, 12);
AT(ncclConfigExt_t, val, 16);

SIZE(ncclCollConfig_t, 64);
AT(ncclCollConfig_t, ext, 16);
AT(ncclCollConfig_t, minCTAs, 24);
AT(ncclCollConfig_t, maxCTAs, 28);
AT(ncclCollConfig_t, nvlsCTAs, 32);
AT(ncclCollConfig_t, cgaClusterSize, 36);
AT(ncclCollConfig_t, algSelection, 40);
AT(ncclCollConfig_t, forceAlgSelection, 48);
AT(ncclCollConfig_t, CTAPolicy, 52);
AT(ncclCollConfig_t, userProfilerTag, 56);

SIZE(ncclCommProperties_t, 56);
AT(ncclCommProperties_t, rank, 16);
AT(ncclCommProperties_t, nRanks, 20);
AT(ncclCommProperties_t, cudaDev, 24);
AT(ncclCommProperties_t, nvmlDev, 28);
AT(ncclCommProperties_t, deviceApiSupport, 32);
AT(ncclCommProperties_t, multimemSupport, 33);
AT(ncclCommProperties_t, ginType, 36);
AT(ncclCommProperties_t, nLsaTeams, 40);
AT(ncclCommProperties_t, hostRmaSupport, 44);
AT(ncclCommProperties_t, railedGinType, 48);

SIZE(ncclTeam_t, 12);
SIZE(ncclMultimemHandle_t, sizeof(void*));
AT(weftStats_t, size, 0);
AT(weftStats_t, ops, 8);

/* Initialisers are in the order of the members, which only running code can tell. */
int main(void) {
    const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    const int* unset = &config.blocking;
    int wrong = config.size != sizeof config || config.magic != NCCL_API_MAGIC;
    wrong += config.netName != NULL || config.commName != NULL;
    wrong += config.version < NCCL_VERSION_CODE;
    for (int i = 0; i < 4; i++) {
        wrong += unset[i] != INT_MIN;
    }
    wrong += config.splitShare != INT_MIN || config.trafficClass != INT_MIN;
    for (const int* p = &config.collnetEnable; p <= &config.graphStreamOrdering; p++) {
        wrong += *p != INT_MIN;
    }
    const ncclSimInfo_t sim = NCCL_SIM_INFO_INITIALIZER;
    wrong += sim.size != sizeof sim || sim.magic != 0x74685283 || sim.estimatedTime != -1.0f;
    const ncclCollConfig_t coll = NCCL_COLLCONFIG_INITIALIZER;
    wrong += coll.size != sizeof coll || coll.magic != NCCL_API_MAGIC || coll.ext != NULL;
    wrong += coll.minCTAs != INT_MIN || coll.cgaClusterSize != INT_MIN || coll.algSelection != NULL;
    wrong += coll.forceAlgSelection != 1 || coll.CTAPolicy != INT_MIN || coll.userProfilerTag != 0;
    const ncclCommProperties_t properties = NCCL_COMM_PROPERTIES_INITIALIZER;
    wrong += properties.size != sizeof properties || properties.magic != NCCL_API_MAGIC;
    const weftStats_t stats = WEFT_STATS_INITIALIZER;
    wrong += stats.size != sizeof stats || stats.ops != 0 || stats.strangersDropped != 0;
    return wrong;
}
