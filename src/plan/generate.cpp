// One rank's part of a plan: checks the shape and lets the algorithm write each lane.
#include <algorithm>

#include "src/base/log.h"
#include "src/plan/exchange.h"
#include "src/plan/gen.h"
#include "src/plan/hier.h"
#include "src/plan/planner.h"

namespace weft::plan {

namespace {

constexpr size_t steps_max = size_t{UINT16_MAX} + 1;  // After names a step in 16 bits
constexpr uint32_t slots_plain = 2;
constexpr uint32_t slots_turns = 3;  // gen_hier_pairs.cpp, under way between two of one host
constexpr uint32_t slots_relay = 4;  // gen_hier_pairs.cpp, held while they are handed on
constexpr uint32_t slots_inputs = exchange_ahead + 1;  // exchange.h, of inputs that wait
constexpr uint32_t slots_spread = 2 * (spread_waits_behind + 1);
constexpr uint32_t slots_halving = 8;  // gen_halving.cpp, eager puts on one link

bool many_inputs(Coll coll) {
    return coll == Coll::reduce_scatter || coll == Coll::all_to_all || coll == Coll::scatter;
}

bool many_outputs(Coll coll) {
    return coll == Coll::all_gather || coll == Coll::all_to_all || coll == Coll::gather;
}

// Into how many positions one strand cuts a block.
uint32_t slices(const Shape& shape) {
    const auto ranks = static_cast<uint32_t>(shape.rank_count);
    if (shape.algo == Algo::hier && shape.cluster) {
        const auto rails = static_cast<uint32_t>(shape.cluster->rails());
        const auto hosts = static_cast<uint32_t>(shape.cluster->host_count());
        if (shape.coll == Coll::all_reduce) {
            return shape.inter == Algo::tree ? rails : rails * hosts;
        }
        return shape.coll == Coll::broadcast || shape.coll == Coll::reduce ? rails : 1;
    }
    if (shape.coll != Coll::all_reduce) {
        return 1;
    }
    return shape.algo == Algo::tree || (shape.algo == Algo::direct && !shape.loads) ? 1 : ranks;
}

bool spreads(Coll coll) {
    return coll == Coll::all_gather || coll == Coll::all_reduce || coll == Coll::broadcast;
}

uint32_t slots_needed(const Shape& shape) {
    const Algo algo = shape.algo == Algo::hier ? rail_algo(shape) : shape.algo;
    uint32_t slots = algo == Algo::halving ? slots_halving : slots_plain;
    if (shape.algo == Algo::hier && shape.cluster) {
        const auto shared = static_cast<uint32_t>(shape.cluster->rails_shared());
        const auto rails = static_cast<uint32_t>(shape.cluster->rails());
        // What two ranks of one host have for each other, at most.
        const auto units =
            static_cast<uint32_t>(shape.cluster->host_count() *
                                  ((shape.cluster->rails() + shape.cluster->ranks_min() - 1) /
                                   shape.cluster->ranks_min()));
        slots *= shared;
        if (is_reducing(shape.coll)) {
            slots = std::max(slots, std::min(slots_inputs, units));
        }
        if (spreads(shape.coll)) {
            slots = std::max(slots, std::min(slots_spread, units));
        } else if (shape.coll == Coll::all_to_all) {
            slots = std::max({slots, rails * shared, slots_turns});  // what a host has for one rank
        } else if (shape.coll == Coll::scatter) {
            slots = std::max(slots, slots_relay);
        }
    }
    return slots;
}

bool is_between_hosts(Algo algo) {
    return algo == Algo::ring || algo == Algo::halving || algo == Algo::tree || algo == Algo::mesh;
}

Result<void> cluster_check(const Shape& shape) {
    const auto bad = [](const std::string& what) {
        return make_error(Code::invalid_argument, Scope::operation, what);
    };
    if (shape.algo != Algo::hier) {
        return {};
    }
    if (!shape.cluster || shape.cluster->rank_count() != shape.rank_count ||
        shape.cluster->host_count() < 2) {
        return bad(
            format("a hierarchical plan for %d ranks needs the lists of at least two hosts "
                   "with just those ranks",
                   shape.rank_count));
    }
    if (!is_between_hosts(shape.inter)) {
        return bad(format("there is no plan by %s between hosts: use ring, halving, tree or mesh",
                          to_string(shape.inter)));
    }
    return {};
}

Result<void> shape_check(const Shape& shape, uint32_t strands, int32_t rank) {
    const auto bad = [](const std::string& what) {
        return make_error(Code::invalid_argument, Scope::operation, what);
    };
    if (shape.coll == Coll::send_recv) {
        return bad("a Send or Recv is a pair plan, not a collective plan");
    }
    if (shape.rank_count < 1 || rank < 0 || rank >= shape.rank_count || shape.root < 0 ||
        shape.root >= shape.rank_count) {
        return bad(format("plan for rank %d with root %d of %d ranks: no such rank", rank,
                          shape.root, shape.rank_count));
    }
    TRY(cluster_check(shape));
    if (!has_plan(shape.coll, shape.algo)) {
        return bad(format("%s has no %s plan", to_string(shape.coll), to_string(shape.algo)));
    }
    const bool can_load = shape.coll == Coll::all_reduce || shape.coll == Coll::reduce_scatter ||
                          shape.coll == Coll::all_gather || shape.coll == Coll::broadcast;
    if (shape.loads && (shape.algo != Algo::direct || !can_load)) {
        return bad(format("%s has no %s plan that loads from peers", to_string(shape.coll),
                          to_string(shape.algo)));
    }
    if (strands == 0 || shape.chunks != strands * slices(shape)) {
        return bad(format("plan with %u chunks on %u lanes: %s by %s cuts a block into %u",
                          shape.chunks, strands, to_string(shape.coll), to_string(shape.algo),
                          strands * slices(shape)));
    }
    return {};
}

// All ranks of the communicator: position p is rank p, and has every `strands`-th chunk.
Stage flat_stage(const Shape& shape, uint32_t strands, uint32_t strand, int32_t rank) {
    Stage stage;
    stage.coll = shape.coll;
    stage.size = shape.rank_count;
    stage.self = rank;
    stage.root = shape.root;
    stage.strand = strand;
    stage.input = {Space::input, strand, strands, 0};
    stage.output = {Space::output, strand, strands, 0};
    return stage;
}

TreeNode tree_node(Algo algo, const Stage& stage) {
    if (algo == Algo::tree) {
        return double_node(stage, stage.coll != Coll::all_reduce);
    }
    return algo == Algo::binomial ? binomial_node(stage) : chain_node(stage);
}

void flat_lane(const Shape& shape, Part& part) {
    if (shape.loads) {
        gen_loads(part);
        return;
    }
    if (shape.rank_count == 1 || shape.algo == Algo::direct) {
        gen_direct(part);
        return;
    }
    if (shape.coll == Coll::broadcast) {
        tree_down(part, tree_node(shape.algo, part.stage()));
    } else if (shape.coll == Coll::reduce) {
        tree_up(part, tree_node(shape.algo, part.stage()));
    } else if (shape.algo == Algo::halving) {
        gen_halving(part);
    } else if (shape.algo == Algo::mesh) {
        gen_mesh(part);
    } else {
        gen_ring(part);
    }
}

void flat_lanes(const Shape& shape, uint32_t strands, uint32_t strand, RankPlan& plan) {
    Stage stage = flat_stage(shape, strands, strand, plan.rank);
    const auto lane = static_cast<uint32_t>(plan.lanes.size());
    Writer writer(lane, shape.chunks);
    writer.reserve(static_cast<size_t>(shape.rank_count) * 10 + 16);
    Part part(writer, stage);
    if (shape.algo == Algo::tree && shape.coll == Coll::all_reduce && shape.rank_count > 1) {
        Writer down(lane + 1, shape.chunks);
        tree_both(writer, down, stage, tree_node(shape.algo, stage));
        plan.lanes.push_back(writer.take());
        plan.lanes.push_back(down.take());
        return;
    }
    flat_lane(shape, part);
    plan.lanes.push_back(writer.take());
}

}  // namespace

Algo rail_algo(const Shape& shape) {
    const bool blocks = shape.coll == Coll::all_gather || shape.coll == Coll::reduce_scatter;
    return blocks && shape.inter == Algo::tree ? Algo::halving : shape.inter;
}

bool is_reducing(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::reduce;
}

bool has_plan(Coll coll, Algo algo) {
    const bool spread =
        coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::all_gather;
    const bool rooted = coll == Coll::broadcast || coll == Coll::reduce;
    switch (algo) {
        case Algo::direct:
        case Algo::hier:
            return coll != Coll::send_recv;
        case Algo::ring:
            return spread || rooted;
        case Algo::halving:
        case Algo::mesh:
            return spread;
        case Algo::tree:
            return rooted || coll == Coll::all_reduce;
        case Algo::chain:
        case Algo::binomial:
            return rooted;
    }
    return false;
}

uint32_t lanes_per_strand(const Shape& shape) {
    const bool tree_sum = shape.coll == Coll::all_reduce && shape.rank_count > 1;
    if (shape.algo != Algo::hier) {
        return shape.algo == Algo::tree && tree_sum ? 2 : 1;
    }
    switch (shape.coll) {
        case Coll::all_reduce:
            return shape.inter == Algo::tree ? 4 : 3;
        case Coll::all_gather:
            return 2;
        case Coll::broadcast:
            return 3;
        case Coll::reduce_scatter:
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    return 1;
}

void shape_fit(Shape& shape, uint32_t strands) {
    const auto ranks = static_cast<uint32_t>(shape.rank_count);
    shape.chunks = strands * slices(shape);
    shape.input_blocks = many_inputs(shape.coll) ? ranks : 1;
    shape.output_blocks = many_outputs(shape.coll) ? ranks : 1;
    shape.slots_min = slots_needed(shape);
}

Result<RankPlan> generate(const Shape& shape, uint32_t strands, int32_t rank) {
    TRY(shape_check(shape, strands, rank));
    RankPlan plan;
    plan.rank = rank;
    for (uint32_t strand = 0; strand < strands; strand++) {
        if (shape.algo == Algo::hier) {
            gen_hier(shape, strands, strand, plan);
        } else {
            flat_lanes(shape, strands, strand, plan);
        }
    }
    for (const Lane& lane : plan.lanes) {
        if (lane.steps.size() > steps_max) {
            return make_error(
                Code::invalid_argument, Scope::operation,
                format("a lane of %zu steps: at most %zu can be named; use another algorithm",
                       lane.steps.size(), steps_max));
        }
    }
    return plan;
}

RankPlan pair_plan(bool is_send, int32_t rank, int32_t peer) {
    Writer writer(0, 1);
    if (is_send) {
        writer.put(peer, {Space::input, 0, -1}, 0);
    } else {
        writer.grant(peer, {Space::output, 0, -1}, 0);
        writer.wait(peer, {Space::output, 0, -1}, 0);
    }
    RankPlan plan;
    plan.rank = rank;
    plan.lanes.push_back(writer.take());
    return plan;
}

}  // namespace weft::plan
