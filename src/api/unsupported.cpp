// Entry points that a communicator on host memory refuses, or answers with the little there is to
// say. docs/COMPAT.md lists them.
#include <string>

#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/api/refuse.h"

using weft::grouped;
using weft::null_argument;
using weft::refuse;
using weft::refuse_on;
using weft::reject;

// ---- logging

NCCL_ENTRY(void, ResetDebugInit, void) {
    refuse({"ncclResetDebugInit", "settings are read once per process",
            "set them before the first call"});
}

// NVIDIA's 2.28 library exports this name too, undeclared.
extern "C" __attribute__((visibility("default"), weak, alias("pncclResetDebugInit"))) void
ncclResetDebugInitInternal(void);

// ---- communicators that change

NCCL_ENTRY(ncclResult_t, CommGetUniqueId, ncclComm_t comm, ncclUniqueId* uniqueId) {
    if (uniqueId == nullptr) {
        return null_argument("ncclCommGetUniqueId", "uniqueId");
    }
    return refuse_on(comm, {"ncclCommGetUniqueId", "communicators do not grow",
                            "make a new one with ncclGetUniqueId and ncclCommInitRank"});
}

// New ranks call it with a NULL communicator, so only the result's place can be wrong.
NCCL_ENTRY(ncclResult_t, CommGrow, ncclComm_t comm, int, const ncclUniqueId*, int,
           ncclComm_t* newcomm, ncclConfig_t*) {
    if (newcomm == nullptr) {
        return grouped(null_argument("ncclCommGrow", "newcomm"));
    }
    *newcomm = nullptr;
    const weft::Refusal refusal{"ncclCommGrow", "communicators do not grow",
                                "make a new one with ncclGetUniqueId and ncclCommInitRank"};
    return grouped(comm == nullptr ? refuse(refusal) : refuse_on(comm, refusal));
}

// A NULL communicator is a success, as for ncclCommAbort (NCCL 2.28).
NCCL_ENTRY(ncclResult_t, CommRevoke, ncclComm_t comm, int) {
    if (comm == nullptr) {
        return ncclSuccess;
    }
    return grouped(
        refuse_on(comm, {"ncclCommRevoke", "operations are not ended one communicator at a time",
                         "use ncclCommShrink with NCCL_SHRINK_ABORT, or ncclCommAbort"}));
}

NCCL_ENTRY(ncclResult_t, CommSuspend, ncclComm_t comm, int) {
    return grouped(refuse_on(comm, {"ncclCommSuspend", "the communicator holds no device memory",
                                    "there is nothing to give back, leave the call out"}));
}

NCCL_ENTRY(ncclResult_t, CommResume, ncclComm_t comm) {
    return grouped(refuse_on(
        comm, {"ncclCommResume", "the communicator was not suspended", "leave the call out"}));
}

// All four are device memory figures, of which a communicator on host memory has none.
NCCL_ENTRY(ncclResult_t, CommMemStats, ncclComm_t comm, ncclCommMemStat_t stat, uint64_t* value) {
    if (value == nullptr) {
        return null_argument("ncclCommMemStats", "value");
    }
    if (stat < ncclStatGpuMemSuspend || stat > ncclStatGpuMemTotal) {
        return reject(ncclInvalidArgument,
                      {"ncclCommMemStats: stat ", std::to_string(stat), " is not 0 to 3"});
    }
    int rank_count = 0;
    const ncclResult_t usable = pncclCommCount(comm, &rank_count);
    if (usable == ncclSuccess) {
        *value = 0;
    }
    return usable;
}

// ---- one-sided calls

NCCL_ENTRY(ncclResult_t, PutSignal, const void*, size_t, ncclDataType_t, int, ncclWindow_t, size_t,
           int, int, unsigned int, ncclComm_t comm, cudaStream_t) {
    return grouped(
        refuse_on(comm, {"ncclPutSignal", "one-sided writes need windows in device memory",
                         "use ncclSend and ncclRecv"}));
}

