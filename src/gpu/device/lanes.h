// The interpreter: a block runs one lane of one rank, step by step, tile by tile. Everything here
// is the same for all threads of a block (the same branches in the same order), except for what
// thread 0 does alone between two barriers. Every step ends with a barrier, so a step sees all that
// the step before it wrote, and a post comes after what it announces.
//
// The lane's steps, operands and addresses are read once, into shared memory: bases may change
// between replays, never during one. Thread rule: device code, all threads of a block. Failure
// rule: an abort ends the lane at its next wait, and nothing is stored after that.
#pragma once

#include <bit>

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
    uint64_t factor;
    uint32_t stop;  // written by thread 0 before a barrier, read by all between it and the next
};

// How often a word is looked at before the abort word is: that one lies behind PCIe.
inline constexpr uint32_t polls_per_abort_look = 1000;

struct Here {
    Threads threads;
    void* block;  // the stand-in's
    SharedLane* shared;
    const RankPart* part;
};

// `bytes` is a multiple of 8; both ends lie at one.
WEFT_DEVICE_CODE void read_shared(Threads threads, void* to, const void* from, uint32_t bytes) {
    auto* const words = static_cast<uint64_t*>(to);
    WEFT_NO_UNROLL
    for (uint32_t i = threads.index; i < bytes / 8; i += threads.count) {
        words[i] = load_element<uint64_t>(static_cast<const char*>(from) + i * 8);
    }
}

// Own buffers and all memories; the buffers of peers are heard of.
WEFT_DEVICE_CODE void bases_fill(const Here& here, const LanesRank& rank) {
    SharedLane& shared = *here.shared;
    const uint32_t ranks = rank.part.rank_count;
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < ranks; i += here.threads.count) {
        shared.bases[i * 3 + 2] = load_element<uint64_t>(rank.part.memories + i);
    }
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < rank.more_count; i += here.threads.count) {
        shared.bases[ranks * 3 + i] = load_element<uint64_t>(rank.more + i);
    }
    if (here.threads.index == 0) {
        shared.bases[rank.part.rank * 3] = place_of(rank.part.input);
        shared.bases[rank.part.rank * 3 + 1] = place_of(rank.part.output);
    }
}

template <class Bits>
WEFT_DEVICE_CODE uint64_t factor_of(const RankPart& part) {
    return part.factor_at != nullptr ? load_element<Bits>(part.factor_at) : part.factor;
}

// False: the operation is to stop before it has begun.
template <DataType type>
WEFT_DEVICE_CODE bool lane_read(const Here& here, const LanesRank& rank, uint32_t lane) {
    SharedLane& shared = *here.shared;
    read_shared(here.threads, &shared.lane, rank.lanes + lane, sizeof(LaneProgram));
    if (here.threads.index == 0) {
        shared.stop = load_relaxed(rank.part.abort_word) != 0;
        shared.factor = factor_of<typename Element<type>::Bits>(rank.part);
    }
    block_sync(here.block);
    const LaneProgram& own = shared.lane;
    const auto step_bytes = static_cast<uint32_t>(own.step_count * sizeof(Step));
    const auto operand_bytes = static_cast<uint32_t>(own.operand_count * sizeof(Operand));
    read_shared(here.threads, shared.steps, own.steps, step_bytes);
    read_shared(here.threads, shared.operands, own.operands, operand_bytes);
    bases_fill(here, rank);
    const bool begin = shared.stop == 0;
    block_sync(here.block);
    return begin;
}

// The same of a program that comes with the launch.
template <DataType type>
WEFT_DEVICE_CODE void carried_read(const Here& here, const CarriedProgram& program) {
    SharedLane& shared = *here.shared;
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < program.step_count; i += here.threads.count) {
        shared.steps[i] = program.steps[i];
    }
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < program.operand_count; i += here.threads.count) {
        shared.operands[i] = program.operands[i];
    }
    if (here.threads.index == 0) {
        shared.bases[0] = 0;
        shared.lane.step_count = program.step_count;
        shared.lane.tiles = program.tiles;
        shared.lane.tile_bytes = program.tile_bytes;
        shared.factor = factor_of<typename Element<type>::Bits>(program.part);
    }
    block_sync(here.block);
}

