#include "transports/fabric/tokens.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft::fabric {

Result<uint32_t> TokenSpace::reserve(uint32_t count) {
    uint32_t wanted = rounded(std::max(count, 1u));
    // From the cursor to the end first, then from the start.
    for (uint32_t from : {cursor_, 0u}) {
        for (auto& [first, width] : free_) {
            uint32_t start = std::max(first, from);
            if (count > token_count_max || start >= first + width ||
                first + width - start < wanted) {
                continue;
            }
            uint32_t head = start - first;
            uint32_t tail = width - head - wanted;
            uint32_t gap = first;
            if (head == 0) {
                free_.erase(gap);
            } else {
                width = head;
            }
            if (tail != 0) {
                free_[start + wanted] = tail;
            }
            cursor_ = start + wanted;
            return start;
        }
    }
    return make_error(Code::system, Scope::communicator,
                      format("no %u consecutive tokens are left of the %u of this process: destroy "
                             "communicators that are not used",
                             count, token_count_max));
}

void TokenSpace::release(uint32_t first, uint32_t count) {
    uint32_t width = rounded(std::max(count, 1u));
    auto next = free_.lower_bound(first);
    if (next != free_.end() && next->first == first + width) {
        width += next->second;
        next = free_.erase(next);
    }
    if (next != free_.begin()) {
        auto previous = std::prev(next);
        if (previous->first + previous->second == first) {
            previous->second += width;
            return;
        }
    }
    free_[first] = width;
}

}  // namespace weft::fabric
