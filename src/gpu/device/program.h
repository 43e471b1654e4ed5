// What a kernel runs: a plan's part, lowered by the host to words, operands and leaf loops. Plain
// data in memory that the device reads, all numbers little-endian and of fixed size. One *lane* is
// one block. Peers do not occur: a peer's memory is a base like any other.
//
// Every rank of a communicator has one *memory* on its device, which its peers reach: epochs,
// words, cards, inboxes, scratch (src/gpu/layout.h has the places). Bases, by number: input, output
// and memory of rank 0, then of rank 1 and so on, then further ones of the launch.
//
// A word counts what a matched stream has done. Posting index i of tile t stores
// epoch + t * stride + i + 1, awaiting it waits until the word is at least that; both sides keep
// the epoch of their own end in device memory and move it on by tiles * stride at the end of the
// operation, so a replayed graph goes on counting. Steps on empty tiles are skipped on both sides,
// which leaves gaps and no disorder.
//
// A *card* is a word with text: the addresses and arguments of the rank that posts it. Nobody
// touches a peer's buffers before it has read the peer's card and found its own arguments on it.
//
// Thread rule: values; constant while a kernel runs, but for epochs. Failure rule: checked when
// lowered, not by the device.
#pragma once

#include <cstdint>

namespace weft::gpu::device {

// What fits the shared memory that a lane's program is read into.
inline constexpr uint32_t steps_max = 256;
inline constexpr uint32_t operands_max = 512;
inline constexpr uint32_t ranks_max = 32;
inline constexpr uint32_t more_max = 256;
inline constexpr uint32_t bases_max = 3 * ranks_max + more_max;
inline constexpr uint32_t sources_max = 32;  // of one reduce
inline constexpr uint32_t block_threads_max = 512;

enum class Do : uint32_t {
    await,   // until word >= value
    post,    // word = value
    tell,    // cards to the peers of a row
    hear,    // cards of the peers of a row
    copy,    // operand 0 = operand 1
    scale,   // operand 0 = operand 1 * factor
    reduce,  // operand 0 = operand 1 op operand 2 op ..., in this order
    divide,  // operand 0 /= divisor
};

// Of the steps with words, `operand` is the base of the memory where the word lies, `operand_count`
// its place there, in units of 8 bytes.
struct Step {
    Do what;
    uint32_t operand_count;  // the result first
    uint32_t operand;        // the first, in the lane's list
    uint32_t word;           // its epoch's number; tell, hear: of the row's first
    uint32_t at, stride;     // the index in its stream, and how many a tile has
    uint64_t bytes;          // of the whole chunk: the step's tile is cut from it
};
static_assert(sizeof(Step) == 32);

// What tell and hear find in `bytes`: a row of `count` ranks from `first`, the own one left out. A
// card lies in the memory of whoever hears it, `depth` of them in turn in one place, and row_step
// units of 8 bytes between the places of two posters (0 in a row told). `base`: where the two
// addresses told lie, or those heard of `first` go. They happen once, in tile 0. `stride` of such a
// step is not zero where the arguments are not the call's: the base that holds them.
struct Row {
    uint16_t base;
    uint16_t row_step;
    uint8_t first, count;
    uint8_t depth;
    uint8_t spare;
};
static_assert(sizeof(Row) == sizeof(uint64_t));

struct Operand {
    uint64_t offset;   // of tile 0
    uint32_t base;     // in the table of addresses
    uint32_t advance;  // 1: tile t lies t tiles on; 0: every tile in the same place (scratch)
};
static_assert(sizeof(Operand) == 16);

// One end of a stream: by how much its epoch goes on.
struct StreamEnd {
    uint32_t word;
    uint32_t moved;
};

struct LaneProgram {
    const Step* steps;
    const Operand* operands;
    const StreamEnd* ends;
    uint32_t step_count, operand_count, end_count;
    uint32_t tiles;
    uint64_t tile_bytes;
};

// The arguments of a call, as every rank must give them (src/exec/fingerprint.h).
struct Fingerprint {
    uint64_t packed;
    uint64_t root;
};

struct Card {
    uint64_t turn;  // the word: stored last
    uint64_t addresses[2];
    Fingerprint args;
    uint64_t spare[3];
};
static_assert(sizeof(Card) == 64);

// How a lane ended, in pinned host memory: the host finds it here without asking CUDA. `how` is
// stored last, and after it the lane touches nothing.
enum class Ended : uint64_t { no, well, aborted, mismatch };
struct LaneEnd {
    Ended how;
    uint64_t peer;  // mismatch: whose card is not like ours; aborted: whose word did not come
    Fingerprint own, theirs;
    // Aborted: in which wait, and where the word lies; own.packed is the value it waited for,
    // theirs.packed what it saw. 0: it was stopped before it began. Mismatch of boards' places
    // (board.h): the own and theirs.
    uint64_t wait;
    uint64_t place;
};
// A wait of a lane is its step + 1, the tile above. Small operations have this from the host: to
// look for the word in there would cost registers.
inline constexpr uint64_t wait_small = 1ull << 63;
static_assert(sizeof(LaneEnd) == 64);

// What the kernels of both families are told of one rank.
struct RankPart {
    const uint64_t* memories;    // by rank, as this rank's device reaches them
    const uint64_t* abort_word;  // pinned host memory; not zero: stop
    LaneEnd* ends;               // by lane
    const void* input;
    void* output;
    const void* factor_at;  // where the factor of `scale` lies, or null: `factor`
    uint64_t factor;        // the bits of one element
    Fingerprint args;
    uint32_t divisor;
    uint16_t rank, rank_count;
};

struct LanesRank {
    RankPart part;
    const LaneProgram* lanes;
    const uint64_t* more;  // further bases
    uint64_t more_count;
};

// A program without words and cards, carried by its launch: its blocks wait for nobody and deal the
// tiles out among them. The base of every operand is 0, so offsets are addresses.
inline constexpr uint32_t carried_steps_max = ranks_max;
inline constexpr uint32_t carried_operands_max = 2 * ranks_max;
static_assert(carried_operands_max > sources_max);
struct CarriedProgram {
    RankPart part;  // the abort word, the factor and the divisor of it
    uint64_t tile_bytes;
    uint32_t tiles, step_count, operand_count, spare;
    Step steps[carried_steps_max];
    Operand operands[carried_operands_max];
};

// One launch has several ranks if they meet in one group: a *gang*. Arguments of a kernel may have
// 4 KiB.
struct Launch {
    uint32_t rank_count;  // 0: of a carried program
    uint32_t lane_count;  // the same in every rank: block b runs lane b % lane_count of rank b /
                          // it; of a carried program: all blocks
    uint32_t loops;       // Loops (mem.h)
    uint32_t spare;
    union {
        LanesRank ranks[ranks_max];
        CarriedProgram carried;
    };
};
static_assert(sizeof(Launch) <= 4096);

// reduce: every rank's block summed on every rank. gather: every block on every rank. spread: the
// root's block on every rank.
enum class Oneshot : uint32_t { reduce, gather, spread };

// Of the second family: everything in one block a rank, through inboxes of LL words.
struct OneshotRank {
    RankPart part;
    uint64_t inbox;  // where in every memory; `epoch` likewise
    uint64_t epoch;
    uint32_t bytes;  // of a block; 0: a barrier
    Oneshot what;
    uint32_t root;
    uint32_t scales;  // not zero: own data is multiplied by the factor
};

struct OneshotLaunch {
    uint32_t rank_count;
    uint32_t spare;
    OneshotRank ranks[ranks_max];
};
static_assert(sizeof(OneshotLaunch) <= 4096);

// The largest block, and what follows from it: an inbox has a part for each of two operations in
// turn, this a part for each sender, this a head of the arguments and the data, four bytes a word.
inline constexpr uint32_t oneshot_bytes_max = 8192;
inline constexpr uint32_t oneshot_head_words = 4;
inline constexpr uint32_t oneshot_words = oneshot_head_words + oneshot_bytes_max / 4;

}  // namespace weft::gpu::device
