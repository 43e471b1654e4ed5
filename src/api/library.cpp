// Version, error texts, memory: what needs no communicator.
#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/memory.h"

using weft::at_border;
using weft::null_error;
using weft::Result;

NCCL_ENTRY(ncclResult_t, GetVersion, int* version) {
    return at_border([&]() -> Result<void> {
        if (version == nullptr) {
            return null_error("ncclGetVersion", "version");
        }
        *version = NCCL_VERSION_CODE;
        return {};
    });
}

NCCL_ENTRY(const char*, GetErrorString, ncclResult_t result) {
    switch (result) {
        case ncclSuccess:
            return "no error";
        case ncclUnhandledCudaError:
            return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
        case ncclSystemError:
            return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
        case ncclInternalError:
            return "internal error - please report this issue to the NCCL developers";
        case ncclInvalidArgument:
            return "invalid argument (run with NCCL_DEBUG=WARN for details)";
        case ncclInvalidUsage:
            return "invalid usage (run with NCCL_DEBUG=WARN for details)";
        case ncclRemoteError:
            return "remote process exited or there was a network error";
        case ncclInProgress:
            return "NCCL operation in progress";
        case ncclTimeout:
            return "timeout";
        case ncclNumResults:
            break;
    }
    return "unknown result code";
}

NCCL_ENTRY(const char*, GetLastError, ncclComm_t) {
    return weft::log_last_error();
}

NCCL_ENTRY(ncclResult_t, MemAlloc, void** ptr, size_t size) {
    return at_border([&]() -> Result<void> {
        if (ptr == nullptr) {
            return null_error("ncclMemAlloc", "ptr");
        }
        *ptr = nullptr;
        *ptr = TRY(weft::memory_alloc(size));
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, MemFree, void* ptr) {
    return at_border([&] { return weft::memory_free(ptr); });
}
