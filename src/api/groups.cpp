// Groups, reduction operators and registered buffers.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/communicator.h"

using weft::at_border;
using weft::at_border_grouped;
using weft::Code;
using weft::CommRef;
using weft::DataType;
using weft::format;
using weft::group_end;
using weft::group_simulate_end;
using weft::group_start;
using weft::make_error;
using weft::null_error;
using weft::Result;
using weft::Scope;
using weft::settings;

// ---- groups

NCCL_ENTRY(ncclResult_t, GroupStart, void) {
    return at_border([]() -> Result<void> {
        group_start();
        LOG(trace, call, "ncclGroupStart()");
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, GroupEnd, void) {
    return at_border([] {
        LOG(trace, call, "ncclGroupEnd()");
        return group_end();
    });
}

NCCL_ENTRY(ncclResult_t, GroupSimulateEnd, ncclSimInfo_t* simInfo) {
    return at_border([&]() -> Result<void> {
        constexpr unsigned int sim_magic = 0x74685283;
        if (simInfo != nullptr && simInfo->magic != sim_magic) {
            return make_error(Code::invalid_argument, Scope::call,
                              "ncclSimInfo_t argument not initialized via "
                              "NCCL_SIM_INFO_INITIALIZER");
        }
        const float estimate_us = TRY(group_simulate_end());
        constexpr size_t end = offsetof(ncclSimInfo_t, estimatedTime) + sizeof estimate_us;
        if (simInfo != nullptr && simInfo->size >= end) {
            simInfo->estimatedTime = estimate_us;
        }
        return {};
    });
}

// ---- reduction operators

NCCL_ENTRY(ncclResult_t, RedOpCreatePreMulSum, ncclRedOp_t* op, void* scalar,
           ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "ncclRedOpCreatePreMulSum";
        const CommRef held = TRY(CommRef::enter(comm, function));
        TRY(held->usable());
        if (op == nullptr || scalar == nullptr) {
            return null_error(function, op == nullptr ? "op" : "scalar");
        }
        if (datatype < 0 || datatype >= ncclNumTypes) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("%s : invalid type %d", function, datatype));
        }
        if (residence != ncclScalarDevice && residence != ncclScalarHostImmediate) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("%s : invalid residence %d", function, residence));
        }
        *op = static_cast<ncclRedOp_t>(held->operators().create(
            static_cast<DataType>(datatype), scalar, residence == ncclScalarHostImmediate));
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, RedOpDestroy, ncclRedOp_t op, ncclComm_t comm) {
    return at_border([&]() -> Result<void> {
        const CommRef held = TRY(CommRef::enter(comm, "ncclRedOpDestroy"));
        return held->operators().destroy(op);
    });
}

// ---- buffers

NCCL_ENTRY(ncclResult_t, CommRegister, const ncclComm_t comm, void* buff, size_t size,
           void** handle) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "ncclCommRegister";
        const CommRef held = TRY(CommRef::enter(comm, function));
        TRY(held->settled());
        if (handle == nullptr || buff == nullptr) {
            return null_error(function, handle == nullptr ? "handle" : "buff");
        }
        if (size == 0) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("%s : size is 0", function));
        }
        *handle = nullptr;
        if (settings().local_register) {
            *handle = TRY(held->buffer_register(buff, size));
        }
        LOG(info, reg, "%s comm %p buffer %p size %zu", function, static_cast<void*>(comm), buff,
            size);
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, CommDeregister, const ncclComm_t comm, void* handle) {
    return at_border([&]() -> Result<void> {
        const CommRef held = TRY(CommRef::enter(comm, "ncclCommDeregister"));
        return handle == nullptr ? Result<void>() : held->buffer_deregister(handle);
    });
}