// All threads of the block alike.
WEFT_DEVICE_CODE bool stopped(const Here& here) {
    return block_any(here.block,
                     here.threads.index == 0 && load_relaxed(here.part->abort_word) != 0);
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
    return reinterpret_cast<uint64_t*>(shared.bases[step.operand]) + step.operand_count;
}

// Where the own memory begins, epochs come first.
WEFT_DEVICE_CODE uint64_t* epochs_of(const Here& here) {
    return reinterpret_cast<uint64_t*>(here.shared->bases[here.part->rank * 3 + 2]);
}

WEFT_DEVICE_CODE uint64_t value_of(const Here& here, const Step& step, uint32_t tile) {
    const uint64_t epoch = load_element<uint64_t>(epochs_of(here) + step.word);
    return epoch + static_cast<uint64_t>(tile) * step.stride + step.at + 1;
}

// Thread 0: 0 when the word has come, 1 when the operation is to stop.
WEFT_DEVICE_CODE uint32_t word_await(const Here& here, const Step& step, uint32_t tile) {
    const uint64_t* const word = word_of(*here.shared, step);
    const uint64_t value = value_of(here, step, tile);
    uint32_t polls = 0;
    WEFT_NO_UNROLL
    while (load_acquire(word) < value) {
        if (++polls == polls_per_abort_look) {
            polls = 0;
            if (load_relaxed(here.part->abort_word) != 0) {
                return 1;
            }
        }
        poll_pause();
    }
    return 0;
}

// All threads: until `ready`, asked by each of its own, is so for all; false: to stop.
template <class Ready>
WEFT_DEVICE_CODE bool block_await(Threads threads, void* block, const uint64_t* abort_word,
                                  const Ready& ready) {
    uint32_t polls = 0;
    WEFT_NO_UNROLL
    while (block_any(block, !ready())) {
        if (++polls == polls_per_abort_look) {
            polls = 0;
            if (block_any(block, threads.index == 0 && load_relaxed(abort_word) != 0)) {
                return false;
            }
        }
        poll_pause();
    }
    return true;
}

WEFT_DEVICE_CODE Row row_of(const Step& step) {
    return std::bit_cast<Row>(step.bytes);
}

WEFT_DEVICE_CODE Fingerprint args_of(const Here& here, const Step& step) {
    return step.stride == 0 ? here.part->args : Fingerprint{here.shared->bases[step.stride], 0};
}

// The card that a rank of the row posts or reads, and its turn. `memory` is where it lies.
struct CardPlace {
    Card* card;
    uint64_t turn;
};

WEFT_DEVICE_CODE CardPlace card_of(const Here& here, const Step& step, uint64_t memory,
                                   uint32_t in_row) {
    const Row row = row_of(step);
    const uint64_t epoch = load_element<uint64_t>(epochs_of(here) + step.word + in_row);
    const uint64_t turn = epoch + step.at + 1;
    auto* const place = reinterpret_cast<uint64_t*>(memory) + step.operand_count +
                        static_cast<uint64_t>(in_row) * row.row_step;
    return {reinterpret_cast<Card*>(place) + turn % row.depth, turn};
}

WEFT_DEVICE_CODE void tell_step(const Here& here, const Step& step) {
    const SharedLane& shared = *here.shared;
    const Row row = row_of(step);
    const Fingerprint args = args_of(here, step);
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < row.count; i += here.threads.count) {
        const uint32_t peer = row.first + i;
        if (peer == here.part->rank) {
            continue;
        }
        const CardPlace to = card_of(here, step, shared.bases[peer * 3 + 2], i);
        store_element<uint64_t>(&to.card->addresses[0], shared.bases[row.base]);
        store_element<uint64_t>(&to.card->addresses[1], shared.bases[row.base + 1]);
        store_element<uint64_t>(&to.card->args.packed, args.packed);
        store_element<uint64_t>(&to.card->args.root, args.root);
        store_release(&to.card->turn, to.turn);
    }
}

// What was found on a card that differs, by the one thread that reports it.
WEFT_DEVICE_CODE void mismatch_report(LaneEnd* end, uint32_t peer, Fingerprint own,
                                      Fingerprint theirs) {
    store_element<uint64_t>(&end->peer, peer);
    store_element<uint64_t>(&end->own.packed, own.packed);
    store_element<uint64_t>(&end->own.root, own.root);
    store_element<uint64_t>(&end->theirs.packed, theirs.packed);
    store_element<uint64_t>(&end->theirs.root, theirs.root);
}

