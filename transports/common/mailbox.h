// News for a wire from other threads (another wire's thread, the service thread). Thread rule: push
// from any thread; news and take by the wire's driver. The driver pays one load while there is
// none.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "transports/doorbell.h"

namespace weft {

template <class Event>
class Mailbox {
  public:
    explicit Mailbox(std::shared_ptr<DoorbellPage> bell) : bell_(std::move(bell)) {}

    void push(Event event) {
        {
            const std::lock_guard lock(mutex_);
            events_.push_back(std::move(event));
            news_.store(true, std::memory_order_release);
        }
        Doorbell::ring(*bell_->word, bell_->event.get());
    }

    bool news() const { return news_.load(std::memory_order_acquire); }

    std::vector<Event> take() {
        const std::lock_guard lock(mutex_);
        news_.store(false, std::memory_order_relaxed);
        return std::exchange(events_, {});
    }

    const std::shared_ptr<DoorbellPage>& bell() const { return bell_; }

  private:
    std::mutex mutex_;
    std::vector<Event> events_;
    std::atomic<bool> news_{false};
    // Shared with the Doorbell, whose owner may go before the last pusher does.
    std::shared_ptr<DoorbellPage> bell_;
};

}  // namespace weft
