// Kernels of the suite: litmus tests of every function of src/gpu/device/mem.h, and what the rates
// of the library's kernels are compared with. One source for nvcc and for the stand-in driver.
// Threads count what they find wrong each in a place of its own. Thread rule: device code, all
// threads of a block. Failure rule: a wait looks at `stop`, which the host sets at the deadline.
#pragma once

#include "src/gpu/device/lanes.h"

namespace weft::gpu::device {

enum class Litmus : uint32_t { message, ll, barrier, elements, copies, host };
inline constexpr uint32_t litmus_kinds = 6;
inline constexpr uint32_t litmus_blocks = 2;
inline constexpr uint32_t litmus_words = 4096;  // of data
inline constexpr uint32_t copy_places = 16;     // at either end
inline constexpr uint32_t copy_bytes_max = 80;
inline constexpr uint32_t copy_pitch = 128;
inline constexpr uint32_t reduce_sources = 8;

struct LitmusLaunch {
    Litmus what;
    uint32_t rounds;
    uint64_t* words;   // two, in device memory, of the two blocks
    uint64_t* data;    // litmus_words of it
    uint64_t* pinned;  // two words of the host: one it stores, one stored for it
    uint64_t* wrong;   // by block and thread
    const uint64_t* stop;
};

struct CopyLaunch {
    uint64_t to[2], from[2];
    uint64_t bytes;   // each way
    uint32_t blocks;  // each way
    uint32_t ways;
};

struct ReduceLaunch {
    uint64_t to;
    uint64_t from[reduce_sources];
    uint64_t count;
    uint32_t blocks;
    uint32_t spare;
};

WEFT_DEVICE_CODE uint64_t litmus_value(uint32_t round, uint32_t i) {
    return (static_cast<uint64_t>(round) << 32 | i) * 0x9e3779b97f4a7c15ull;
}

// Thread 0 waits, all are told; false: to stop.
WEFT_DEVICE_CODE bool litmus_await(Threads threads, void* block, const uint64_t* stop,
                                   const uint64_t* word, uint64_t least) {
    bool stopped = false;
    WEFT_NO_UNROLL
    while (threads.index == 0 && load_acquire(word) < least) {
        if (load_relaxed(stop) != 0) {
            stopped = true;
            break;
        }
        poll_pause();
    }
    return !block_any(block, stopped);
}

WEFT_DEVICE_CODE void litmus_post(Threads threads, void* block, uint64_t* word, uint64_t value) {
    block_sync(block);
    if (threads.index == 0) {
        store_release(word, value);
    }
}

// Block 0 writes data plainly and tells block 1, which reads it and tells block 0.
WEFT_DEVICE_CODE uint64_t litmus_message(Threads threads, void* block, const LitmusLaunch& launch,
                                         uint32_t index) {
    uint64_t wrong = 0;
    WEFT_NO_UNROLL
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        if (!litmus_await(threads, block, launch.stop, launch.words + 1 - index,
                          index == 0 ? round - 1 : round)) {
            return wrong + 1;
        }
        WEFT_NO_UNROLL
        for (uint32_t i = threads.index; i < litmus_words / 2; i += threads.count) {
            const Vec16 value{litmus_value(round, 2 * i), litmus_value(round, 2 * i + 1)};
            if (index == 0) {
                store_vector(launch.data + 2 * i, value);
            } else {
                const Vec16 seen = load_vector(launch.data + 2 * i);
                wrong += seen.low != value.low || seen.high != value.high ? 1 : 0;
            }
        }
        litmus_post(threads, block, launch.words + index, round);
    }
    return wrong;
}

// The same by words that carry their flag: no word beside them orders anything.
WEFT_DEVICE_CODE uint64_t litmus_ll(Threads threads, void* block, const LitmusLaunch& launch,
                                    uint32_t index) {
    uint64_t wrong = 0;
    WEFT_NO_UNROLL
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        if (index == 0 && !litmus_await(threads, block, launch.stop, launch.words + 1, round - 1)) {
            return wrong + 1;
        }
        WEFT_NO_UNROLL
        for (uint32_t i = threads.index; i < litmus_words; i += threads.count) {
            const auto value = static_cast<uint32_t>(litmus_value(round, i) >> 32);
            if (index == 0) {
                ll_store(launch.data + i, value, round);
                continue;
            }
            uint64_t seen = ll_load(launch.data + i);
            WEFT_NO_UNROLL
            while (ll_flag(seen) != round && load_relaxed(launch.stop) == 0) {
                poll_pause();
                seen = ll_load(launch.data + i);
            }
            wrong += ll_flag(seen) != round || ll_data(seen) != value ? 1 : 0;
        }
        if (index == 1) {
            litmus_post(threads, block, launch.words + 1, round);
        }
    }
    return wrong;
}

// What a thread wrote before the barrier its neighbour reads after it; what one says all hear.
WEFT_DEVICE_CODE uint64_t litmus_barrier(Threads threads, void* block, const LitmusLaunch& launch,
                                         uint32_t index) {
    uint64_t* const own = launch.data + index * block_threads_max;
    uint64_t wrong = 0;
    WEFT_NO_UNROLL
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        store_element(own + threads.index, litmus_value(round, threads.index));
        block_sync(block);
        const uint32_t next = (threads.index + 1) % threads.count;
        wrong += load_element<uint64_t>(own + next) != litmus_value(round, next) ? 1 : 0;
        wrong += block_any(block, threads.index == round % threads.count) ? 0 : 1;
        wrong += block_any(block, false) ? 1 : 0;
    }
    return wrong;
}

