// Into which windows a range of memory is cut when it is registered: a NIC takes only so many pages
// in one registration. Windows overlap by the largest grant, so that whatever is granted or put
// lies whole in one of them. Pure; values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace weft::fabric {

inline constexpr uint64_t page_bytes = 4096;

struct WindowLimits {
    uint64_t bytes = 0;    // of one window; a multiple of page_bytes
    uint64_t overlap = 0;  // of neighbours; a multiple of page_bytes, less than `bytes`
};

struct Span {
    std::byte* base = nullptr;
    size_t bytes = 0;
    bool operator==(const Span&) const = default;
};

// Windows start at page boundaries (but the first, which starts where the range does), so that
// none covers more pages than its bytes make.
class WindowGrid {
  public:
    WindowGrid() = default;
    WindowGrid(Span range, const WindowLimits& limits)
        : base_(reinterpret_cast<uintptr_t>(range.base)),
          end_(base_ + range.bytes),
          origin_(base_ / page_bytes * page_bytes),
          window_(limits.bytes),
          step_(limits.bytes - limits.overlap) {}

    uint64_t count() const {
        const uint64_t whole = end_ - origin_;
        return whole <= window_ ? 1 : 1 + (whole - window_ + step_ - 1) / step_;
    }
    // The window that holds what starts at `at` and is no longer than the overlap or the range.
    uint64_t index(const void* at) const {
        return std::min((reinterpret_cast<uintptr_t>(at) - origin_) / step_, count() - 1);
    }
    Span span(uint64_t index) const {
        const uintptr_t at = origin_ + index * step_;
        const uintptr_t from = std::max(at, base_);
        return {reinterpret_cast<std::byte*>(from), std::min(at + window_, end_) - from};
    }

  private:
    uintptr_t base_ = 0, end_ = 0, origin_ = 0;
    uint64_t window_ = 0, step_ = 1;
};

}  // namespace weft::fabric
