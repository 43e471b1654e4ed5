// The plan: what each rank does for one collective, as data. Generators write it, the prover, the
// text form and the executor read it. No clock, thread, environment or pointer in here. Thread
// rule: values.
//
// Geometry. A collective's `count` elements form a *block*; a buffer has 1 or n blocks (AllGather's
// output: n). Each block is cut into C chunks; chunk c of a block covers bytes [cut(c), cut(c+1))
// with cut(c) = floor(c*E/C) elements rounded down to a 16-byte boundary, cut(C) = the block's end.
// Operand chunk i means block i / C, chunk i % C. Tile t of a chunk is its bytes [t*tile,
// (t+1)*tile). Empty tiles are skipped by the same rule on both sides: a step whose tile is empty
// does nothing, and the tile's bytes are known to both sides, because matching steps name the same
// `chunk`. One plan serves every byte count of its class.
//
// A lane runs its whole list for tile t, then for t+1. Lanes are independent strands, tied only by
// `after`.
//
// Steps, seen from the rank that runs them (p = step.peer, q = a peer):
//   grant   p may now put one tile into `dst` (own input/output/scratch). Never blocks.
//   put     send tile of `src[0]` to the memory of p's matching grant: waits for that grant, posts,
//   goes on. The source must not be
//           overwritten until a `release` of the operand (or the end of the op). With src empty: a
//           *signal*, no memory, no grant.
//   wait    until p's matching put has landed. `dst` repeats the operand of the matching grant;
//   none for a signal;
//           an operand with peer = p means: until p's matching `expose` was heard.
//   expose  p may now load `dst` (own operand) directly. Never blocks. Ended by a signal from p
//   that this rank waits for. copy    dst = src[0].      reduce  dst = src[0] op src[1] op ... (in
//   this order; dst may equal one of them).
//           Sources may have a peer (exposed before, and waited for). 16- and 8-bit floats
//           accumulate in fp32 inside one step. `finish`: dst now holds all contributions (integer
//           avg divides here).
//   release until no put of this rank from `dst` is under way; a scratch operand may then be
//           granted or written again. The end of the op waits for every put, too. A release of an
//           input operand matters only where the call is in place: elsewhere nobody writes there.
//
// Matching, per (sender, receiver, lane) and in the order of both lists, continued over tiles: i-th
// put <-> i-th wait that is not on an expose; i-th put with a source <-> i-th grant; i-th expose
// <-> i-th wait on an exposed operand.
//
// Small plans run *eager*: grants send nothing, a put goes into a pre-granted slot of the link (at
// most `slots` outstanding per (sender, receiver, lane)), wait binds a scratch operand to the slot
// or copies the slot to dst; release of a scratch operand (or the copy) frees the slot. A scratch
// operand that no wait has bound is the plan's own memory, in this mode too. One that a wait has
// filled is released, in either mode, before it is granted again and before the op ends. The same
// plan must be right in both modes; the prover checks both.
#pragma once

#include <cstdint>
#include <vector>

#include "src/base/types.h"
#include "src/plan/cluster.h"
#include "src/plan/few.h"

namespace weft::plan {

enum class Space : uint8_t { none, input, output, scratch };

struct Operand {
    Space space = Space::none;
    uint32_t chunk = 0;  // scratch: slot number in [0, lane.scratch_slots), private to the lane
    int32_t peer = -1;   // >= 0: that rank's memory
    bool operator==(const Operand&) const = default;
};

enum class StepKind : uint8_t { grant, put, wait, expose, copy, reduce, release };

struct After {
    uint16_t lane = 0;
    uint16_t step = 0;
    uint16_t tiles_back = 0;  // 0: same tile
    bool operator==(const After&) const = default;
};

struct Step {
    StepKind kind = StepKind::copy;
    int32_t peer = -1;
    uint32_t chunk =
        0;  // in [0, C): whose tile t this step moves; the step is skipped when that tile is empty
    Operand dst;  // input/output operands satisfy operand.chunk % C == chunk; scratch slots hold
                  // one tile of any chunk
    Few<Operand, 2> src;
    bool finish = false;
    Few<After, 1> after;  // starts only when those steps of this rank are done
    bool operator==(const Step&) const = default;
};

struct Lane {
    std::vector<Step> steps;
    uint32_t scratch_slots = 0;
    bool operator==(const Lane&) const = default;
};

struct RankPlan {
    int32_t rank = 0;
    std::vector<Lane> lanes;
    bool operator==(const RankPlan&) const = default;
};

enum class Algo : uint8_t { direct, ring, halving, tree, mesh, chain, binomial, hier };

// What every rank's part has in common.
struct Shape {
    Coll coll = Coll::all_reduce;
    Algo algo = Algo::direct;
    int32_t rank_count = 1;
    int32_t root = 0;
    uint32_t chunks = 1;        // C, per block
    uint32_t input_blocks = 1;  // 1 or rank_count
    uint32_t output_blocks = 1;
    uint32_t slots_min = 2;   // eager slots per (sender, receiver, lane) the plan needs
    bool loads = false;       // direct only: ranks load each other's exposed memory, nothing is put
    Algo inter = Algo::ring;  // hier only: ring, halving, tree or mesh between the hosts
    ClusterRef cluster;       // hier only
    bool operator==(const Shape&) const = default;
};

struct Plan {
    Shape shape;
    std::vector<RankPlan> ranks;
    bool operator==(const Plan&) const = default;
};

}  // namespace weft::plan
