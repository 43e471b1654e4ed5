// The interpreter: a block runs one lane of one rank, step by step, tile by tile. Everything here
// is the same for all threads of a block (the same branches in the same order), except for what
// thread 0 does alone between two barriers. Every step ends with a barrier, so a step sees all that
// the step before it wrote, and a post comes after what it announces.
//
// The lane's steps, operands and addresses are read once, into shared memory: bases may change
// between replays, never during one. Thread rule: device code, all threads of a block. Failure
// rule: an abort ends the lane at its next wait, and nothing is stored after that.
#pragma once

#include "src/gpu/device/leaf.h"
#include "src/gpu/device/program.h"

namespace weft::gpu::device {

// A block's shared memory.
struct SharedLane {
    Step steps[steps_max];
    Operand operands[operands_max];
    uint64_t bases[bases_max];
    const char* sources[sources_max];
    LaneProgram lane;
    RankProgram rank;
    uint64_t factor;
    uint32_t stop;  // written by thread 0 before a barrier, read by all between it and the next
};

// How often a word is looked at before the abort word is: that one lies behind PCIe.
inline constexpr uint32_t polls_per_abort_look = 1000;

struct Here {
    Threads threads;
    void* block;  // the stand-in's
    SharedLane* shared;
};

// `bytes` is a multiple of 8; both ends lie at one.
WEFT_DEVICE_CODE void read_shared(Threads threads, void* to, const void* from, uint32_t bytes) {
    auto* const words = static_cast<uint64_t*>(to);
    WEFT_NO_UNROLL
    for (uint32_t i = threads.index; i < bytes / 8; i += threads.count) {
        words[i] = load_element<uint64_t>(static_cast<const char*>(from) + i * 8);
    }
}

template <DataType type>
WEFT_DEVICE_CODE void lane_read(const Here& here, const Launch& launch, uint32_t block) {
    using Bits = typename Element<type>::Bits;
    SharedLane& shared = *here.shared;
    const RankProgram* const rank = launch.ranks + block / launch.lane_count;
    read_shared(here.threads, &shared.rank, rank, sizeof(RankProgram));
    block_sync(here.block);
    const LaneProgram* const lane = shared.rank.lanes + block % launch.lane_count;
    read_shared(here.threads, &shared.lane, lane, sizeof(LaneProgram));
    block_sync(here.block);
    const LaneProgram& own = shared.lane;
    const auto step_bytes = static_cast<uint32_t>(own.step_count * sizeof(Step));
    const auto operand_bytes = static_cast<uint32_t>(own.operand_count * sizeof(Operand));
    read_shared(here.threads, shared.steps, own.steps, step_bytes);
    read_shared(here.threads, shared.operands, own.operands, operand_bytes);
    read_shared(here.threads, shared.bases, shared.rank.bases, shared.rank.base_count * 8);
    if (here.threads.index == 0) {
        const void* const at = shared.rank.factor_at;
        shared.factor = at != nullptr ? load_element<Bits>(at) : shared.rank.factor;
    }
    block_sync(here.block);
}

// The tile of a step; 0: nothing to do, on every rank that has a part in it.
WEFT_DEVICE_CODE uint64_t tile_of(const Step& step, uint32_t tile, uint64_t tile_bytes) {
    const uint64_t at = tile * tile_bytes;
    const uint64_t left = at >= step.bytes ? 0 : step.bytes - at;
    return left < tile_bytes ? left : tile_bytes;
}

WEFT_DEVICE_CODE char* address_of(const SharedLane& shared, uint32_t operand, uint32_t tile) {
    const Operand& found = shared.operands[operand];
    const uint64_t moved = found.advance * (tile * shared.lane.tile_bytes);
    return reinterpret_cast<char*>(shared.bases[found.base] + found.offset + moved);
}

WEFT_DEVICE_CODE uint64_t* word_of(const SharedLane& shared, const Step& step) {
    return reinterpret_cast<uint64_t*>(load_element<uint64_t>(shared.rank.words + step.word));
}

WEFT_DEVICE_CODE uint64_t value_of(const SharedLane& shared, const Step& step, uint32_t tile) {
    const uint64_t epoch = load_element<uint64_t>(shared.rank.epochs + step.word);
    return epoch + static_cast<uint64_t>(tile) * step.stride + step.at + 1;
}

// Thread 0: 0 when the word has come, 1 when the operation is to stop.
WEFT_DEVICE_CODE uint32_t word_await(const SharedLane& shared, const Step& step, uint32_t tile) {
    const uint64_t* const word = word_of(shared, step);
    const uint64_t value = value_of(shared, step, tile);
    uint32_t polls = 0;
    WEFT_NO_UNROLL
    while (load_acquire(word) < value) {
        if (++polls == polls_per_abort_look) {
            polls = 0;
            if (load_relaxed(shared.rank.abort_word) != 0) {
                return 1;
            }
            poll_pause();
        }
    }
    return 0;
}

// In place, a rank's own part is where it belongs.
WEFT_DEVICE_CODE void copy_step(const Here& here, const Step& step, uint32_t tile, uint64_t bytes) {
    char* const to = address_of(*here.shared, step.operand, tile);
    const char* const from = address_of(*here.shared, step.operand + 1, tile);
    if (to != from) {
        leaf_copy(here.threads, to, from, bytes);
    }
}

template <DataType type, RedOp op>
WEFT_DEVICE_CODE void reduce_step(const Here& here, const Step& step, uint32_t tile,
                                  uint64_t bytes) {
    SharedLane& shared = *here.shared;
    const uint32_t sources = step.operand_count - 1;
    WEFT_NO_UNROLL
    for (uint32_t s = here.threads.index; s < sources; s += here.threads.count) {
        shared.sources[s] = address_of(shared, step.operand + 1 + s, tile);
    }
    block_sync(here.block);
    leaf_reduce<type, op>(here.threads, address_of(shared, step.operand, tile), shared.sources,
                          static_cast<int>(sources), bytes / sizeof(typename Element<type>::Bits));
}

// Anything but a wait.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE void step_run(const Here& here, const Step& step, uint32_t tile, uint64_t bytes) {
    const SharedLane& shared = *here.shared;
    const uint64_t count = bytes / sizeof(typename Element<type>::Bits);
    switch (step.what) {
        case Do::await:
            return;
        case Do::post:
            if (here.threads.index == 0) {
                store_release(word_of(shared, step), value_of(shared, step, tile));
            }
            return;
        case Do::copy:
            copy_step(here, step, tile, bytes);
            return;
        case Do::scale:
            leaf_scale<type>(here.threads, address_of(shared, step.operand, tile),
                             address_of(shared, step.operand + 1, tile), count, shared.factor);
            return;
        case Do::reduce:
            reduce_step<type, op>(here, step, tile, bytes);
            return;
        case Do::divide:
            if constexpr (!is_float(type) && op == RedOp::sum) {
                leaf_divide<type>(here.threads, address_of(shared, step.operand, tile), count,
                                  shared.rank.divisor);
            }
            return;
    }
}

