// One channel of a link, both ways: the messages that may be under way in each direction, counted
// in slots of the receiver. Nothing here knows of wires or of what messages say.
//
// 1. A message takes the next slot sequence; there may be as many unreleased ones as the receiver
//    has slots. The sequence travels in the immediate, cut to `slot_seq_bits`.
// 2. The receiver keeps a window of bits that starts at its first unreleased sequence: arrived, and
//    released out of turn. What lies outside the window, or was seen in it, came twice.
// 3. A credit is the number of slots ever released in turn. Absolute and monotone: an old or
//    repeated one changes nothing, an impossible one is ignored.
//
// Thread rule: thread-bound to the link's driver.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace weft {

class LinkChannel {
  public:
    // Piece (8) and generation (4) of an immediate together carry the sequence.
    static constexpr uint32_t slot_seq_bits = 12;
    static constexpr uint32_t slot_seq_mask = (1u << slot_seq_bits) - 1;
    static constexpr uint32_t slots_max = 64;  // the windows are one word each

    // A power of two, at most slots_max.
    explicit LinkChannel(uint32_t slots) : slots_(slots) {}

    // Sending.
    bool may_send() const { return sent_ - heard_ < count(); }
    uint32_t next_seq() const { return sent_ & slot_seq_mask; }
    void message_sent() {
        sent_++;
        credit_told();
    }
    void credit_heard(uint32_t credit) {
        if (credit - heard_ <= sent_ - heard_) {
            heard_ = credit;
        }
    }

    // Receiving. The slot of a new message; none when this sequence has been here before.
    std::optional<uint16_t> arrived(uint32_t seq) {
        const uint32_t distance = (seq - taken_) & slot_seq_mask;
        if (distance >= count() || (seen_ >> distance & 1) != 0) {
            return std::nullopt;
        }
        seen_ |= 1ull << distance;
        return static_cast<uint16_t>((taken_ + distance) & (count() - 1));
    }
    // The slot's own memory, at least `bytes` of it: kept from message to message.
    std::byte* slot_memory(uint16_t slot, size_t bytes) {
        auto& memory = slots_[slot];
        if (memory.size() < bytes) {
            memory.resize(std::bit_ceil(std::max<size_t>(bytes, 64)));
        }
        return memory.data();
    }
    void release(uint16_t slot) {
        done_ |= 1ull << ((slot - taken_) & (count() - 1));
        const auto run = static_cast<uint32_t>(std::countr_one(done_));
        taken_ += run;
        done_ = run >= slots_max ? 0 : done_ >> run;
        seen_ = run >= slots_max ? 0 : seen_ >> run;
    }

    // What to tell the peer, on every message; on one of its own when half the slots are owed.
    uint32_t credit() const { return taken_; }
    void credit_told() { told_ = taken_; }
    bool credit_owed() const { return taken_ - told_ >= count() / 2; }

  private:
    uint32_t count() const { return static_cast<uint32_t>(slots_.size()); }

    uint32_t sent_ = 0;   // messages ever sent
    uint32_t heard_ = 0;  // of those, released by the peer
    uint32_t taken_ = 0;  // messages ever released by this side, in slot order
    uint32_t told_ = 0;   // `taken_` as last told to the peer
    uint64_t seen_ = 0;   // bit i: sequence taken_ + i arrived
    uint64_t done_ = 0;   // bit i: arrived and released
    std::vector<std::vector<std::byte>> slots_;
};

}  // namespace weft
