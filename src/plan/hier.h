// Inside src/plan: one strand of a hierarchical plan, as one rank sees it. Thread rule: reentrant.
#pragma once

#include <vector>

#include "src/plan/exchange.h"
#include "src/plan/gen.h"

namespace weft::plan {

// What a rank has from its rails it hands on before it waits for what the others of its host had a
// few units ago: a wait for a neighbour who is late would hold up all of them. Eager, these and as
// many more are under way on a link, so that credits have the time to come back.
inline constexpr int32_t spread_waits_behind = 3;

struct Strand {
    const Shape& shape;
    uint32_t strands, strand;
    RankPlan& plan;
    Home home;

    Strand(const Shape& of, uint32_t count, uint32_t number, RankPlan& to)
        : shape(of), strands(count), strand(number), plan(to), home(*of.cluster, to.rank) {}

    int32_t hosts() const { return home.cluster.host_count(); }
    int32_t root_host() const { return home.cluster.host_of(shape.root); }
    bool is_root() const { return plan.rank == shape.root; }
    int32_t host_at(int32_t offset) const {
        return (home.host + offset % hosts() + hosts()) % hosts();
    }
    // Blocks and slices of this strand; a key of blocks is a rank.
    Places blocks(Space space) const { return {space, strand, strands, 0}; }
    Places slices(Space space) const {
        const uint32_t cuts = one_position() ? 1 : static_cast<uint32_t>(hosts());
        return {space, strand, one_position() ? 0 : strands, cuts * strands};
    }

    Algo algo() const { return rail_algo(shape); }
    bool one_position() const {
        return shape.coll == Coll::broadcast || shape.coll == Coll::reduce ||
               (shape.coll == Coll::all_reduce && shape.inter == Algo::tree);
    }
    TreeNode tree(const Stage& stage) const {
        if (algo() == Algo::tree) {
            return double_node(stage, stage.coll != Coll::all_reduce);
        }
        return algo() == Algo::ring ? chain_node(stage) : binomial_node(stage);
    }
    // Hosts in the order in which a rail adds to their positions, or gets them.
    std::vector<int32_t> scatter_order() const;
    std::vector<int32_t> gather_order() const;
    Stage stage(Coll coll) const;

    // With room for so many steps for each position, rank of the host and port.
    Writer lane(size_t steps) const {
        Writer made(static_cast<uint32_t>(plan.lanes.size()), shape.chunks);
        const auto positions = static_cast<size_t>(one_position() ? 1 : hosts());
        made.reserve((positions + 4) * static_cast<size_t>(home.ranks * home.ports) * steps);
        return made;
    }
    void done(Writer& lane) { plan.lanes.push_back(lane.take()); }
};

// Plans that only move blocks between pairs of ranks (gen_hier_pairs.cpp).
void hier_all_to_all(Strand& strand);
void hier_gather(Strand& strand);
void hier_scatter(Strand& strand);

}  // namespace weft::plan
