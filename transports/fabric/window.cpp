#include "transports/fabric/window.h"

namespace weft::fabric {

namespace {
// Long enough that some puts end in it on a slow rail (512 KiB at 250 Mbit/s: 17 ms), short enough
// that a rail which others begin to share is followed within one operation.
constexpr Nanos interval = 100 * nanos_per_ms;
constexpr uint32_t samples_least = 4;
}  // namespace

Window::Mark Window::posted(const WindowSpan& span, uint64_t under_way, uint64_t put_bytes,
                            Nanos now) {
    if (under_way == 0) {
        done_at_ = now;  // the rail was idle until now
    }
    return {done_, done_at_, under_way + put_bytes > bytes(span)};
}

void Window::finished(const WindowSpan& span, const Mark& mark, uint64_t put_bytes, Nanos now) {
    done_ += put_bytes;
    done_at_ = now;
    if (span.worth == 0) {
        return;
    }
    const auto took = static_cast<double>(std::max<Nanos>(now - mark.at, 1));
    const auto done = static_cast<double>(done_ - mark.done);
    sample(static_cast<uint64_t>(done / took * nanos_per_s), mark.full, now);
    const auto rate = static_cast<double>(std::max(best_, best_before_));
    const auto worth = static_cast<double>(span.worth) / nanos_per_s;
    bytes_.store(std::clamp(static_cast<uint64_t>(rate * worth), span.least, span.most),
                 std::memory_order_relaxed);
}

// An interval is over when enough was seen in it of what the rail takes.
void Window::sample(uint64_t per_s, bool full, Nanos now) {
    if (full && samples_ >= samples_least && now - interval_began_ >= interval) {
        best_before_ = best_;
        best_ = 0;
        samples_ = 0;
    }
    if (full && samples_++ == 0) {
        interval_began_ = now;
    }
    best_ = std::max(best_, per_s);
}

}  // namespace weft::fabric
