#include "transports/fabric/inbox.h"

#include <algorithm>

namespace weft::fabric {

std::optional<uint8_t> Inbox::rail_at(uint8_t index) const {
    const auto at = std::find(rails_.begin(), rails_.end(), index);
    if (at == rails_.end()) {
        return std::nullopt;
    }
    return static_cast<uint8_t>(at - rails_.begin());
}

void Inbox::push(Event event, bool ring) {
    {
        std::lock_guard guard(lock_);
        events_.push_back(std::move(event));
        some_.store(true, std::memory_order_release);
    }
    if (ring && doorbell_ != nullptr) {
        Doorbell::ring(*doorbell_->word(), doorbell_->event_fd());
    }
}

void Inbox::swap(std::vector<Event>& events) {
    ASSERT(events.empty());
    if (empty()) {
        return;
    }
    std::lock_guard guard(lock_);
    events_.swap(events);
    some_.store(false, std::memory_order_relaxed);
}

}  // namespace weft::fabric
