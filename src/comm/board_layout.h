// Where everything lies on a board, and where its words are: the same on every rank. Thread rule:
// values.
//
// The board is device memory: cards, slots for collectives, then for every receiver a region of two
// halves for what this rank sends it. The words are host memory, a line each, and lie with the rank
// that waits for them. By slot and peer: *arrived* (what the peer has laid open is there), *left*
// (the peer has read this rank's slot), *reduced* (its share is there). By peer and half of a
// region: *sent* (a part of a message is there) and *taken* (the peer has read this rank's).
#pragma once

#include <cstdint>

#include "src/gpu/device/program.h"

namespace weft {

class BoardLayout {
  public:
    static constexpr uint32_t slots = 4, halves = 2;
    static constexpr uint64_t slot_bytes = 4 << 20;

    constexpr explicit BoardLayout(uint32_t ranks) : ranks_(ranks) {}
    constexpr uint32_t ranks() const { return ranks_; }

    static constexpr uint64_t bytes() { return slots * slot_bytes + rest_bytes; }
    // A slot's second card speaks of this rank's share.
    static constexpr uint64_t card(uint32_t slot, bool of_share) {
        return (2 * slot + (of_share ? 1 : 0)) * sizeof(gpu::device::Card);
    }
    static constexpr uint64_t message_card(uint32_t receiver, uint32_t half) {
        return (2 * slots + halves * receiver + half) * sizeof(gpu::device::Card);
    }
    static constexpr uint64_t slot(uint32_t slot) { return head_bytes + slot * slot_bytes; }
    constexpr uint64_t half_bytes() const {
        return (rest_bytes - head_bytes) / (halves * ranks_) / 64 * 64;
    }
    constexpr uint64_t half(uint32_t receiver, uint32_t half) const {
        return slot(slots) + (halves * receiver + half) * half_bytes();
    }

    // Numbers of words; those of one slot follow each other by peer.
    constexpr uint32_t arrived(uint32_t slot, uint32_t peer) const { return slot * ranks_ + peer; }
    constexpr uint32_t left(uint32_t slot, uint32_t peer) const {
        return (slots + slot) * ranks_ + peer;
    }
    constexpr uint32_t reduced(uint32_t slot, uint32_t peer) const {
        return (2 * slots + slot) * ranks_ + peer;
    }
    constexpr uint32_t sent(uint32_t peer, uint32_t half) const {
        return 3 * slots * ranks_ + halves * peer + half;
    }
    constexpr uint32_t taken(uint32_t peer, uint32_t half) const {
        return (3 * slots + halves) * ranks_ + halves * peer + half;
    }
    constexpr uint32_t word_count() const { return (3 * slots + 2 * halves) * ranks_; }

  private:
    static constexpr uint64_t head_bytes = 8192, rest_bytes = 8 << 20;
    static_assert((2 * slots + halves * gpu::device::ranks_max) * sizeof(gpu::device::Card) <=
                  head_bytes);
    uint32_t ranks_;
};

}  // namespace weft
