// From a request to a plan. Pure: the same request gives the same choice and plan on every rank.
// Thread rule: reentrant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

// Everything the choice may depend on: identical on all ranks by construction.
struct Request {
    Coll coll = Coll::all_reduce;
    int32_t rank_count = 1;
    int32_t root = 0;
    uint64_t count = 0;  // elements per block
    uint32_t elem_bytes = 1;
    bool one_host = true;  // all ranks share memory wires
    bool peer_load =
        false;  // all ranks may load each other's exposed memory (same process or library memory)
    const ClusterRef* cluster = nullptr;  // borrowed for the call; null: one host
};

// Limits and settings that all ranks share (hashed and compared at init).
struct Limits {
    uint64_t eager_bytes = 8192;
    uint64_t tile_bytes = 0;  // 0: choose
    uint32_t strands = 0;     // 0: choose
    std::string algo;         // NCCL_ALGO, see algo_list.h
    uint32_t granted = 0;     // bit by Coll: nothing moves eagerly (NCCL_PROTO)
    // Whether that many bytes may move by value.
    bool is_small(Coll coll, uint64_t bytes) const {
        return bytes <= eager_bytes && (granted >> static_cast<uint32_t>(coll) & 1) == 0;
    }
};

struct Choice {
    Algo algo = Algo::direct;
    Shape shape;
    uint32_t lanes = 1;       // strands of the plan
    uint64_t tile_bytes = 0;  // > 0
    uint32_t tiles = 1;       // passes of every lane
    bool eager = false;       // tile fits a slot: grants are implied
    std::string reason;       // one clause for WEFT_EXPLAIN
};

// By rule: what src/tune has no better reason for, and all of one host, where the rules are
// measured.
Result<Choice> choose(const Request& request, const Limits& limits);

// One way to do it, and why. Strands or a tile of 0 are chosen by rule.
struct Way {
    Algo algo = Algo::direct;
    bool loads = false;
    Algo inter = Algo::ring;  // of hier
    uint32_t strands = 0;
    uint64_t tile_bytes = 0;
    std::string why;
};
Result<void> request_check(const Request& request);
// The choice that goes that way. The request and the way are taken to fit together.
Choice choice_of(const Request& request, const Limits& limits, const Way& way);
// The same of a shape that is fitted already: a plan that was given.
Choice choice_of_shape(const Request& request, const Limits& limits, const Shape& shape);
// Whether a block cut into that many chunks moves by value, in the slots every link has.
bool moves_eagerly(const Shape& shape, uint64_t chunk_bytes, const Limits& limits);
bool has_hosts(const Request& request);  // more than one
// One rank's part of a plan of `strands` strands; time grows with its own steps only. A strand is
// one lane, or a few that hand each other tiles.
Result<RankPlan> generate(const Shape& shape, uint32_t strands, int32_t rank);

// Whether the collective has a plan by this algorithm.
bool has_plan(Coll coll, Algo algo);
inline constexpr uint32_t lanes_max = 8;  // of a plan that is chosen
uint32_t lanes_per_strand(const Shape& shape);
// Derives chunks, blocks and slots from what the shape says already.
void shape_fit(Shape& shape, uint32_t strands);

// Bytes [begin, end) of chunk c of C in a block of `count` elements; the one rule of ir.h.
struct Extent {
    uint64_t begin = 0, end = 0;
    uint64_t bytes() const { return end - begin; }
};
Extent chunk_extent(uint64_t count, uint32_t elem_bytes, uint32_t chunks, uint32_t chunk);

// What one rank needs to run a call.
struct Planned {
    Choice choice;
    RankPlan part;
};
// Who plans for a communicator: a function of the request and of what all its ranks agreed on.
using Planner = std::function<Result<Planned>(const Request&)>;
// choose() and generate().
Planner planner_by_rule(Limits limits, int32_t rank);

// A Send or a Recv of `bytes` bytes (count = bytes, elem_bytes = 1). Known to two ranks only, so
// the part of either is made alone: the sender puts its input, the receiver grants its output.
Result<Choice> choose_pair(uint64_t bytes, const Limits& limits);
RankPlan pair_plan(bool is_send, int32_t rank, int32_t peer);

const char* to_string(Algo algo);

}  // namespace weft::plan
