// What a kernel runs: a plan's part, lowered by the host to words, operands and leaf loops. Plain
// data in memory that the device reads, all numbers little-endian and of fixed size. One *lane* is
// one block. Peers do not occur: a peer's memory is a base like any other, a peer's word a word.
//
// A word counts what a matched stream has done. Posting index i of tile t stores
// epoch + t * stride + i + 1, awaiting it waits until the word is at least that; both sides keep
// the epoch of their own end in device memory and move it on by tiles * stride at the end of the
// operation, so a replayed graph goes on counting. Steps on empty tiles are skipped on both sides,
// which leaves gaps and no disorder.
//
// Thread rule: values; constant while a kernel runs, but for epochs. Failure rule: checked when
// lowered, not by the device.
#pragma once

#include <cstdint>

namespace weft::gpu::device {

// What fits the shared memory that a lane's program is read into.
inline constexpr uint32_t steps_max = 256;
inline constexpr uint32_t operands_max = 512;
inline constexpr uint32_t bases_max = 64;
inline constexpr uint32_t sources_max = 32;  // of one reduce
inline constexpr uint32_t block_threads_max = 512;

enum class Do : uint32_t {
    await,   // until word >= value
    post,    // word = value
    copy,    // operand 0 = operand 1
    scale,   // operand 0 = operand 1 * factor
    reduce,  // operand 0 = operand 1 op operand 2 op ..., in this order
    divide,  // operand 0 /= divisor
};

struct Step {
    Do what;
    uint32_t operand_count;  // the result first
    uint32_t operand;        // the first, in the lane's list
    uint32_t word;           // await, post: which word of the rank
    uint32_t at, stride;     // await, post: the index in its stream, and how many a tile has
    uint64_t bytes;          // of the whole chunk: the step's tile is cut from it
};
static_assert(sizeof(Step) == 32);

struct Operand {
    uint64_t offset;   // of tile 0
    uint32_t base;     // in the rank's table of addresses
    uint32_t advance;  // 1: tile t lies t tiles on; 0: every tile in the same place (scratch)
};
static_assert(sizeof(Operand) == 16);

// One end of a stream: its epoch goes on by tiles * stride.
struct StreamEnd {
    uint32_t word;
    uint32_t stride;
};

struct LaneProgram {
    const Step* steps;
    const Operand* operands;
    const StreamEnd* ends;
    uint32_t step_count, operand_count, end_count;
    uint32_t tiles;
    uint64_t tile_bytes;
};

// One rank's part of an operation; an array of these is a gang launch.
struct RankProgram {
    const LaneProgram* lanes;
    const uint64_t* bases;       // addresses: input, output, scratch, and those of peers
    const uint64_t* words;       // addresses of words, own and peers'
    uint64_t* epochs;            // by word
    const uint64_t* abort_word;  // pinned host memory; not zero: stop
    const void* factor_at;       // where the factor of `scale` lies, or null: `factor`
    uint64_t factor;             // the bits of one element
    uint64_t divisor;
    uint32_t base_count;
    uint32_t lane_count;  // the same in every rank of a launch
};

// The argument of a kernel: block b runs lane b % lane_count of rank b / lane_count.
struct Launch {
    const RankProgram* ranks;
    uint32_t lane_count;
};

}  // namespace weft::gpu::device
