// Whole plans for tests: what choose() would give, or a shape named outright.
#pragma once

#include <string>
#include <vector>

#include "src/plan/planner.h"
#include "tests/catch.h"

namespace weft::plan {

inline constexpr Coll collectives[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                                       Coll::broadcast,  Coll::reduce,         Coll::all_to_all,
                                       Coll::gather,     Coll::scatter};

enum class Kind { direct, ring, loads };
inline constexpr Kind kinds[] = {Kind::direct, Kind::ring, Kind::loads};

inline bool has_plan(Coll coll, Kind kind) {
    switch (kind) {
        case Kind::direct:
            return true;
        case Kind::ring:
            return coll <= Coll::reduce;
        case Kind::loads:
            return coll <= Coll::broadcast;
    }
    return false;
}

inline bool has_root(Coll coll) {
    return coll == Coll::broadcast || coll == Coll::reduce || coll == Coll::gather ||
           coll == Coll::scatter;
}

inline bool many_inputs(Coll coll) {
    return coll == Coll::reduce_scatter || coll == Coll::all_to_all || coll == Coll::scatter;
}

inline bool many_outputs(Coll coll) {
    return coll == Coll::all_gather || coll == Coll::all_to_all || coll == Coll::gather;
}

inline Plan plan_make(Coll coll, Kind kind, int32_t ranks, uint32_t lanes, int32_t root = 0) {
    Plan plan;
    Shape& shape = plan.shape;
    shape.coll = coll;
    shape.algo = kind == Kind::ring ? Algo::ring : Algo::direct;
    shape.loads = kind == Kind::loads;
    shape.rank_count = ranks;
    shape.root = root;
    const auto n = static_cast<uint32_t>(ranks);
    shape.chunks = lanes * (coll == Coll::all_reduce && kind != Kind::direct ? n : 1);
    shape.input_blocks = many_inputs(coll) ? n : 1;
    shape.output_blocks = many_outputs(coll) ? n : 1;
    for (int32_t rank = 0; rank < ranks; rank++) {
        Result<RankPlan> part = generate(shape, lanes, rank);
        REQUIRE(part.ok());
        plan.ranks.push_back(std::move(part).value());
    }
    return plan;
}

inline std::string plan_name(const Plan& plan) {
    return std::string(to_string(plan.shape.coll)) + "-" +
           (plan.shape.loads ? "loads" : to_string(plan.shape.algo)) + "-" +
           std::to_string(plan.shape.rank_count);
}

}  // namespace weft::plan
