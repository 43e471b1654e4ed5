#include "transports/fabric/inbox.h"

namespace weft::fabric {

void Inbox::push(Event event, bool ring) {
    {
        std::lock_guard guard(lock_);
        events_.push_back(std::move(event));
    }
    if (ring && doorbell_ != nullptr) {
        Doorbell::ring(*doorbell_->word(), doorbell_->event_fd());
    }
}

bool Inbox::empty() const {
    std::lock_guard guard(lock_);
    return events_.empty();
}

void Inbox::swap(std::vector<Event>& events) {
    ASSERT(events.empty());
    std::lock_guard guard(lock_);
    events_.swap(events);
}

}  // namespace weft::fabric
