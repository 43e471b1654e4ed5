// In which order the stages of parts go on a stream. A stream takes one thing after the other, so
// what waits for another host must not stand before what could go on: parts are staggered, each a
// step behind the one before, and what was asked of other hosts is waited for some steps later.
// How follows from the parts alone, so ranks whose parts have the same stages take the same steps
// in the same order, and none waits for what a peer has behind what waits for it. Pure. Thread
// rule: thread-bound. Failure rule: none.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "src/comm/hosts_cut.h"

namespace weft {

class HostsOrder {
  public:
    explicit HostsOrder(HostsCut cut) : cut_(std::move(cut)), next_(cut_.next()) {}

    struct Step {
        uint64_t number = 0;  // of the part, in this order
        const HostsPart* part = nullptr;
        const HostsStage* stage = nullptr;
    };
    // Good until the next call.
    std::optional<Step> next() {
        std::erase_if(under_way_,
                      [](const UnderWay& one) { return one.at == one.part.stages.size(); });
        const auto first = std::ranges::min_element(under_way_, {}, &UnderWay::due);
        if (next_ && fits() && (first == under_way_.end() || enters_ < first->due)) {
            now_ = std::max(now_, enters_);
            enters_ = now_ + 1;
            under_way_.push_back({count_++, *std::exchange(next_, cut_.next())});
            return step(under_way_.back());
        }
        if (first == under_way_.end()) {
            return {};
        }
        now_ = std::max(now_, first->due);
        return step(*first);
    }

  private:
    // Steps between what asks another host for something and what waits for it.
    static constexpr uint64_t lag = 2;
    struct UnderWay {
        uint64_t number = 0;
        HostsPart part;
        size_t at = 0;  // stage
        uint64_t due = 0;
    };

    bool fits() const {
        return under_way_.empty() ||
               (!next_->alone && std::ranges::none_of(under_way_, [this](const UnderWay& other) {
                   return other.part.alone || other.part.slot == next_->slot;
               }));
    }
    Step step(UnderWay& one) {
        const HostsStage& stage = one.part.stages[one.at++];
        const bool waits = one.at < one.part.stages.size() && one.part.stages[one.at].exchanged;
        one.due = now_ + (waits ? lag : 1);
        return {one.number, &one.part, &stage};
    }

    HostsCut cut_;
    std::optional<HostsPart> next_;
    std::deque<UnderWay> under_way_;
    uint64_t now_ = 0, enters_ = 0, count_ = 0;
};

}  // namespace weft
