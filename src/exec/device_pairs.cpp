// Sends and receives as device programs: a receive hands its address over on a card, the sender
// copies there, and only then is anything waited for.
#include <algorithm>
#include <bit>
#include <limits>

#include "src/base/log.h"
#include "src/exec/device_program.h"
#include "src/exec/fingerprint.h"

namespace weft {

using gpu::Base;
using gpu::base_number;
using gpu::Layout;
using gpu::Word;
using gpu::device::Do;
using gpu::device::Row;

namespace {

// Of a receive: its address and arguments. Of a send, two more that are heard: the same of the
// receive.
constexpr size_t bases_of(const DevicePair& pair) {
    return pair.is_send ? 4 : 2;
}

// Three steps and two operands of a send may all be in one lane.
constexpr size_t pairs_max = std::min(gpu::device::steps_max / 3, gpu::device::operands_max / 2);

class PairLowering {
  public:
    PairLowering(std::span<const DevicePair> pairs, uint32_t rank, const Layout& layout)
        : pairs_(pairs), rank_(rank), layout_(layout) {}

    DevicePairs lower(uint32_t lanes_max) {
        ASSERT(std::ranges::none_of(pairs_,
                                    [&](const DevicePair& pair) { return pair.peer == rank_; }));
        bases_add();
        std::vector<DeviceLane> sends(lanes_max);
        DeviceLane cards, receives;
        uint32_t next = 0;
        for (uint32_t peer = 0; peer < layout_.rank_count(); peer++) {
            if (sends_add(sends[next % lanes_max], peer)) {
                next++;
            }
            receives_add(cards, receives, peer);
        }
        sends.resize(std::min(next, lanes_max));
        out_.sends.lanes = std::move(sends);
        if (!cards.steps.empty()) {
            out_.cards.lanes.push_back(std::move(cards));
            out_.receives.lanes.push_back(std::move(receives));
        }
        for (DeviceProgram* program : {&out_.cards, &out_.sends, &out_.receives}) {
            program->tile_bytes = std::numeric_limits<uint64_t>::max();
        }
        return std::move(out_);
    }

  private:
    uint16_t base(size_t pair) const {
        return static_cast<uint16_t>(3 * layout_.rank_count() + bases_[pair]);
    }

    void bases_add() {
        for (const DevicePair& pair : pairs_) {
            bases_.push_back(out_.more.size());
            out_.more.push_back(reinterpret_cast<uint64_t>(pair.is_send ? pair.send : pair.recv));
            out_.more.push_back(
                args_pack(Coll::send_recv, pair.bytes, DataType::uint8, RedOp::sum, 0).packed);
            out_.more.resize(bases_.back() + bases_of(pair));
        }
    }

    gpu::device::Step card_step(Do what, size_t index, uint32_t at) const {
        const uint32_t peer = pairs_[index].peer;
        gpu::device::Step made{};
        made.what = what;
        made.operand = base_number(Base::memory, what == Do::tell ? peer : rank_);
        made.operand_count = layout_.pair_card_place(what == Do::tell ? rank_ : peer);
        made.word = what == Do::tell ? layout_.epoch_posted(Word::met, gpu::pair_lane, peer)
                                     : layout_.epoch_own(Word::met, gpu::pair_lane, peer);
        made.at = at;
        made.stride = base(index) + 1u;
        const auto addresses = static_cast<uint16_t>(base(index) + (what == Do::hear ? 2 : 0));
        made.bytes = std::bit_cast<uint64_t>(
            Row{addresses, 0, static_cast<uint8_t>(peer), 1, gpu::pair_depth, 0});
        return made;
    }

    gpu::device::Step word_step(Do what, size_t index, uint32_t at) const {
        const uint32_t peer = pairs_[index].peer;
        const bool own = what == Do::await;
        gpu::device::Step made{};
        made.what = what;
        made.operand = base_number(Base::memory, own ? rank_ : peer);
        made.operand_count = layout_.word_place(Word::arrived, gpu::pair_lane, own ? peer : rank_);
        made.word = own ? layout_.epoch_own(Word::arrived, gpu::pair_lane, peer)
                        : layout_.epoch_posted(Word::arrived, gpu::pair_lane, peer);
        made.at = at;
        made.bytes = pairs_[index].bytes;
        return made;
    }

    static void copy_add(DeviceLane& lane, uint16_t to, uint16_t from, uint64_t bytes) {
        gpu::device::Step made{};
        made.what = Do::copy;
        made.operand_count = 2;
        made.operand = static_cast<uint32_t>(lane.operands.size());
        made.bytes = bytes;
        lane.steps.push_back(made);
        lane.operands.push_back({0, to, 0});
        lane.operands.push_back({0, from, 0});
    }

    std::vector<size_t> with(uint32_t peer, bool is_send) const {
        std::vector<size_t> found;
        for (size_t i = 0; i < pairs_.size(); i++) {
            if (pairs_[i].peer == peer && pairs_[i].is_send == is_send) {
                found.push_back(i);
            }
        }
        return found;
    }

    // False: there are none.
    bool sends_add(DeviceLane& lane, uint32_t peer) const {
        const std::vector<size_t> own = with(peer, true);
        for (uint32_t at = 0; at < own.size(); at++) {
            const size_t pair = own[at];
            lane.steps.push_back(card_step(Do::hear, pair, at));
            copy_add(lane, static_cast<uint16_t>(base(pair) + 2), base(pair), pairs_[pair].bytes);
            lane.steps.push_back(word_step(Do::post, pair, at));
        }
        if (!own.empty()) {
            const auto moved = static_cast<uint32_t>(own.size());
            lane.ends.push_back({card_step(Do::hear, own.front(), 0).word, moved});
            lane.ends.push_back({lane.steps.back().word, moved});
        }
        return !own.empty();
    }

    void receives_add(DeviceLane& cards, DeviceLane& receives, uint32_t peer) const {
        const std::vector<size_t> own = with(peer, false);
        for (uint32_t at = 0; at < own.size(); at++) {
            cards.steps.push_back(card_step(Do::tell, own[at], at));
            receives.steps.push_back(word_step(Do::await, own[at], at));
        }
        if (!own.empty()) {
            const auto moved = static_cast<uint32_t>(own.size());
            cards.ends.push_back({cards.steps.back().word, moved});
            receives.ends.push_back({receives.steps.back().word, moved});
        }
    }

    std::span<const DevicePair> pairs_;
    uint32_t rank_;
    const Layout& layout_;
    std::vector<size_t> bases_;
    DevicePairs out_;
};

}  // namespace

DevicePairs device_lower_pairs(std::span<const DevicePair> pairs, uint32_t rank,
                               const Layout& layout, uint32_t lanes_max) {
    return PairLowering(pairs, rank, layout).lower(lanes_max);
}

size_t pairs_fit(std::span<const DevicePair> pairs) {
    size_t bases = 0;
    for (size_t i = 0; i < pairs.size(); i++) {
        bases += bases_of(pairs[i]);
        const auto same = std::ranges::count_if(pairs.first(i), [&](const DevicePair& before) {
            return before.peer == pairs[i].peer && before.is_send == pairs[i].is_send;
        });
        if (bases > gpu::device::more_max || same >= gpu::pair_depth || i == pairs_max) {
            return i;
        }
    }
    return pairs.size();
}

}  // namespace weft
