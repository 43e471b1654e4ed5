// How many bytes may be under way on one rail to one peer when another put is posted there: what
// the rail takes in a given time. Where packets stay in order, small messages (grants) wait behind
// all of them, so a slow rail may hold no more time's worth than a fast one; and each holds enough
// that the sender need not be back at once. One put may always be under way.
//
// The rate is measured as BBR measures it (Cardwell et al., ACM Queue 14(5), 2016): for each put,
// the bytes that were done between its posting and its end, over that time; of these the largest of
// the last intervals counts. Puts that did not fill the window say how much was asked for, not how
// much the rail takes: they may raise the rate and never let it age. Nor does idleness.
//
// Thread rule: every method under the rail's lock; bytes() is for any thread. Failure rule: none.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "src/base/clock.h"

namespace weft::fabric {

struct WindowSpan {
    uint64_t least = 0, first = 0, most = 0;
    Nanos worth = 0;  // of what the rail takes; 0: `first` for ever
};

class Window {
  public:
    // Travels with a put.
    struct Mark {
        uint64_t done = 0;
        Nanos at = 0;
        bool full = false;
    };
    // `under_way`: before this put of `bytes`.
    Mark posted(const WindowSpan& span, uint64_t under_way, uint64_t bytes, Nanos now);
    void finished(const WindowSpan& span, const Mark& mark, uint64_t bytes, Nanos now);
    uint64_t bytes(const WindowSpan& span) const {
        const uint64_t known = bytes_.load(std::memory_order_relaxed);
        return known == 0 ? span.first : known;
    }

  private:
    void sample(uint64_t per_s, bool full, Nanos now);

    std::atomic<uint64_t> bytes_{0};  // 0: nothing has been measured
    uint64_t done_ = 0;               // of all puts
    Nanos done_at_ = 0;
    // The largest rate of the interval and of the one before, in bytes a second.
    uint64_t best_ = 0, best_before_ = 0;
    Nanos interval_began_ = 0;
    uint32_t samples_ = 0;  // in the interval, of full windows
};

}  // namespace weft::fabric
