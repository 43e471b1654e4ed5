"""The functions of NCCL by the release that brought them: NVIDIA/nccl:src/nccl.h.in and
nccl_device headers across its tags up to 2.30.7; the per-call configuration calls of 2.31 from
third-party copies of its header. Patch releases are named where they brought something of their own.
"""

SINCE = {
    "2.3": """GetVersion GetUniqueId CommInitRank CommInitAll CommDestroy GetErrorString CommCount CommCuDevice
        CommUserRank Reduce Bcast Broadcast AllReduce ReduceScatter AllGather GroupStart GroupEnd""",
    "2.4": "CommAbort CommGetAsyncError",
    "2.7": "Send Recv",
    "2.11": "RedOpCreatePreMulSum RedOpDestroy",
    "2.13": "GetLastError",
    "2.14": "CommInitRankConfig CommFinalize",
    "2.18": "CommSplit",
    "2.19": "CommRegister CommDeregister MemAlloc MemFree",
    "2.22": "GroupSimulateEnd",
    "2.23": "CommInitRankScalable",
    "2.24": "ResetDebugInit",
    "2.27": "CommShrink CommWindowRegister CommWindowDeregister",
    "2.28": """AlltoAll Gather Scatter DevCommCreate DevCommDestroy TeamWorld TeamLsa TeamRail TeamRankToWorld
        TeamRankToLsa LsaBarrierCreateRequirement LLA2ACalcSlots LLA2ACreateRequirement GetResourceBufferOffset""",
    "2.28.7": "CommRevoke GinBarrierCreateRequirement",
    "2.29": """CommGetUniqueId CommGrow PutSignal Signal WaitSignal WinGetUserPtr CommQueryProperties
        GetPeerDevicePointer GetLsaDevicePointer GetLsaMultimemDevicePointer GetMultimemDevicePointer""",
    "2.29.7": "CommSuspend CommResume CommMemStats",
    "2.30": """GinInboxA2ACreateRequirement GinOutboxCreateRequirement ParamBind ParamGetI8 ParamGetI16 ParamGetI32
        ParamGetI64 ParamGetU8 ParamGetU16 ParamGetU32 ParamGetU64 ParamGetStr ParamGet ParamGetParameter
        ParamGetAllParameterKeys ParamDumpAll""",
    "2.31": """AllReduceConfig ReduceConfig BroadcastConfig ReduceScatterConfig AllGatherConfig AlltoAllConfig
        GatherConfig ScatterConfig""",
}


def functions():
    """name -> release"""
    return {"nccl" + name: release for release, names in SINCE.items() for name in names.split()}