WEFT_DEVICE_CODE Fingerprint card_args(const Card* card) {
    return {load_element<uint64_t>(&card->args.packed), load_element<uint64_t>(&card->args.root)};
}

WEFT_DEVICE_CODE bool differ(Fingerprint a, Fingerprint b) {
    return a.packed != b.packed || a.root != b.root;
}

// Thread 0, of cards that have come: the first that is not like ours.
WEFT_DEVICE_CODE void mismatch_find(const Here& here, const Step& step, LaneEnd* end) {
    const Row row = row_of(step);
    const Fingerprint own = args_of(here, step);
    const uint64_t memory = here.shared->bases[here.part->rank * 3 + 2];
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < row.count; ++i) {
        const Fingerprint theirs = card_args(card_of(here, step, memory, i).card);
        if (row.first + i != here.part->rank && differ(own, theirs)) {
            mismatch_report(end, row.first + i, own, theirs);
            return;
        }
    }
}

// Thread 0, of a wait that was stopped: what it waited for.
WEFT_DEVICE_CODE void stuck_report(LaneEnd* end, uint64_t wait, uint64_t place, uint64_t wanted,
                                   uint64_t seen) {
    store_element<uint64_t>(&end->wait, wait);
    store_element<uint64_t>(&end->place, place);
    store_element<uint64_t>(&end->own.packed, wanted);
    store_element<uint64_t>(&end->theirs.packed, seen);
}

WEFT_DEVICE_CODE uint64_t wait_of(const Here& here, const Step& step, uint32_t tile) {
    return static_cast<uint64_t>(tile) << 32 |
           (static_cast<uint64_t>(&step - here.shared->steps) + 1);
}

// Of a row: the first card that is missing.
WEFT_DEVICE_CODE void stuck_card(const Here& here, const Step& step, LaneEnd* end) {
    const Row row = row_of(step);
    const uint64_t memory = here.shared->bases[here.part->rank * 3 + 2];
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < row.count; ++i) {
        const CardPlace from = card_of(here, step, memory, i);
        const uint64_t seen = load_acquire(&from.card->turn);
        if (row.first + i != here.part->rank && seen < from.turn) {
            store_element<uint64_t>(&end->peer, row.first + i);
            stuck_report(end, wait_of(here, step, 0), (place_of(from.card) - memory) / 8, from.turn,
                         seen);
            return;
        }
    }
}

// Every thread looks at its own cards of the row.
WEFT_DEVICE_CODE Ended hear_step(const Here& here, const Step& step, LaneEnd* end) {
    SharedLane& shared = *here.shared;
    const Row row = row_of(step);
    const uint64_t memory = shared.bases[here.part->rank * 3 + 2];
    const auto come = [&] {
        bool all = true;
        WEFT_NO_UNROLL
        for (uint32_t i = here.threads.index; i < row.count; i += here.threads.count) {
            const CardPlace from = card_of(here, step, memory, i);
            all = all &&
                  (row.first + i == here.part->rank || load_acquire(&from.card->turn) >= from.turn);
        }
        return all;
    };
    if (!block_await(here.threads, here.block, here.part->abort_word, come)) {
        if (here.threads.index == 0) {
            stuck_card(here, step, end);
        }
        return Ended::aborted;
    }
    const Fingerprint own = args_of(here, step);
    bool wrong = false;
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < row.count; i += here.threads.count) {
        if (row.first + i != here.part->rank) {
            const Card* const card = card_of(here, step, memory, i).card;
            wrong = wrong || differ(own, card_args(card));
            shared.bases[row.base + i * 3] = load_element<uint64_t>(&card->addresses[0]);
            shared.bases[row.base + i * 3 + 1] = load_element<uint64_t>(&card->addresses[1]);
        }
    }
    if (!block_any(here.block, wrong)) {
        return Ended::well;
    }
    if (here.threads.index == 0) {
        mismatch_find(here, step, end);
    }
    return Ended::mismatch;
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
        case Do::hear:
        case Do::tell:
            return;
        case Do::post:
            if (here.threads.index == 0) {
                store_release(word_of(shared, step), value_of(here, step, tile));
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
                                  here.part->divisor);
            }
            return;
    }
}

