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
    bool operator==(const DeviceCall&) const = default;
};
// What a rank's part needs.
uint64_t device_scratch_bytes(const Program& part, const DeviceCall& call);

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

// Three programs, run one after the other on one stream. The first hands out the cards of all
// receives and waits for nobody; the second waits for cards only, and the third for sends only: so
// all end, whoever runs first and however few blocks do. A program may be without lanes.
struct DevicePairs {
    DeviceProgram cards, sends, receives;
    std::vector<uint64_t> more;  // addresses, for all three
};
// At most as many as pairs_fit() says, none with oneself. Sends to as many peers as there are lanes
// do not wait for each other.
DevicePairs device_lower_pairs(std::span<const DevicePair> pairs, uint32_t rank,
                               const gpu::Layout& layout, uint32_t lanes_max);
// How many of the first pairs one launch can hold, at least one.
size_t pairs_fit(std::span<const DevicePair> pairs);

}  // namespace weft
