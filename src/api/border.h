// The border of the C API: every entry point runs its body through at_border(), where an Error
// becomes a result code and one log line, and no exception passes. Thread-safe.
#pragma once

#include <exception>
#include <new>

#include "include/weft/nccl.h"
#include "src/base/result.h"
#include "src/comm/group.h"
#include "src/comm/process.h"

namespace weft {

// Logs the error unless whoever found it did, and gives its result code.
ncclResult_t error_to_result(const Error& error) noexcept;
constexpr ncclResult_t code_to_result(Code code) {
    switch (code) {
        case Code::system:
            return ncclSystemError;
        case Code::device:
            return ncclUnhandledCudaError;
        case Code::internal:
            return ncclInternalError;
        case Code::invalid_argument:
            return ncclInvalidArgument;
        case Code::invalid_usage:
        case Code::unsupported:
            return ncclInvalidUsage;
        case Code::remote:
        case Code::aborted:
            return ncclRemoteError;
        case Code::in_progress:
            return ncclInProgress;
        case Code::timeout:
            return ncclTimeout;
    }
    return ncclInternalError;
}
constexpr Code result_to_code(ncclResult_t result) {
    switch (result) {
        case ncclSystemError:
            return Code::system;
        case ncclUnhandledCudaError:
            return Code::device;
        case ncclInvalidArgument:
            return Code::invalid_argument;
        case ncclInvalidUsage:
            return Code::invalid_usage;
        case ncclRemoteError:
            return Code::remote;
        case ncclInProgress:
            return Code::in_progress;
        case ncclTimeout:
            return Code::timeout;
        case ncclSuccess:
        case ncclInternalError:
        case ncclNumResults:
            break;
    }
    return Code::internal;
}
Error forked_error();
Error null_error(const char* function, const char* argument);

template <class Body>
ncclResult_t at_border(Body&& body) noexcept {
    try {
        if (Process::forked()) [[unlikely]] {
            return error_to_result(forked_error());
        }
        Result<void> result = body();
        if (result.ok()) [[likely]] {
            return ncclSuccess;
        }
        return error_to_result(result.error());
    } catch (const std::bad_alloc&) {
        return ncclSystemError;
    } catch (const std::exception&) {
        return ncclInternalError;
    }
}

// Passes on what a call returned that takes part in groups: inside one, an error is also what the
// group's end returns, and nothing of the group runs. Which calls do follows NCCL (those that call
// ncclGroupErrCheck in its src/); questions and buffer registration do not.
ncclResult_t grouped(ncclResult_t result) noexcept;

template <class Body>
ncclResult_t at_border_grouped(Body&& body) noexcept {
    return grouped(at_border([&]() -> Result<void> {
        Result<void> result = body();
        if (!result.ok() && result.error().code != Code::in_progress) {
            group_remember(result.error());  // with its text
        }
        return result;
    }));
}

}  // namespace weft