template <class Bits>
WEFT_DEVICE_CODE uint64_t litmus_element(uint64_t* at, uint64_t value) {
    char* const bytes = reinterpret_cast<char*>(at);
    store_element<uint64_t>(at, 0);
    store_element<Bits>(bytes + 8 - sizeof(Bits), static_cast<Bits>(value));
    const Bits seen = load_element<Bits>(bytes + 8 - sizeof(Bits));
    const uint64_t rest = load_element<uint64_t>(at);
    const uint64_t wanted = static_cast<uint64_t>(static_cast<Bits>(value))
                            << (64 - 8 * sizeof(Bits));
    return seen != static_cast<Bits>(value) || rest != wanted ? 1 : 0;
}

WEFT_DEVICE_CODE uint64_t litmus_elements(Threads threads, const LitmusLaunch& launch,
                                          uint32_t index) {
    uint64_t* const own = launch.data + index * block_threads_max + threads.index;
    uint64_t wrong = 0;
    WEFT_NO_UNROLL
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        const uint64_t value = litmus_value(round, threads.index);
        wrong += litmus_element<uint8_t>(own, value) + litmus_element<uint16_t>(own, value) +
                 litmus_element<uint32_t>(own, value) + litmus_element<uint64_t>(own, value);
    }
    return wrong;
}

// Every pair of places and every length; the host compares all bytes. Block 0 only.
WEFT_DEVICE_CODE void litmus_copies(Threads threads, void* block, const LitmusLaunch& launch) {
    const char* const from = reinterpret_cast<const char*>(launch.data);
    char* to = reinterpret_cast<char*>(launch.data + litmus_words);
    WEFT_NO_UNROLL
    for (uint32_t bytes = 0; bytes <= copy_bytes_max; ++bytes) {
        WEFT_NO_UNROLL
        for (uint32_t at = 0; at < copy_places * copy_places; ++at) {
            leaf_copy(threads, to + at / copy_places, from + at % copy_places, bytes);
            to += copy_pitch;
        }
    }
    block_sync(block);
}

// The host stores a word and waits for ours: both ways across the bus. Block 0 only.
WEFT_DEVICE_CODE uint64_t litmus_host(Threads threads, void* block, const LitmusLaunch& launch) {
    WEFT_NO_UNROLL
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        if (!litmus_await(threads, block, launch.stop, launch.pinned, round)) {
            return 1;
        }
        litmus_post(threads, block, launch.pinned + 1, round);
    }
    return 0;
}

WEFT_DEVICE_CODE uint64_t litmus_one(Threads threads, void* block, const LitmusLaunch& launch,
                                     uint32_t index) {
    switch (launch.what) {
        case Litmus::message:
            return litmus_message(threads, block, launch, index);
        case Litmus::ll:
            return litmus_ll(threads, block, launch, index);
        case Litmus::barrier:
            return litmus_barrier(threads, block, launch, index);
        case Litmus::elements:
            return litmus_elements(threads, launch, index);
        case Litmus::copies:
            if (index == 0) {
                litmus_copies(threads, block, launch);
            }
            return 0;
        case Litmus::host:
            return index == 0 ? litmus_host(threads, block, launch) : 0;
    }
    return 1;
}

WEFT_DEVICE_CODE void litmus_run(Threads threads, void* block, const LitmusLaunch& launch,
                                 uint32_t index) {
    const uint64_t wrong = litmus_one(threads, block, launch, index);
    store_element(launch.wrong + index * block_threads_max + threads.index, wrong);
}

// A block's share of `count` units that are not cut finer than `unit`.
struct Share {
    uint64_t begin, count;
};
WEFT_DEVICE_CODE Share share_of(uint64_t count, uint64_t unit, uint32_t blocks, uint32_t index) {
    const uint64_t units = (count + unit - 1) / unit;
    const uint64_t begin = units * index / blocks * unit;
    const uint64_t end = units * (index + 1) / blocks * unit;
    return {begin, (end < count ? end : count) - begin};
}

WEFT_DEVICE_CODE void copy_run(Threads threads, const CopyLaunch& launch, uint32_t index) {
    const uint32_t way = index / launch.blocks;
    const Share own = share_of(launch.bytes, 512, launch.blocks, index % launch.blocks);
    leaf_copy(threads, reinterpret_cast<void*>(launch.to[way] + own.begin),
              reinterpret_cast<const void*>(launch.from[way] + own.begin), own.count);
}

WEFT_DEVICE_CODE void reduce_run(Threads threads, void* block, const char** sources,
                                 const ReduceLaunch& launch, uint32_t index) {
    const Share own = share_of(launch.count, 256, launch.blocks, index);
    WEFT_NO_UNROLL
    for (uint32_t i = threads.index; i < reduce_sources; i += threads.count) {
        sources[i] = reinterpret_cast<const char*>(launch.from[i]) + own.begin * 2;
    }
    block_sync(block);
    leaf_reduce<DataType::bfloat16, RedOp::sum>(threads,
                                                reinterpret_cast<char*>(launch.to) + own.begin * 2,
                                                sources, reduce_sources, own.count);
}

}  // namespace weft::gpu::device
