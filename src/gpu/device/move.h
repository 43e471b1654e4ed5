// Rows of bytes from one place to another, for callers that order everything by streams: nobody
// waits in here. What was stopped before it began stores nothing, and what is stopped meanwhile
// ends at the next segment. Thread rule: device code; blocks share the rows among them. Failure
// rule: none; ranges are the caller's to check.
#pragma once

#include "src/gpu/device/leaf.h"
#include "src/gpu/device/program.h"

namespace weft::gpu::device {

inline constexpr uint32_t moves_max = 64;
inline constexpr uint64_t move_segment_bytes = 64 << 10;

struct Move {
    uint64_t to, from;  // addresses
    uint64_t width, rows;
    uint64_t to_pitch, from_pitch;
};

struct MoveLaunch {
    const uint64_t* stop;  // not zero: no more
    uint64_t* clear;       // a word that is zero afterwards, unless stopped; may be null
    uint32_t block_count;
    uint32_t move_count;
    uint32_t loops;  // Loops (mem.h)
    uint32_t spare;
    Move moves[moves_max];
};
static_assert(sizeof(MoveLaunch) <= 4096);

WEFT_DEVICE_CODE bool move_stopped(Threads threads, void* block, const MoveLaunch& launch) {
    return block_any(block, threads.index == 0 && load_relaxed(launch.stop) != 0);
}

// The segments of one move, dealt out to the blocks. False: stopped.
WEFT_DEVICE_CODE bool move_one(Threads threads, void* block, const MoveLaunch& launch,
                               const Move& move, uint32_t index) {
    const uint64_t of_row = (move.width + move_segment_bytes - 1) / move_segment_bytes;
    const uint64_t segments = of_row * move.rows;
    WEFT_NO_UNROLL
    for (uint64_t segment = index; segment < segments; segment += launch.block_count) {
        if (move_stopped(threads, block, launch)) {
            return false;
        }
        const uint64_t row = segment / of_row;
        const uint64_t at = segment % of_row * move_segment_bytes;
        const uint64_t left = move.width - at;
        leaf_copy({threads.index, threads.count, static_cast<Loops>(launch.loops)},
                  reinterpret_cast<void*>(move.to + row * move.to_pitch + at),
                  reinterpret_cast<const void*>(move.from + row * move.from_pitch + at),
                  left < move_segment_bytes ? left : move_segment_bytes);
    }
    return true;
}

WEFT_DEVICE_CODE void move_run(Threads threads, void* block, const MoveLaunch& launch,
                               uint32_t index) {
    if (move_stopped(threads, block, launch)) {
        return;
    }
    if (index == 0 && threads.index == 0 && launch.clear != nullptr) {
        store_relaxed(launch.clear, 0);
    }
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < launch.move_count; ++i) {
        if (!move_one(threads, block, launch, launch.moves[i], index)) {
            return;
        }
    }
}

}  // namespace weft::gpu::device
