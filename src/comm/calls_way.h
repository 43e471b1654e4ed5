// The calls of one group in the order in which their parts go: of each collective, then of all
// messages, by peer. Pure. Thread rule: thread-bound. Failure rule: none; the calls were checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "src/comm/message_way.h"
#include "src/exec/engine.h"

namespace weft {

class CallsWay {
  public:
    CallsWay(size_t ranks, const std::vector<Call>& calls) {
        for (const Call& call : calls) {
            if (call.coll == Coll::send_recv) {
                sends_.resize(ranks);
                receives_.resize(ranks);
                const auto peer = static_cast<size_t>(call.root);
                (call.is_send ? sends_ : receives_)[peer].calls.push_back(call);
            } else {
                collectives_.push_back(call);
            }
        }
    }

    // The collective whose parts are next. Null: they are through.
    const Call* collective() const {
        return at_ < collectives_.size() ? &collectives_[at_] : nullptr;
    }
    // Elements of it, and parts, that are cut.
    uint64_t done() const { return done_; }
    uint32_t part() const { return part_; }
    // So many elements more are.
    void cut(uint64_t count) {
        done_ += count;
        part_++;
        if (done_ == collectives_[at_].count) {
            done_ = 0;
            part_ = 0;
            at_++;
        }
    }

    // Of every rank, while messages are not through.
    std::vector<MessageWay>& sends() { return sends_; }
    std::vector<MessageWay>& receives() { return receives_; }
    bool messages_through() const {
        const auto through = [](const MessageWay& way) { return way.through(); };
        return std::ranges::all_of(sends_, through) && std::ranges::all_of(receives_, through);
    }

  private:
    std::vector<Call> collectives_;
    size_t at_ = 0;
    uint64_t done_ = 0;
    uint32_t part_ = 0;
    std::vector<MessageWay> sends_, receives_;  // by peer
};

}  // namespace weft
