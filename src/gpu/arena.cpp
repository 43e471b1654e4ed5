#include "src/gpu/arena.h"

#include <algorithm>
#include <iterator>

#include "src/base/result.h"

namespace weft::gpu {

Arena::Arena(void* begin, size_t bytes) {
    free_.emplace(static_cast<char*>(begin), bytes / unit * unit);
}

void* Arena::take(size_t bytes) {
    const size_t wanted = std::max<size_t>(bytes + unit - 1, unit) / unit * unit;
    const auto found = std::find_if(free_.begin(), free_.end(),
                                    [&](const auto& part) { return part.second >= wanted; });
    if (found == free_.end()) {
        return nullptr;
    }
    const auto [at, size] = *found;
    free_.erase(found);
    if (size > wanted) {
        free_.emplace(at + wanted, size - wanted);
    }
    taken_.emplace(at, wanted);
    return at;
}

void Arena::give_back(void* part) {
    const auto found = taken_.find(static_cast<char*>(part));
    ASSERT(found != taken_.end());
    auto [at, size] = *found;
    taken_.erase(found);
    const auto after = free_.lower_bound(at);
    if (after != free_.end() && after->first == at + size) {
        size += after->second;
        free_.erase(after);
    }
    const auto next = free_.lower_bound(at);
    if (next != free_.begin()) {
        const auto before = std::prev(next);
        if (before->first + before->second == at) {
            before->second += size;
            return;
        }
    }
    free_.emplace(at, size);
}

size_t Arena::bytes_free() const {
    size_t bytes = 0;
    for (const auto& part : free_) {
        bytes += part.second;
    }
    return bytes;
}

}  // namespace weft::gpu
