// How long one rank takes for its part of a plan of 4,096 ranks. Figures, no bounds: clocks of
// shared machines prove nothing.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

double least_us(const Shape& shape, uint32_t strands, int32_t rank) {
    double least = 0;
    for (int turn = 0; turn < 20; turn++) {
        const auto begin = std::chrono::steady_clock::now();
        const Result<RankPlan> part = generate(shape, strands, rank);
        const std::chrono::duration<double, std::micro> took =
            std::chrono::steady_clock::now() - begin;
        REQUIRE(part.ok());
        least = turn == 0 ? took.count() : std::min(least, took.count());
    }
    return least;
}

}  // namespace

TEST_CASE("the part of one rank of 4,096", "[.speed]") {
    std::vector<std::vector<int32_t>> lists(512);
    for (int32_t rank = 0; rank < 4096; rank++) {
        lists[static_cast<size_t>(rank / 8)].push_back(rank);
    }
    const ClusterRef cluster{Cluster::of(std::move(lists)).value()};
    for (const Coll coll : collectives) {
        for (const Kind kind : kinds) {
            if (!has_plan(coll, kind)) {
                continue;
            }
            Shape shape;
            shape.coll = coll;
            shape.algo = algo_of(kind);
            shape.loads = kind == Kind::loads;
            shape.rank_count = 4096;
            shape_fit(shape, 1);
            std::printf("%-15s %-9s%s %7.0f us\n", to_string(coll), to_string(shape.algo),
                        shape.loads ? " loads" : "", least_us(shape, 1, 1000));
        }
        for (const Algo inter : inters) {
            Shape shape;
            shape.coll = coll;
            shape.algo = Algo::hier;
            shape.inter = inter;
            shape.rank_count = 4096;
            shape.cluster = cluster;
            for (uint32_t strands = 1; strands * lanes_per_strand(shape) <= lanes_max;
                 strands *= 2) {
                shape_fit(shape, strands);
                std::printf("%-15s hier:%-8s x%u %7.0f us\n", to_string(coll), to_string(inter),
                            strands, least_us(shape, strands, 1000));
            }
        }
    }
}
