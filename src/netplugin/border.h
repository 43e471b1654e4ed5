// The border to NCCL: every function of the tables runs its body through at_border(), where an
// Error becomes a result code and one line, and no exception passes. Thread-safe.
#pragma once

#include <exception>
#include <new>

#include "include/weft/nccl.h"
#include "src/base/log.h"
#include "src/base/result.h"
#include "src/netplugin/process.h"

namespace weft::netplugin {

constexpr ncclResult_t result_of(Code code) {
    switch (code) {
        case Code::invalid_argument:
            return ncclInvalidArgument;
        case Code::invalid_usage:
        case Code::unsupported:
            return ncclInvalidUsage;
        case Code::remote:
        case Code::timeout:
        case Code::aborted:
            return ncclRemoteError;
        case Code::device:
            return ncclUnhandledCudaError;
        case Code::system:
            return ncclSystemError;
        case Code::in_progress:
        case Code::internal:
            break;
    }
    return ncclInternalError;
}

// What was thrown, in a line if there is memory for one.
inline void thrown_say(const char* what) noexcept {
    try {
        log_warn(format("a call of the plugin failed: %s", what));
    } catch (...) {
        return;
    }
}

template <class Body>
ncclResult_t at_border(Body&& body) noexcept {
    if (Process::forked()) [[unlikely]] {
        return ncclInvalidUsage;  // without a line: NCCL's log may be locked in the parent
    }
    try {
        const Result<void> result = body();
        if (result.ok()) [[likely]] {
            return ncclSuccess;
        }
        if (result.error().scope !=
            Scope::communicator) {  // a connection has said it when it ended
            log_warn(result.error().what, result.error().where);
        }
        return result_of(result.error().code);
    } catch (const std::bad_alloc&) {
        thrown_say("no memory is left");
        return ncclSystemError;
    } catch (const std::exception& other) {
        thrown_say(other.what());
        return ncclInternalError;
    }
}

inline Result<void> given(const void* argument, const char* what) {
    if (argument == nullptr) [[unlikely]] {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s: a pointer that must be given is null", what));
    }
    return {};
}

}  // namespace weft::netplugin
