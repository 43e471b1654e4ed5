// Inside src/sim: the parts of the simulated ranks with every step matched to its counterpart,
// packed so that a run touches one record per step. Folded parts speak of the ranks of host 0 only:
// a put to a rank d hosts further is matched with the wait for a rank d hosts back.
// Thread rule: immutable once built. Failure rule: steps without counterparts are named.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/plan/planner.h"
#include "src/sim/simulate.h"

namespace weft::sim {

inline constexpr uint32_t none = UINT32_MAX;

struct SimStep {
    plan::StepKind kind = plan::StepKind::copy;
    bool data = false;          // put, wait: payload, not a signal
    bool expose = false;        // wait: on an expose
    bool marked = false;        // some `after` names it
    bool scratch = false;       // wait, release: the operand is a scratch slot
    bool copies_input = false;  // copy of the own input to the output: nothing to do in place
    bool skip_release = false;  // an input, which nobody writes out of place
    uint16_t sources = 0;
    int32_t peer = -1;
    uint32_t chunk = 0;
    uint32_t partner = none;  // put, expose: the wait; grant: the put
    uint32_t stream = none;   // put, grant, expose: sent on; wait: received from
    uint32_t operand = none;  // put, wait, release: the memory, numbered over all ranks
    uint32_t after_begin = 0, after_end = 0;
    uint32_t load_begin = 0, load_end = 0;
};

struct SimAfter {
    uint32_t chain = 0, step = 0;  // step counts over all chains
    uint32_t tiles_back = 0;
};

// One lane of one simulated rank.
struct SimChain {
    uint32_t rank = 0;  // index among the simulated ranks
    uint32_t lane = 0;
    uint32_t begin = 0, end = 0;  // its steps
};

struct Parts {
    std::vector<SimStep> steps;
    std::vector<SimChain> chains;
    std::vector<uint32_t> rank_chains;  // first chain of each rank, and the end
    std::vector<SimAfter> afters;
    std::vector<int32_t> loads;            // peers that a step reads from
    std::vector<uint32_t> stream_senders;  // chain by stream
    std::vector<uint64_t> chunk_bytes;
    uint64_t tile_bytes = 1;
    uint32_t tiles = 1;
    uint32_t operand_count = 0;
    bool folded = false;

    uint64_t bytes(uint32_t chunk, uint32_t tile) const {
        const uint64_t at = tile * tile_bytes;
        const uint64_t whole = chunk_bytes[chunk];
        return at >= whole ? 0 : (whole - at < tile_bytes ? whole - at : tile_bytes);
    }
    uint32_t rank_count() const { return static_cast<uint32_t>(rank_chains.size() - 1); }
    uint32_t chain_of(uint32_t step) const;
};

struct Folding {
    bool yes = false;
    std::string why;
};

// Whether the plan and the network look the same from every host.
Result<Folding> folding_choose(const Network& network, const Job& job, const PartOf& part_of,
                               const Options& options);
Result<Parts> parts_build(const Network& network, const Job& job, const PartOf& part_of,
                          bool folded);
std::vector<uint64_t> chunk_sizes(const Job& job);
std::string step_place(const Parts& parts, uint32_t step);
Error refuse(const std::string& what);

}  // namespace weft::sim
