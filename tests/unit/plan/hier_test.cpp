// Hierarchical plans: proved over shapes of clusters, and the bytes they promise.
#include "src/plan/text.h"
#include "src/plan/verify.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

void require_proved(const Plan& plan) {
    const Result<void> proved = prove(plan);
    if (!proved.ok()) {
        FAIL(plan_name(plan) << " root " << plan.shape.root << "\n"
                             << plan_text(plan) << "\n"
                             << proved.error().what);
    }
}

}  // namespace

TEST_CASE("hierarchical plans are proved") {
    const std::vector<std::vector<int32_t>> shapes = {{2, 2}, {1, 1},    {2, 2, 2},   {1, 1, 1, 1},
                                                      {3, 1}, {1, 3, 2}, {1, 4, 1, 2}};
    for (const auto& sizes : shapes) {
        for (const bool dealt : {false, true}) {
            const ClusterRef cluster = cluster_of(sizes, dealt);
            for (const Coll coll : collectives) {
                for (const Algo inter : inters) {
                    const int32_t root = has_root(coll) ? cluster->rank_count() - 1 : 0;
                    require_proved(hier_make(coll, inter, cluster, 1, root));
                }
            }
        }
    }
}

// --- bytes, counted from the plan

namespace {

struct Traffic {
    uint32_t between = 0, across = 0, copies = 0;  // chunks put to other hosts, rails; copied
};

std::vector<Traffic> traffic_of(const Plan& plan) {
    const Cluster& cluster = *plan.shape.cluster;
    std::vector<Traffic> all(plan.ranks.size());
    for (const RankPlan& part : plan.ranks) {
        Traffic& own = all[static_cast<size_t>(part.rank)];
        for (const Lane& lane : part.lanes) {
            for (const Step& step : lane.steps) {
                if (step.kind == StepKind::copy) {
                    own.copies++;
                } else if (step.kind == StepKind::put && !step.src.empty() &&
                           cluster.host_of(step.peer) != cluster.host_of(part.rank)) {
                    own.between++;
                    own.across += cluster.local_of(step.peer) != cluster.local_of(part.rank);
                }
            }
        }
    }
    return all;
}

}  // namespace

// N hosts of k ranks. A block of all_gather and reduce_scatter is S/(N*k), one chunk here; a slice
// of all_reduce is S/k, N chunks.
TEST_CASE("each rank sends the bound over its rail, and copies its own block at most") {
    for (const int32_t hosts : {2, 3, 4, 7}) {
        for (const int32_t ranks : {1, 2, 4}) {
            const std::vector<int32_t> sizes(static_cast<size_t>(hosts), ranks);
            const ClusterRef cluster = cluster_of(sizes, true);
            const auto others = static_cast<uint32_t>(hosts - 1);
            for (const Algo inter : {Algo::ring, Algo::mesh, Algo::halving}) {
                CAPTURE(hosts, ranks, to_string(inter));
                for (const Traffic& own :
                     traffic_of(hier_make(Coll::all_gather, inter, cluster, 1))) {
                    CHECK(own.between == others);
                    CHECK(own.across == 0);
                    CHECK(own.copies == 1);
                }
                for (const Traffic& own :
                     traffic_of(hier_make(Coll::reduce_scatter, inter, cluster, 1))) {
                    CHECK(own.between == others);
                    CHECK(own.across == 0);
                    CHECK(own.copies == 0);
                }
                for (const Traffic& own :
                     traffic_of(hier_make(Coll::all_reduce, inter, cluster, 1))) {
                    CHECK(own.between == 2 * others);
                    CHECK(own.across == 0);
                    CHECK(own.copies == 0);
                }
                for (const Traffic& own :
                     traffic_of(hier_make(Coll::all_to_all, inter, cluster, 1))) {
                    CHECK(own.between == others * static_cast<uint32_t>(ranks));
                    CHECK(own.across == 0);
                    CHECK(own.copies == 1);
                }
            }
        }
    }
}

TEST_CASE("rooted plans stay on their rails, and every rail takes its share") {
    for (const Coll coll : {Coll::broadcast, Coll::reduce, Coll::gather, Coll::scatter}) {
        for (const Algo inter : inters) {
            const ClusterRef cluster = cluster_of({3, 3, 3, 3, 3});
            uint32_t total = 0, most = 0, copies = 0;
            for (const Traffic& own : traffic_of(hier_make(coll, inter, cluster, 1, 7))) {
                CAPTURE(to_string(coll), to_string(inter));
                CHECK(own.across == 0);
                total += own.between;
                copies += own.copies;
                most = std::max(most, own.between);
            }
            // Slices: one a rail and host. Blocks: one a rank of another host.
            CHECK(total == 12);
            const bool tree = inter == Algo::mesh || inter == Algo::halving;
            CHECK(most == (coll == Coll::scatter                            ? 4u
                           : coll == Coll::broadcast && tree                ? 3u
                           : coll == Coll::broadcast && inter == Algo::tree ? 2u
                                                                            : 1u));
            CHECK(copies == (coll == Coll::reduce ? 0u : coll == Coll::broadcast ? 3u : 1u));
        }
    }
}

TEST_CASE("clusters that are none are refused") {
    const auto refused = [](std::vector<std::vector<int32_t>> hosts) {
        return !Cluster::of(std::move(hosts)).ok();
    };
    CHECK(refused({}));
    CHECK(refused({{0}, {}}));
    CHECK(refused({{0, 1}, {1}}));
    CHECK(refused({{0, 3}, {1}}));
    CHECK(refused({{0, -1}, {1}}));
    Shape shape;
    shape.algo = Algo::hier;
    shape.rank_count = 3;
    shape_fit(shape, 1);
    CHECK(generate(shape, 1, 0).error().what.find("hosts") != std::string::npos);
    shape.cluster = cluster_of({2, 2});
    shape_fit(shape, 1);
    CHECK_FALSE(generate(shape, 1, 0).ok());
    shape.cluster = cluster_of({3});
    shape_fit(shape, 1);
    CHECK_FALSE(generate(shape, 1, 0).ok());
    shape.cluster = cluster_of({2, 1});
    shape.inter = Algo::chain;
    shape_fit(shape, 1);
    CHECK(generate(shape, 1, 0).error().what.find("chain") != std::string::npos);
}
