// What an ncclComm_t points to: a place that is never freed and never used again, so that a handle
// kept too long is recognised instead of followed. Thread rule: thread-safe. Lifetime: a CommRef
// keeps the communicator alive; whoever retires a handle waits until no CommRef is left.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "src/base/result.h"

namespace weft {
class Communicator;
}

struct alignas(64) ncclComm {
    static constexpr uint64_t live_magic = 0x5745465443'4f4d4dULL;
    uint64_t magic = live_magic;
    std::atomic<uint32_t> users{0};
    std::atomic<weft::Communicator*> comm{nullptr};  // null: not made yet, or destroyed
    // Shared with callbacks under way; set before `comm`, taken by whoever cleared `comm`.
    std::shared_ptr<weft::Communicator> owner;
};

namespace weft {

class CommRef {
  public:
    // `function` names the API call in the error line. Invalid argument: NULL, not a communicator,
    // destroyed.
    static Result<CommRef> enter(ncclComm* handle, const char* function);
    // The same without an error text.
    static CommRef enter_quietly(ncclComm* handle);
    ~CommRef() { leave(); }
    CommRef(CommRef&& other) noexcept
        : handle_(std::exchange(other.handle_, nullptr)), comm_(other.comm_) {}
    CommRef& operator=(CommRef&& other) noexcept {
        leave();
        handle_ = std::exchange(other.handle_, nullptr);
        comm_ = other.comm_;
        return *this;
    }
    explicit operator bool() const { return handle_ != nullptr; }
    Communicator* operator->() const { return comm_; }
    Communicator& operator*() const { return *comm_; }

  private:
    CommRef() = default;
    void leave() {
        if (handle_ != nullptr) {
            handle_->users.fetch_sub(1, std::memory_order_release);
            handle_ = nullptr;
        }
    }
    ncclComm* handle_ = nullptr;
    Communicator* comm_ = nullptr;
};

// Makes the handle refer to nothing for later calls; null when somebody else did. The caller ends
// what the communicator is doing, then calls handle_drain().
Communicator* handle_close(ncclComm& handle);
// Waits until the calls under way have left, then gives the ownership back.
std::shared_ptr<Communicator> handle_drain(ncclComm& handle);

}  // namespace weft
