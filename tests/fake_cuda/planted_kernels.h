// Kernels that are wrong on purpose, for the stand-in only: each counts on something that devices
// do not promise, and a hostile mode must show it. Thread rule: constants. Failure rule: null for a
// name that is none of them; a kernel that waits looks at the stop word.
#pragma once

#include <cstdint>

#include "tests/fake_cuda/kernels.h"

namespace weft::gpu {

// planted_chain: block i waits for block i - 1, as if blocks began in order.
// planted_vector: block 0 hands block 1 a number in every vector, with the round in `flags`.
// planted_misaligned: a vector 8 bytes from where one may lie.
// planted_copy: bytes from one place to another, whatever lies there, by the last thread alone.
enum class PlantedFlags : uint32_t { both, high, low };  // both: in either half, which is right
struct PlantedLaunch {
    uint64_t* words;  // by block: 1 begun, 2 done, 3 stopped; of vectors: rounds done, wrong ones
    char* data;
    char* from;
    const uint64_t* stop;
    uint64_t bytes;
    uint32_t rounds;
    PlantedFlags flags;
    bool bulk;   // vectors are stored by leaf_copy
    bool waits;  // blocks, for the one before
};
inline constexpr uint64_t planted_begun = 1;
inline constexpr uint64_t planted_done = 2;
inline constexpr uint64_t planted_stopped = 3;

Function planted_find(const char* name);

}  // namespace weft::gpu
