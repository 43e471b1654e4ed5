// A plan's part lowered to what a kernel runs (src/gpu/device/program.h): grants and puts become
// words, copies and leaf loops; the operand of a peer's matching grant is looked up here, so the
// device knows no peers. For ranks whose memory reaches each other directly. Thread rule: pure
// functions and values. Failure rule: one line for a plan that a device cannot run.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/base/result.h"
#include "src/exec/program.h"
#include "src/gpu/device/program.h"

namespace weft {

// What a word counts; it lies in the memory of the rank that waits for it.
enum class Word : uint8_t {
    granted,  // grants of a receiver, in the sender's memory
    arrived,  // puts and signals of a sender, in the receiver's memory
    exposed,  // exposed operands of an owner, in the reader's memory
};
inline constexpr uint32_t word_kinds = 3;

// Where a rank's own words lie in its memory, counted in words: by kind, lane and the rank that
// posts. The same for every operation of a communicator, for words go on counting.
constexpr uint32_t word_slot(Word word, uint32_t lane, uint32_t poster, uint32_t rank_count) {
    return (static_cast<uint32_t>(word) * lane_count_max + lane) * rank_count + poster;
}

constexpr uint32_t word_slots(uint32_t rank_count) {
    return word_kinds * lane_count_max * rank_count;
}

// The tables of a rank: first its own words, then, in the same order, those it posts to, which lie
// in the memory of others at word_slot(..., poster = this rank, ...).
constexpr uint32_t word_own(Word word, uint32_t lane, uint32_t other, uint32_t rank_count) {
    return word_slot(word, lane, other, rank_count);
}

constexpr uint32_t word_posted(Word word, uint32_t lane, uint32_t other, uint32_t rank_count) {
    return word_slots(rank_count) + word_slot(word, lane, other, rank_count);
}

constexpr uint32_t word_table_size(uint32_t rank_count) {
    return 2 * word_slots(rank_count);
}

// The table of addresses: input, output and scratch of every rank.
constexpr uint32_t base_of(plan::Space space, uint32_t rank) {
    return rank * 3 + static_cast<uint32_t>(space) - static_cast<uint32_t>(plan::Space::input);
}

struct DeviceLane {
    std::vector<gpu::device::Step> steps;
    std::vector<gpu::device::Operand> operands;
    std::vector<gpu::device::StreamEnd> ends;
};

struct DeviceProgram {
    std::vector<DeviceLane> lanes;
    uint32_t tiles = 1;
    uint64_t tile_bytes = 0;
    uint64_t scratch_bytes = 0;  // of this rank
};

// How a call changes what the plan moves.
struct DeviceCall {
    bool scale_inputs = false;  // Avg of floats, PreMulSum: own inputs are multiplied when read
    bool divide = false;        // Avg of integers
};

// `parts` holds the program of every rank, built from a choice that is not eager.
Result<DeviceProgram> device_lower(std::span<const Program> parts, uint32_t rank,
                                   const DeviceCall& call);

}  // namespace weft
