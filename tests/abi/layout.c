/* Prints what a program compiled against <nccl.h> has built in: sizes, offsets, enum values and
 * initialisers. Compiled once against ours and once against NVIDIA's header; the test compares the
 * lines. ABI_VERSION is the version code of NVIDIA's header. A line that starts with "grows" may be
 * larger on our side, whose structs are those of a later version. */
#include <nccl.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(type))
#define AT(type, member) \
    printf("at %s.%s %zu %zu\n", #type, #member, offsetof(type, member), sizeof(((type*)0)->member))
#define IS(name) printf("value %s %lld\n", #name, (long long)(name))

static void config_print(void) {
    printf("grows size ncclConfig_t %zu\n", sizeof(ncclConfig_t));
    AT(ncclConfig_t, size);
    AT(ncclConfig_t, magic);
    AT(ncclConfig_t, version);
    AT(ncclConfig_t, blocking);
    AT(ncclConfig_t, cgaClusterSize);
    AT(ncclConfig_t, minCTAs);
    AT(ncclConfig_t, maxCTAs);
    AT(ncclConfig_t, netName);
    AT(ncclConfig_t, splitShare);
#if ABI_VERSION >= 22600
    AT(ncclConfig_t, trafficClass);
#endif
#if ABI_VERSION >= 22700
    AT(ncclConfig_t, commName);
    AT(ncclConfig_t, collnetEnable);
    AT(ncclConfig_t, CTAPolicy);
    AT(ncclConfig_t, shrinkShare);
    AT(ncclConfig_t, nvlsCTAs);
#endif
#if ABI_VERSION >= 22800
    AT(ncclConfig_t, nChannelsPerNetPeer);
    AT(ncclConfig_t, nvlinkCentricSched);
#endif
#if ABI_VERSION >= 22900
    AT(ncclConfig_t, graphUsageMode);
    AT(ncclConfig_t, numRmaCtx);
#endif
#if ABI_VERSION >= 23005
    AT(ncclConfig_t, maxP2pPeers);
    AT(ncclConfig_t, graphStreamOrdering);
#endif
    const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    printf("value config.magic %u\n", config.magic);
    printf("value config.blocking %d\n", config.blocking);
    printf("value config.netName %p\n", (const void*)config.netName);
    printf("value config.splitShare %d\n", config.splitShare);
    printf("grows value config.version %u\n", config.version);
}

static void enums_print(void) {
    SIZE(ncclResult_t);
    IS(ncclSuccess);
    IS(ncclUnhandledCudaError);
    IS(ncclSystemError);
    IS(ncclInternalError);
    IS(ncclInvalidArgument);
    IS(ncclInvalidUsage);
    IS(ncclRemoteError);
    IS(ncclInProgress);
    printf("grows value ncclNumResults %d\n", (int)ncclNumResults);
    SIZE(ncclDataType_t);
    IS(ncclInt8);
    IS(ncclChar);
    IS(ncclUint8);
    IS(ncclInt32);
    IS(ncclInt);
    IS(ncclUint32);
    IS(ncclInt64);
    IS(ncclUint64);
    IS(ncclFloat16);
    IS(ncclHalf);
    IS(ncclFloat32);
    IS(ncclFloat);
    IS(ncclFloat64);
    IS(ncclDouble);
    IS(ncclBfloat16);
#if ABI_VERSION >= 22400
    IS(ncclFloat8e4m3);
    IS(ncclFloat8e5m2);
    IS(ncclNumTypes);
#endif
    SIZE(ncclRedOp_t);
    IS(ncclSum);
    IS(ncclProd);
    IS(ncclMax);
    IS(ncclMin);
    IS(ncclAvg);
    IS(ncclNumOps);
    IS(ncclMaxRedOp);
    SIZE(ncclScalarResidence_t);
    IS(ncclScalarDevice);
    IS(ncclScalarHostImmediate);
}

static void constants_print(void) {
    IS(NCCL_UNIQUE_ID_BYTES);
    IS(NCCL_CONFIG_UNDEF_INT);
    IS(NCCL_SPLIT_NOCOLOR);
    IS(NCCL_VERSION(2, 8, 4));
    IS(NCCL_VERSION(2, 9, 6));
    IS(NCCL_VERSION(2, 28, 9));
    IS(NCCL_VERSION(3, 1, 2));
    printf("value NCCL_UNDEF_FLOAT %f\n", (double)NCCL_UNDEF_FLOAT);
    printf("value NCCL_COMM_NULL %p\n", (void*)NCCL_COMM_NULL);
#if ABI_VERSION >= 22700
    IS(NCCL_WIN_DEFAULT);
    IS(NCCL_WIN_COLL_SYMMETRIC);
    IS(NCCL_CTA_POLICY_DEFAULT);
    IS(NCCL_CTA_POLICY_EFFICIENCY);
    IS(NCCL_SHRINK_DEFAULT);
    IS(NCCL_SHRINK_ABORT);
#endif
#if ABI_VERSION >= 22800
    IS(NCCL_WIN_REQUIRED_ALIGNMENT);
    IS(NCCL_CTA_POLICY_ZERO);
#endif
#if ABI_VERSION >= 22807
    IS(NCCL_REVOKE_DEFAULT);
#endif
#if ABI_VERSION >= 22907
    IS(NCCL_SUSPEND_MEM);
    IS(ncclStatGpuMemSuspend);
    IS(ncclStatGpuMemSuspended);
    IS(ncclStatGpuMemPersist);
    IS(ncclStatGpuMemTotal);
#endif
#if ABI_VERSION >= 23000
    IS(ncclTimeout);
#endif
}

int main(void) {
    SIZE(ncclUniqueId);
    SIZE(ncclComm_t);
    config_print();
    enums_print();
    constants_print();
#if ABI_VERSION >= 22200
    SIZE(ncclSimInfo_t);
    AT(ncclSimInfo_t, size);
    AT(ncclSimInfo_t, magic);
    AT(ncclSimInfo_t, version);
    AT(ncclSimInfo_t, estimatedTime);
    const ncclSimInfo_t sim = NCCL_SIM_INFO_INITIALIZER;
    printf("value sim.magic %u\nvalue sim.estimatedTime %f\n", sim.magic,
           (double)sim.estimatedTime);
#endif
#if ABI_VERSION >= 22902
    SIZE(ncclWaitSignalDesc_t);
    AT(ncclWaitSignalDesc_t, opCnt);
    AT(ncclWaitSignalDesc_t, peer);
    AT(ncclWaitSignalDesc_t, sigIdx);
    AT(ncclWaitSignalDesc_t, ctx);
#endif
    return 0;
}
