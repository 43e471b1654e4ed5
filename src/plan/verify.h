// The prover: runs all ranks of a plan symbolically and shows that it is right, or names the step
// that is not and its counterpart. Shares nothing with the generators; geometry, matching and
// expectations are its own reading of ir.h. Thread rule: reentrant. Failure rule: the first fault
// found, as one line; a plan is never changed or repaired.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

// One situation a plan may be run in.
struct VerifyCase {
    bool eager = false;            // puts go into the link's slots, shape.slots_min of them
    uint32_t tiles = 1;            // passes of every lane
    uint32_t ops = 2;              // back to back, same links and buffers, no barrier between
    std::vector<bool> in_place;    // by rank; missing: out of place
    std::vector<bool> last_empty;  // by chunk: its last tile is empty; missing: it is not
};

Result<void> verify(const Plan& plan, const VerifyCase& how);

// What a plan must pass before it may run: both modes; 1, 2 and d+2 tiles (d: the longest
// tiles_back); out of place, in place, in place on some ranks; with and without empty chunks.
Result<void> prove(const Plan& plan);

}  // namespace weft::plan
