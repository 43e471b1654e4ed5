#include "src/comm/comm_handle.h"

#include <sched.h>
#include <time.h>

#include "src/base/log.h"

namespace weft {

namespace {

bool looks_like_handle(const ncclComm* handle) {
    return reinterpret_cast<uintptr_t>(handle) % alignof(ncclComm) == 0 &&
           handle->magic == ncclComm::live_magic;
}

}  // namespace

CommRef CommRef::enter_quietly(ncclComm* handle) {
    CommRef ref;
    // The count goes up before the pointer is read, and handle_close() clears the pointer before it
    // reads the count: one of the two sees the other.
    handle->users.fetch_add(1, std::memory_order_seq_cst);
    ref.comm_ = handle->comm.load(std::memory_order_seq_cst);
    if (ref.comm_ == nullptr) {
        handle->users.fetch_sub(1, std::memory_order_release);
    } else {
        ref.handle_ = handle;
    }
    return ref;
}

Result<CommRef> CommRef::enter(ncclComm* handle, const char* function) {
    if (handle == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : comm argument is NULL", function));
    }
    if (!looks_like_handle(handle)) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : comm argument %p is not a communicator", function,
                                 static_cast<void*>(handle)));
    }
    CommRef ref = enter_quietly(handle);
    if (!ref) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : comm %p has already been destroyed", function,
                                 static_cast<void*>(handle)));
    }
    return ref;
}

Communicator* handle_close(ncclComm& handle) {
    return handle.comm.exchange(nullptr, std::memory_order_seq_cst);
}

std::shared_ptr<Communicator> handle_drain(ncclComm& handle) {
    for (int round = 0; handle.users.load(std::memory_order_seq_cst) != 0; round++) {
        if (round < 64) {
            sched_yield();
        } else {
            const timespec pause{0, 100'000};
            nanosleep(&pause, nullptr);
        }
    }
    return std::move(handle.owner);
}

}  // namespace weft
