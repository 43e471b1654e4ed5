// A completion queue: bounded, and what does not fit is lost, as on the device.
// Thread rule: thread-safe; pushed by the node, polled by the application. Never fails.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>

#include "tools/efa_device/core/packet.h"

namespace weft::efa {

enum class Operation : uint8_t { send, write, read, receive, receive_write };

struct Completion {
    uint64_t wr_id = 0;
    Status status = Status::ok;
    Operation operation = Operation::send;
    bool has_immediate = false;
    bool unsolicited = false;  // no receive was consumed
    uint32_t immediate = 0;
    uint32_t bytes = 0;  // of a receive
    uint32_t qpn = 0;
    uint32_t source_qpn = 0;
    uint16_t ah = ah_unknown;  // the local number of the sender's NIC
    Gid source{};
};

class CompletionQueue {
  public:
    explicit CompletionQueue(uint32_t capacity) : capacity_(capacity) {}

    // False: full, and the completion is lost.
    bool push(const Completion& completion) {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= capacity_) {
            return false;
        }
        queue_.push_back(completion);
        size_.store(queue_.size(), std::memory_order_release);
        return true;
    }

    bool pop(Completion& completion) {
        if (size_.load(std::memory_order_acquire) == 0) {
            return false;
        }
        const std::lock_guard lock(mutex_);
        if (queue_.empty()) {
            return false;
        }
        completion = queue_.front();
        queue_.pop_front();
        size_.store(queue_.size(), std::memory_order_release);
        return true;
    }

    // A queue pair that is destroyed takes its completions with it.
    void forget(uint32_t qpn) {
        const std::lock_guard lock(mutex_);
        std::erase_if(queue_, [qpn](const Completion& c) { return c.qpn == qpn; });
        size_.store(queue_.size(), std::memory_order_release);
    }

  private:
    const uint32_t capacity_;
    std::mutex mutex_;
    std::atomic<size_t> size_{0};
    std::deque<Completion> queue_;
};

}  // namespace weft::efa