// A step that waits for others.
WEFT_DEVICE_CODE Ended wait_step(const Here& here, const Step& step, uint32_t tile, LaneEnd* end) {
    SharedLane& shared = *here.shared;
    if (step.what == Do::hear) {
        return hear_step(here, step, end);
    }
    if (here.threads.index == 0) {
        shared.stop = word_await(here, step, tile);
    }
    block_sync(here.block);
    if (shared.stop == 0) {
        return Ended::well;
    }
    if (here.threads.index == 0) {
        stuck_report(end, wait_of(here, step, tile), step.operand_count, value_of(here, step, tile),
                     load_acquire(word_of(shared, step)));
    }
    return Ended::aborted;
}

// One tile of the whole list.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE Ended tile_run(const Here& here, uint32_t tile, LaneEnd* end) {
    SharedLane& shared = *here.shared;
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < shared.lane.step_count; ++i) {
        const Step& step = shared.steps[i];
        const bool cards = step.what == Do::tell || step.what == Do::hear;
        const uint64_t bytes = cards ? 0 : tile_of(step, tile, shared.lane.tile_bytes);
        if (cards ? tile > 0 : bytes == 0) {
            continue;
        }
        if (step.what == Do::await || step.what == Do::hear) {
            const Ended ended = wait_step(here, step, tile, end);
            if (ended != Ended::well) {
                return ended;
            }
        } else if (step.what == Do::tell) {
            tell_step(here, step);
        } else {
            step_run<type, op>(here, step, tile, bytes);
        }
        block_sync(here.block);
    }
    return Ended::well;
}

// The tiles of a block: all of its lane's, or its part of a carried program's, which may be stopped
// before each, for it waits nowhere.
struct Tiles {
    uint32_t first, step;
    bool carried;
};

template <DataType type, RedOp op>
WEFT_DEVICE_CODE Ended tiles_run(const Here& here, const Tiles& tiles, LaneEnd* end) {
    const SharedLane& shared = *here.shared;
    WEFT_NO_UNROLL
    for (uint32_t tile = tiles.first; tile < shared.lane.tiles; tile += tiles.step) {
        if (tiles.carried && stopped(here)) {
            return Ended::aborted;
        }
        const Ended ended = tile_run<type, op>(here, tile, end);
        if (ended != Ended::well) {
            return ended;
        }
    }
    return Ended::well;
}

WEFT_DEVICE_CODE void epochs_move(const Here& here) {
    const LaneProgram& lane = here.shared->lane;
    WEFT_NO_UNROLL
    for (uint32_t i = here.threads.index; i < lane.end_count; i += here.threads.count) {
        const StreamEnd* const end = lane.ends + i;
        uint64_t* const epoch = epochs_of(here) + load_element<uint32_t>(&end->word);
        const uint64_t moved = load_element<uint32_t>(&end->moved);
        store_element<uint64_t>(epoch, load_element<uint64_t>(epoch) + moved);
    }
}

// What a lane leaves, when no thread of it touches anything any more.
WEFT_DEVICE_CODE void lane_end(Threads threads, void* block, LaneEnd* end, Ended how) {
    block_sync(block);
    if (threads.index == 0) {
        store_release(reinterpret_cast<uint64_t*>(&end->how), static_cast<uint64_t>(how));
    }
}

// What block `index` of a launch runs, from its first step to its last: a lane of one rank, or its
// tiles of a carried program, which leaves no end.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE void lane_run(Threads threads, void* block, SharedLane* shared,
                               const Launch& launch, uint32_t index) {
    const bool carried = launch.rank_count == 0;
    const LanesRank& rank = launch.ranks[carried ? 0 : index / launch.lane_count];
    const uint32_t lane = index % launch.lane_count;
    threads.loops = static_cast<Loops>(launch.loops);
    const Here here{threads, block, shared, carried ? &launch.carried.part : &rank.part};
    LaneEnd* const end = carried ? nullptr : rank.part.ends + lane;
    Ended how = Ended::aborted;
    bool begin = false;
    if (carried) {
        begin = !stopped(here);
        if (begin) {
            carried_read<type>(here, launch.carried);
        }
    } else {
        begin = lane_read<type>(here, rank, lane);
    }
    const Tiles tiles{carried ? lane : 0, carried ? launch.lane_count : 1, carried};
    if (begin) {
        how = tiles_run<type, op>(here, tiles, end);
    }
    if (carried) {
        return;
    }
    if (how == Ended::well) {
        epochs_move(here);
    }
    lane_end(threads, block, end, how);
}

}  // namespace weft::gpu::device
