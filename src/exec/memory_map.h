// Which region of which wire stands for the memory an op touches. Regions are made when first
// needed and closed with the op. Thread rule: thread-bound to the shard's driver. Lifetime: wires
// are borrowed for life.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/base/result.h"
#include "transports/wire.h"

namespace weft {

// One range of memory, exposed lazily on each wire that needs it.
class ExposedRange {
  public:
    ExposedRange() = default;
    ExposedRange(void* base, size_t bytes) : base_(static_cast<std::byte*>(base)), bytes_(bytes) {}
    ExposedRange(ExposedRange&& other) noexcept
        : base_(other.base_), bytes_(other.bytes_), entries_(std::move(other.entries_)) {
        other.entries_.clear();
    }
    ExposedRange& operator=(ExposedRange&& other) noexcept {
        if (this != &other) {
            close();
            base_ = other.base_;
            bytes_ = other.bytes_;
            entries_ = std::move(other.entries_);
            other.entries_.clear();
        }
        return *this;
    }
    ~ExposedRange() { close(); }

    std::byte* base() const { return base_; }
    size_t bytes() const { return bytes_; }
    bool contains(const void* at) const { return at >= base_ && at < base_ + bytes_; }
    Result<Region> region(Wire* wire) {
        for (const Entry& entry : entries_) {
            if (entry.wire == wire) {
                return entry.region;
            }
        }
        const Region region = TRY(wire->expose(base_, bytes_));
        entries_.push_back({wire, region});
        return region;
    }
    // After return no peer reaches the range.
    void close() {
        for (const Entry& entry : entries_) {
            entry.wire->conceal(entry.region);
        }
        entries_.clear();
    }
    // The same where every grant of it is filled and every put from it delivered.
    void release() {
        for (const Entry& entry : entries_) {
            entry.wire->release(entry.region);
        }
        entries_.clear();
    }

  private:
    struct Entry {
        Wire* wire;
        Region region;
    };
    std::byte* base_ = nullptr;
    size_t bytes_ = 0;
    std::vector<Entry> entries_;
};

}  // namespace weft
