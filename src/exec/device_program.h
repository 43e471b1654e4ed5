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
#include "src/gpu/layout.h"

namespace weft {

static_assert(gpu::lane_max == lane_count_max);

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
                                   const gpu::Layout& layout, const DeviceCall& call);

// Sends and receives that begin together. `bytes` and the order in which they are given, by peer
// and direction, are what the two sides must agree on.
struct DevicePair {
    uint32_t peer = 0;
    bool is_send = false;
    const void* send = nullptr;
    void* recv = nullptr;
    uint64_t bytes = 0;
};

// Two programs, run one after the other on one stream: the first hands out the cards of all
// receives and waits for nobody, so that in the second every lane ends whichever of them run.
struct DevicePairs {
    DeviceProgram cards;  // without lanes: nothing is received
    DeviceProgram moves;
    std::vector<uint64_t> more;  // addresses, for both
};
// At most as many as pairs_fit() says, none with oneself.
DevicePairs device_lower_pairs(std::span<const DevicePair> pairs, uint32_t rank,
                               const gpu::Layout& layout);
// How many of the first pairs one launch can hold, at least one.
size_t pairs_fit(std::span<const DevicePair> pairs);

}  // namespace weft
