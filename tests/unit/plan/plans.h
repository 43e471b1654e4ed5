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

// The flat algorithms, and direct by loads.
enum class Kind { direct, ring, loads, halving, tree, mesh, chain, binomial };
inline constexpr Kind kinds[] = {Kind::direct, Kind::ring, Kind::loads, Kind::halving,
                                 Kind::tree,   Kind::mesh, Kind::chain, Kind::binomial};

inline Algo algo_of(Kind kind) {
    switch (kind) {
        case Kind::direct:
        case Kind::loads:
            return Algo::direct;
        case Kind::ring:
            return Algo::ring;
        case Kind::halving:
            return Algo::halving;
        case Kind::tree:
            return Algo::tree;
        case Kind::mesh:
            return Algo::mesh;
        case Kind::chain:
            return Algo::chain;
        case Kind::binomial:
            return Algo::binomial;
    }
    return Algo::direct;
}

inline bool has_plan(Coll coll, Kind kind) {
    return kind == Kind::loads ? coll <= Coll::broadcast : has_plan(coll, algo_of(kind));
}

// What a hierarchy may run between hosts.
inline constexpr Algo inters[] = {Algo::ring, Algo::mesh, Algo::halving, Algo::tree};

using Steps = std::vector<Step>;

inline bool has_root(Coll coll) {
    return coll == Coll::broadcast || coll == Coll::reduce || coll == Coll::gather ||
           coll == Coll::scatter;
}

inline Plan plan_of(const Shape& shape, uint32_t strands) {
    Plan plan;
    plan.shape = shape;
    shape_fit(plan.shape, strands);
    for (int32_t rank = 0; rank < shape.rank_count; rank++) {
        Result<RankPlan> part = generate(plan.shape, strands, rank);
        if (!part.ok()) {
            FAIL(part.error().what);
        }
        plan.ranks.push_back(std::move(part).value());
    }
    return plan;
}

inline Plan plan_make(Coll coll, Kind kind, int32_t ranks, uint32_t strands, int32_t root = 0) {
    Shape shape;
    shape.coll = coll;
    shape.algo = algo_of(kind);
    shape.loads = kind == Kind::loads;
    shape.rank_count = ranks;
    shape.root = root;
    return plan_of(shape, strands);
}

// Hosts of so many ranks each. `dealt`: ranks are dealt to the hosts in turn, not in a row.
inline std::vector<std::vector<int32_t>> hosts_of(const std::vector<int32_t>& sizes,
                                                  bool dealt = false) {
    std::vector<std::vector<int32_t>> hosts(sizes.size());
    int32_t total = 0;
    for (const int32_t size : sizes) {
        total += size;
    }
    size_t host = 0;
    for (int32_t rank = 0; rank < total; rank++) {
        while (hosts[host].size() == static_cast<size_t>(sizes[host])) {
            host = (host + 1) % hosts.size();
        }
        hosts[host].push_back(rank);
        host = dealt ? (host + 1) % hosts.size() : host;
    }
    return hosts;
}

inline ClusterRef cluster_of(const std::vector<int32_t>& sizes, bool dealt = false) {
    return {Cluster::of(hosts_of(sizes, dealt)).value()};
}

inline Plan hier_make(Coll coll, Algo inter, const ClusterRef& cluster, uint32_t strands,
                      int32_t root = 0) {
    Shape shape;
    shape.coll = coll;
    shape.algo = Algo::hier;
    shape.inter = inter;
    shape.cluster = cluster;
    shape.rank_count = cluster->rank_count();
    shape.root = root;
    return plan_of(shape, strands);
}

inline std::string plan_name(const Plan& plan) {
    return std::string(to_string(plan.shape.coll)) + "-" +
           (plan.shape.loads ? "loads" : to_string(plan.shape.algo)) +
           (plan.shape.algo == Algo::hier ? std::string("-") + to_string(plan.shape.inter) : "") +
           "-" + std::to_string(plan.shape.rank_count);
}

}  // namespace weft::plan
