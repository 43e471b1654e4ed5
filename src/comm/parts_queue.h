// Parts of one launch on their way: in as early as their slots allow, out in turn. A part has
// `slot`, and `alone` where it goes in only when all before it are out. Out takes `outs` steps,
// each of which may wait for what other ranks do in the one before. The side is told when all are
// enqueued.
// Ranks that cut alike take the same steps, so one thread may enqueue those of several, a
// step of each in turn, on one stream. Thread rule: as DeviceStreamed::Parts. Lifetime: the side is
// borrowed for it. Failure rule: Result.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "src/comm/device_streamed.h"

namespace weft {

template <class Side, class Cut>
class PartsQueue : public DeviceStreamed::Parts {
  public:
    using Lane = DeviceStreamed::Lane;
    PartsQueue(Side& side, Cut cut, const Lane& lane)
        : side_(side), cut_(std::move(cut)), lane_(lane), next_(cut_.next()) {}

    Result<bool> step() override {
        if (next_ && fits()) {
            Part part = *std::exchange(next_, cut_.next());
            TRY(side_.part_in(part, lane_));
            under_way_.push_back(std::move(part));
            return true;
        }
        if (under_way_.empty()) {
            side_.parts_over(lane_);
            return false;
        }
        const Part& part = under_way_.front();
        TRY(side_.part_out(part, out_, lane_));
        if (++out_ == part.outs()) {
            under_way_.pop_front();
            out_ = 0;
        }
        return true;
    }

  private:
    using Part = typename decltype(std::declval<Cut&>().next())::value_type;
    bool fits() const {
        return under_way_.empty() ||
               (!next_->alone && std::ranges::none_of(under_way_, [this](const Part& other) {
                   return other.slot == next_->slot;
               }));
    }

    Side& side_;
    Cut cut_;
    const Lane lane_;
    std::optional<Part> next_;
    std::deque<Part> under_way_;  // in, not yet out
    uint32_t out_ = 0;            // step of the first
};

}  // namespace weft