NCCL_ENTRY(ncclResult_t, Signal, int, int, int, unsigned int, ncclComm_t comm, cudaStream_t) {
    return grouped(refuse_on(comm, {"ncclSignal", "signals need windows in device memory",
                                    "use ncclSend and ncclRecv with a count of 0"}));
}

NCCL_ENTRY(ncclResult_t, WaitSignal, int, ncclWaitSignalDesc_t*, ncclComm_t comm, cudaStream_t) {
    return grouped(refuse_on(comm, {"ncclWaitSignal", "signals need windows in device memory",
                                    "use ncclSend and ncclRecv with a count of 0"}));
}

// ---- parameters

namespace {

constexpr std::string_view param_why = "settings are not read through this interface";
constexpr std::string_view param_instead = "docs/SETTINGS.md lists them";

// No handle is ever given out, so a read by handle can only hold a wrong one.
ncclResult_t param_read_refuse(std::string_view function, ncclParamHandle_t handle,
                               const void* out) noexcept {
    if (handle == nullptr || out == nullptr) {
        return null_argument(function, handle == nullptr ? "h" : "out");
    }
    return refuse({function, param_why, param_instead});
}

}  // namespace

NCCL_ENTRY(ncclResult_t, ParamBind, ncclParamHandle_t* out, const char* key) {
    if (out == nullptr || key == nullptr) {
        return null_argument("ncclParamBind", out == nullptr ? "out" : "key");
    }
    *out = nullptr;
    return refuse({"ncclParamBind", param_why, param_instead});
}

NCCL_ENTRY(ncclResult_t, ParamGetI8, ncclParamHandle_t h, int8_t* out) {
    return param_read_refuse("ncclParamGetI8", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetI16, ncclParamHandle_t h, int16_t* out) {
    return param_read_refuse("ncclParamGetI16", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetI32, ncclParamHandle_t h, int32_t* out) {
    return param_read_refuse("ncclParamGetI32", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetI64, ncclParamHandle_t h, int64_t* out) {
    return param_read_refuse("ncclParamGetI64", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetU8, ncclParamHandle_t h, uint8_t* out) {
    return param_read_refuse("ncclParamGetU8", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetU16, ncclParamHandle_t h, uint16_t* out) {
    return param_read_refuse("ncclParamGetU16", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetU32, ncclParamHandle_t h, uint32_t* out) {
    return param_read_refuse("ncclParamGetU32", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetU64, ncclParamHandle_t h, uint64_t* out) {
    return param_read_refuse("ncclParamGetU64", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGetStr, ncclParamHandle_t h, const char** out) {
    return param_read_refuse("ncclParamGetStr", h, out);
}

NCCL_ENTRY(ncclResult_t, ParamGet, ncclParamHandle_t h, void* out, int, int* len) {
    return param_read_refuse("ncclParamGet", h, len == nullptr ? nullptr : out);
}

NCCL_ENTRY(ncclResult_t, ParamGetParameter, const char* key, const char** value, int* valueLen) {
    if (key == nullptr || value == nullptr || valueLen == nullptr) {
        return null_argument("ncclParamGetParameter", key == nullptr     ? "key"
                                                      : value == nullptr ? "value"
                                                                         : "valueLen");
    }
    return refuse({"ncclParamGetParameter", param_why, param_instead});
}

NCCL_ENTRY(ncclResult_t, ParamGetAllParameterKeys, const char*** table, int* tableLen) {
    if (table == nullptr || tableLen == nullptr) {
        return null_argument("ncclParamGetAllParameterKeys",
                             table == nullptr ? "table" : "tableLen");
    }
    return refuse({"ncclParamGetAllParameterKeys", param_why, param_instead});
}

NCCL_ENTRY(void, ParamDumpAll, void) {
    refuse({"ncclParamDumpAll", param_why, param_instead});
}
