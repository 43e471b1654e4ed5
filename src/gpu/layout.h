// Where things lie in the memory that every rank of a device communicator has. The same on every
// rank, for all need each other's places. Thread rule: pure. Failure rule: none.
#pragma once

#include <cstdint>

#include "src/gpu/device/program.h"

namespace weft::gpu {

// A word of a rank lies in its memory, by kind, lane and the rank that posts.
enum class Word : uint8_t {
    granted,  // grants of a receiver, in the sender's memory
    arrived,  // puts and signals of a sender, in the receiver's memory
    exposed,  // exposed operands of an owner, in the reader's memory
    met,      // cards: nothing lies here, but they have epochs like words
};
inline constexpr uint32_t word_kinds = 4;
inline constexpr uint32_t lane_max = 8;
// Pairs have words and cards of their own, as if they were one more lane.
inline constexpr uint32_t pair_lane = lane_max;
inline constexpr uint32_t lane_rows = lane_max + 1;

// How many cards take turns in one place: of collectives, one operation ahead; of pairs, so many
// receives of one group from one peer.
inline constexpr uint32_t card_depth = 2;
inline constexpr uint32_t pair_depth = 8;

class Layout {
  public:
    constexpr Layout(uint32_t rank_count, uint64_t scratch_bytes)
        : n_(rank_count), scratch_bytes_(scratch_bytes) {}

    constexpr uint32_t words() const { return word_kinds * lane_rows * n_; }
    constexpr uint32_t word(Word kind, uint32_t lane, uint32_t other) const {
        return (static_cast<uint32_t>(kind) * lane_rows + lane) * n_ + other;
    }

    // Epochs come first, two for every word: of the end that awaits, of the end that posts. Then
    // one of all small operations.
    constexpr uint32_t epoch_own(Word kind, uint32_t lane, uint32_t other) const {
        return word(kind, lane, other);
    }
    constexpr uint32_t epoch_posted(Word kind, uint32_t lane, uint32_t other) const {
        return words() + word(kind, lane, other);
    }
    constexpr uint32_t epoch_small() const { return 2 * words(); }
    constexpr uint32_t epochs() const { return 2 * words() + 1; }

    // In units of 8 bytes from the memory's begin.
    constexpr uint32_t word_place(Word kind, uint32_t lane, uint32_t poster) const {
        return epochs_end() + word(kind, lane, poster);
    }
    constexpr uint32_t card_place(uint32_t lane, uint32_t poster) const {
        return cards_begin() + (lane * card_depth * n_ + poster * card_depth) * card_units;
    }
    constexpr uint32_t pair_card_place(uint32_t poster) const {
        return cards_begin() + (lane_max * card_depth * n_ + poster * pair_depth) * card_units;
    }
    static constexpr uint32_t card_units = sizeof(device::Card) / 8;

    // In bytes.
    constexpr uint64_t inbox() const {
        return 8ull * (cards_begin() + (lane_max * card_depth + pair_depth) * n_ * card_units);
    }
    constexpr uint64_t scratch() const {
        return aligned(inbox() + 16ull * n_ * device::oneshot_words, 512);
    }
    constexpr uint64_t bytes() const { return scratch() + scratch_bytes_; }
    constexpr uint64_t scratch_bytes() const { return scratch_bytes_; }
    constexpr uint32_t rank_count() const { return n_; }

  private:
    static constexpr uint64_t aligned(uint64_t value, uint64_t to) {
        return (value + to - 1) / to * to;
    }
    constexpr uint32_t epochs_end() const {
        return static_cast<uint32_t>(aligned(epochs(), card_units));
    }
    constexpr uint32_t cards_begin() const {
        return static_cast<uint32_t>(aligned(epochs_end() + words(), card_units));
    }
    uint32_t n_;
    uint64_t scratch_bytes_;
};

// The bases of a rank, by number.
enum class Base : uint8_t { input, output, memory };
constexpr uint32_t base_number(Base base, uint32_t rank) {
    return rank * 3 + static_cast<uint32_t>(base);
}

}  // namespace weft::gpu
