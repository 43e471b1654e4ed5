// The prover: runs all ranks of a plan symbolically and shows that it is right, or names the step
// that is not and its counterpart. Shares nothing with the generators; geometry, matching and
// expectations are its own reading of ir.h. Thread rule: reentrant. Failure rule: the first fault
// found, as one line; a plan is never changed or repaired.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"
#include "src/plan/rotation.h"

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

// Three ways to prove the same, each used where the one before it cannot tell (docs/PROVER.md):
// folded: the ranks of one host stand for all, if the plan rotates. all_ranks: every rank is run.
// Both keep no more knowledge than ShortClocks do, and may refuse what is right; what they accept
// is right. whole_clocks: every rank, every place and every empty chunk by itself, knowing all
// there is to know: the answer is exact, and only small plans can be asked.
enum class ProofWay : uint8_t { any, folded, all_ranks, whole_clocks };

struct ProofOptions {
    ProofWay way = ProofWay::any;
    Progress progress;
    uint64_t steps_max = 40'000'000;  // that are run at once: about 200 bytes each
};

// How it was proved.
struct Proof {
    ProofWay way = ProofWay::any;
    int32_t ranks = 0;     // that were run
    uint64_t steps = 0;    // theirs
    uint32_t runs = 0;     // situations
    std::string rotation;  // whether the plan rotates, or why not
};

// The same of a plan whose parts are made when they are asked for.
Result<Proof> prove(const Shape& shape, const PartOf& part_of, const ProofOptions& options = {});

}  // namespace weft::plan
