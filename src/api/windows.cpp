// Windows: equal buffers of all ranks that reach each other's device memory
// (src/comm/window_job.h). On other communicators there are none, which NCCL says by success with a
// NULL window.
#include <cstddef>

#include "include/weft/nccl.h"
#include "include/weft/nccl_device.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/lifecycle.h"

using weft::at_border;
using weft::at_border_grouped;
using weft::BoardWindow;
using weft::Code;
using weft::CommRef;
using weft::format;
using weft::make_error;
using weft::null_error;
using weft::Process;
using weft::Result;
using weft::Scope;

NCCL_ENTRY(ncclResult_t, CommWindowRegister, ncclComm_t comm, void* buff, size_t size,
           ncclWindow_t* win, int winFlags) {
    return at_border_grouped([&]() -> Result<void> {
        constexpr const char* function = "ncclCommWindowRegister";
        bool windows = false;
        {
            const CommRef held = TRY(CommRef::enter(comm, function));
            TRY(held->settled());
            const auto side = held->device_streamed();
            windows = side != nullptr && side->windows() != nullptr;
        }
        if (win == nullptr || buff == nullptr) {
            return null_error(function, win == nullptr ? "win" : "buff");
        }
        if (size == 0) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("%s : size is 0", function));
        }
        *win = nullptr;
        LOG(info, reg, "%s comm %p buffer %p size %zu flags 0x%x%s", function,
            static_cast<void*>(comm), buff, size, static_cast<unsigned>(winFlags),
            windows ? "" : ": no windows here");
        const bool symmetric = (winFlags & NCCL_WIN_COLL_SYMMETRIC) != 0;
        return windows ? weft::comm_window_register(
                             comm, {reinterpret_cast<uint64_t>(buff), size, symmetric}, win)
                       : Result<void>();
    });
}

NCCL_ENTRY(ncclResult_t, CommWindowDeregister, ncclComm_t comm, ncclWindow_t win) {
    return at_border([&]() -> Result<void> {
        const CommRef held = TRY(CommRef::enter(comm, "ncclCommWindowDeregister"));
        return win == nullptr ? Result<void>() : held->window_deregister(win);
    });
}

namespace {

// Shared: it may be deregistered meanwhile.
Result<std::shared_ptr<BoardWindow>> window_find(const char* function, ncclWindow_t window,
                                                 void** out) {
    if (window == nullptr || out == nullptr) {
        return null_error(function, window == nullptr ? "window" : "outPtr");
    }
    auto found = Process::get().windows().find(window);
    if (found == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : %p is no window that ncclCommWindowRegister made", function,
                                 static_cast<void*>(window)));
    }
    return found;
}

Result<void> address_give(const char* function, const BoardWindow& window, size_t offset, int peer,
                          void** out) {
    if (offset >= window.range().bytes) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : offset %zu, the window has %llu bytes", function, offset,
                                 static_cast<unsigned long long>(window.range().bytes)));
    }
    *out = reinterpret_cast<void*>(window.address_of(peer) + offset);
    return {};
}

weft::Error peer_error(const char* function, int peer, int count) {
    return make_error(Code::invalid_argument, Scope::call,
                      format("%s : rank %d, there are 0 to %d", function, peer, count - 1));
}

}  // namespace

NCCL_ENTRY(ncclResult_t, WinGetUserPtr, ncclComm_t comm, ncclWindow_t win, void** outUserPtr) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "ncclWinGetUserPtr";
        const CommRef held = TRY(CommRef::enter(comm, function));
        const auto window = TRY(window_find(function, win, outUserPtr));
        *outUserPtr = reinterpret_cast<void*>(window->range().address);
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, GetPeerDevicePointer, ncclWindow_t window, size_t offset, int peer,
           void** outPtr) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "ncclGetPeerDevicePointer";
        const auto found = TRY(window_find(function, window, outPtr));
        if (peer < 0 || peer >= found->rank_count()) {
            return peer_error(function, peer, found->rank_count());
        }
        return address_give(function, *found, offset, peer, outPtr);
    });
}

// The load/store team is this rank alone (device_host.cpp).
NCCL_ENTRY(ncclResult_t, GetLsaDevicePointer, ncclWindow_t window, size_t offset, int lsaRank,
           void** outPtr) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "ncclGetLsaDevicePointer";
        const auto found = TRY(window_find(function, window, outPtr));
        if (lsaRank != 0) {
            return peer_error(function, lsaRank, 1);
        }
        return address_give(function, *found, offset, found->rank(), outPtr);
    });
}
