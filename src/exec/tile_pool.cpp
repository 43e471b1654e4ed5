#include "src/exec/tile_pool.h"

#include <algorithm>
#include <bit>

#include "transports/memory.h"

namespace weft {

namespace {

// Fewer sizes fit each other's tiles more often, and every tile takes a descriptor.
constexpr uint64_t tile_bytes_min = 256 << 10;

}  // namespace

TilePool::~TilePool() {
    scratch_.close();
    if (scratch_.base() != nullptr) {
        (void)shared_free(scratch_.base());
    }
    for (const auto& tile : tiles_) {
        tile->close();
        (void)shared_free(tile->base());
    }
}

Result<ExposedRange*> TilePool::scratch(uint64_t bytes) {
    if (scratch_.bytes() < bytes) {
        void* memory = TRY(shared_alloc(bytes));
        void* old = scratch_.base();
        scratch_ = ExposedRange(memory, bytes);
        if (old != nullptr) {
            TRY(shared_free(old));
        }
    }
    return &scratch_;
}

ExposedRange* TilePool::find(uint64_t bytes) {
    const auto fits = std::ranges::find_if(
        free_, [&](const ExposedRange* range) { return range->bytes() >= bytes; });
    if (fits == free_.end()) {
        return nullptr;
    }
    ExposedRange* range = *fits;
    free_.erase(fits);
    return range;
}

Result<ExposedRange*> TilePool::add(uint64_t bytes) {
    void* memory = TRY(shared_alloc(bytes));
    tiles_.push_back(std::make_unique<ExposedRange>(memory, bytes));
    tile_bytes_ += bytes;
    return tiles_.back().get();
}

Result<ExposedRange*> TilePool::tile(uint64_t bytes) {
    ExposedRange* found = find(bytes);
    return found != nullptr ? found : add(bytes);
}

Result<ExposedRange*> TilePool::tile_staged(uint64_t bytes) {
    ExposedRange* found = find(bytes);
    if (found != nullptr) {
        return found;
    }
    const uint64_t rounded = std::bit_ceil(std::max(bytes, tile_bytes_min));
    if (rounded > staged_bytes_max) {
        return static_cast<ExposedRange*>(nullptr);
    }
    free_drop(staged_bytes_max - rounded);
    return tile_bytes_ + rounded > staged_bytes_max ? static_cast<ExposedRange*>(nullptr)
                                                    : add(rounded);
}

// Tiles too small for what is wanted now make room for it.
void TilePool::free_drop(uint64_t bytes_max) {
    while (tile_bytes_ > bytes_max && !free_.empty()) {
        ExposedRange* range = free_.back();
        free_.pop_back();
        range->release();
        tile_bytes_ -= range->bytes();
        (void)shared_free(range->base());
        std::erase_if(tiles_, [&](const auto& tile) { return tile.get() == range; });
    }
}

void TilePool::give_back(ExposedRange* range) {
    free_.push_back(range);
}

}  // namespace weft