// One tile of the whole list; false: stopped.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE bool tile_run(const Here& here, uint32_t tile) {
    SharedLane& shared = *here.shared;
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < shared.lane.step_count; ++i) {
        const Step& step = shared.steps[i];
        const uint64_t bytes = tile_of(step, tile, shared.lane.tile_bytes);
        if (bytes == 0) {
            continue;
        }
        if (step.what == Do::await) {
            if (here.threads.index == 0) {
                shared.stop = word_await(shared, step, tile);
            }
            block_sync(here.block);
            if (shared.stop != 0) {
                return false;
            }
        } else {
            step_run<type, op>(here, step, tile, bytes);
        }
        block_sync(here.block);
    }
    return true;
}

// The lane of block `block`, from its first step to its last.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE void lane_run(const Here& here, const Launch& launch, uint32_t block) {
    lane_read<type>(here, launch, block);
    const SharedLane& shared = *here.shared;
    WEFT_NO_UNROLL
    for (uint32_t tile = 0; tile < shared.lane.tiles; ++tile) {
        if (!tile_run<type, op>(here, tile)) {
            return;
        }
    }
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < shared.lane.end_count; i += here.threads.count) {
        const StreamEnd* const end = shared.lane.ends + i;
        uint64_t* const epoch = shared.rank.epochs + load_element<uint32_t>(&end->word);
        const uint64_t moved =
            static_cast<uint64_t>(shared.lane.tiles) * load_element<uint32_t>(&end->stride);
        store_element<uint64_t>(epoch, load_element<uint64_t>(epoch) + moved);
    }
}

}  // namespace weft::gpu::device
