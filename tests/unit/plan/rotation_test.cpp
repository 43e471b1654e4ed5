// Which plans look the same from every host, and what turning makes of ranks and chunks.
#include "src/plan/rotation.h"

#include <algorithm>

#include "src/plan/text.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

Turned turned(const Plan& plan) {
    const auto part_of = [&](int32_t rank) -> Result<RankPlan> {
        return plan.ranks[static_cast<size_t>(rank)];
    };
    Result<Turned> found = rotation_find(plan.shape, part_of);
    REQUIRE(found.ok());
    return std::move(found).value();
}

Step& step_of(Plan& plan, size_t rank, StepKind kind) {
    for (Lane& lane : plan.ranks[rank].lanes) {
        for (Step& step : lane.steps) {
            if (step.kind == kind) {
                return step;
            }
        }
    }
    FAIL("no such step");
    return plan.ranks[0].lanes[0].steps[0];
}

constexpr Coll rootless[] = {Coll::all_gather, Coll::reduce_scatter, Coll::all_reduce,
                             Coll::all_to_all};

}  // namespace

TEST_CASE("plans without a root rotate, but for trees") {
    for (const Coll coll : rootless) {
        for (const Algo inter : inters) {
            for (const bool dealt : {false, true}) {
                const Plan plan = hier_make(coll, inter, cluster_of({2, 2, 2, 2, 2}, dealt), 2);
                CAPTURE(plan_name(plan));
                const bool tree = coll == Coll::all_reduce && inter == Algo::tree;
                const Turned found = turned(plan);
                CHECK(found.yes == !tree);
                CHECK(found.rotation.hosts() == (tree ? 1 : 5));
                CHECK(found.first.size() == (tree ? 0 : 2));
            }
        }
        for (const Kind kind : kinds) {
            if (has_plan(coll, kind)) {
                const Plan plan = plan_make(coll, kind, 19, 2);
                CAPTURE(plan_name(plan));
                CHECK(turned(plan).yes == (kind != Kind::tree));
            }
        }
    }
}

TEST_CASE("sums in the order of ranks stand in another order on other hosts") {
    CHECK_FALSE(turned(plan_make(Coll::reduce_scatter, Kind::ring, 5, 1)).rotation.reordered);
    CHECK(turned(plan_make(Coll::reduce_scatter, Kind::direct, 5, 1)).rotation.reordered);
    CHECK(turned(plan_make(Coll::all_reduce, Kind::mesh, 19, 1)).rotation.reordered);
}

TEST_CASE("roots and uneven hosts do not rotate, and say why") {
    const ClusterRef even = cluster_of({2, 2});
    CHECK(turned(hier_make(Coll::broadcast, Algo::ring, even, 1, 1)).why == "one rank is the root");
    const Plan uneven = hier_make(Coll::all_gather, Algo::ring, cluster_of({2, 1}), 1);
    CHECK(turned(uneven).why == "hosts differ in size");
    CHECK(turned(plan_make(Coll::all_gather, Kind::direct, 1, 1)).why == "there is one rank");
}

TEST_CASE("turning moves ranks, blocks and chunks by hosts") {
    const Plan plan = hier_make(Coll::all_reduce, Algo::ring, cluster_of({2, 2, 2}, true), 1);
    const Rotation turn = turned(plan).rotation;
    REQUIRE(turn.hosts() == 3);
    CHECK(turn.rank_at(1, 1) == 4);  // dealt: host 1 has ranks 1 and 4
    CHECK(turn.rank(4, 2) == 3);
    CHECK(turn.rank(4, 0) == 4);
    CHECK(turn.sum(2, 2) == 1);
    CHECK(turn.back(1) == 2);
    for (uint32_t chunk = 0; chunk < plan.shape.chunks; chunk++) {
        CHECK(turn.cycle_length(chunk) == 3);
        CHECK(turn.chunk(chunk, 1) != chunk);
        CHECK(turn.chunk(turn.chunk(chunk, 1), 2) == chunk);
        CHECK(turn.cycle_of(chunk) == turn.cycle_of(turn.chunk(chunk, 1)));
    }
    const Plan gather = hier_make(Coll::all_gather, Algo::ring, cluster_of({2, 2, 2}, true), 2);
    const Rotation by_block = turned(gather).rotation;
    CHECK(by_block.chunk(1, 1) == 1);
    CHECK(by_block.id(4 * 2 + 1, true, 2) == 3 * 2 + 1);
    CHECK(by_block.id(1, false, 2) == 1);
}

// One rank's part changed: whatever the change, the plan is no image of itself any more.
TEST_CASE("a change of one rank is noticed") {
    const Plan good = hier_make(Coll::all_reduce, Algo::ring, cluster_of({2, 2, 2}), 1);
    using Change = void (*)(Plan&, size_t);
    const Change changes[] = {
        [](Plan& p, size_t r) { step_of(p, r, StepKind::put).peer ^= 1; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::put).kind = StepKind::wait; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::wait).chunk ^= 1; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::wait).dst.chunk++; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::wait).dst.space = Space::output; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::wait).dst.peer = 0; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::put).src[0].chunk++; },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::put).src.pop_back(); },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::reduce).src[0].space = Space::output; },
        [](Plan& p, size_t r) {
            Step& step = step_of(p, r, StepKind::reduce);
            step.src[0] = step.src[1];
        },
        [](Plan& p, size_t r) { step_of(p, r, StepKind::reduce).finish ^= true; },
        [](Plan& p, size_t r) {
            step_of(p, r, StepKind::wait).after.push_back({0, 0, 0});
        },
        [](Plan& p, size_t r) { p.ranks[r].lanes[0].scratch_slots++; },
        [](Plan& p, size_t r) { p.ranks[r].lanes[0].steps.pop_back(); },
        [](Plan& p, size_t r) { p.ranks[r].lanes.pop_back(); },
        [](Plan& p, size_t r) { p.ranks[r].rank ^= 1; },
    };
    REQUIRE(turned(good).yes);
    for (size_t i = 0; i < std::size(changes); i++) {
        for (size_t rank = 0; rank < good.ranks.size(); rank++) {
            Plan changed = good;
            changes[i](changed, rank);
            CAPTURE(i, rank);
            CHECK_FALSE(changed == good);
            CHECK_FALSE(turned(changed).yes);
        }
    }
}

TEST_CASE("slots are names: any one-to-one numbering will do") {
    Plan plan = plan_make(Coll::reduce_scatter, Kind::ring, 4, 1);
    const auto swap_slots = [&](size_t rank, uint32_t a, uint32_t b) {
        const auto other = [&](Operand& at) {
            if (at.space == Space::scratch && (at.chunk == a || at.chunk == b)) {
                at.chunk = at.chunk == a ? b : a;
            }
        };
        for (Step& step : plan.ranks[rank].lanes[0].steps) {
            other(step.dst);
            std::for_each(step.src.begin(), step.src.end(), other);
        }
    };
    swap_slots(2, 0, 1);
    CHECK(turned(plan).yes);
    for (Step& step : plan.ranks[2].lanes[0].steps) {
        if (step.dst.space == Space::scratch && step.dst.chunk == 1) {
            step.dst.chunk = 0;  // two slots become one
        }
    }
    CHECK_FALSE(turned(plan).yes);
}

// The reader names it by its number, so the owner on another host must have the same.
TEST_CASE("a slot that peers load keeps its number") {
    const auto plan = [](const std::string& slot) {
        return plan_parse(
                   "weft-plan 1\n"
                   "shape coll=all_gather algo=direct ranks=2 root=0 chunks=1 in=1 out=2 slots=2 "
                   "loads=1\n"
                   "rank 0\nlane scratch=2\ncopy s0 <- in0 chunk 0\nexpose s0 to 1 chunk 0\n"
                   "wait 1:s0 from 1 chunk 0\ncopy out1 <- 1:s0 chunk 0\n"
                   "rank 1\nlane scratch=2\ncopy " +
                   slot + " <- in0 chunk 0\nexpose " + slot +
                   " to 0 chunk 0\nwait 0:s0 from 0 chunk 0\ncopy out0 <- 0:s0 chunk 0\n")
            .value();
    };
    CHECK(turned(plan("s0")).yes);
    CHECK_FALSE(turned(plan("s1")).yes);
}

// What a file may say before anybody has checked it.
TEST_CASE("numbers beyond all bounds are no reason to make room for them") {
    const Plan good = plan_make(Coll::all_reduce, Kind::ring, 4, 1);
    Plan plan = good;
    for (RankPlan& part : plan.ranks) {
        for (Step& step : part.lanes[0].steps) {
            step.dst.chunk = UINT32_MAX - 1;
        }
    }
    CHECK_FALSE(turned(plan).yes);
    plan = good;
    plan.shape.chunks = UINT32_MAX;
    step_of(plan, 0, StepKind::put).chunk = UINT32_MAX - 1;
    step_of(plan, 1, StepKind::put).chunk = UINT32_MAX - 1;
    CHECK_FALSE(turned(plan).yes);
    plan = good;
    plan.shape.cluster = cluster_of({2, 1});
    CHECK_FALSE(turned(plan).yes);
}

TEST_CASE("chunks must be renamed one to one, and be back after a turn by all hosts") {
    Shape shape;
    shape.rank_count = 4;
    shape.chunks = 4;
    Rotation turn = Rotation::of_hosts(shape);
    CHECK(turn.rename_chunks({1, 2, 3, 0}));
    CHECK(turn.chunk(2, 3) == 1);
    CHECK(turn.rename_chunks({1, 0, 2, 3}));
    CHECK(turn.cycle_length(0) == 2);
    CHECK(turn.cycle_length(3) == 1);
    CHECK_FALSE(turn.rename_chunks({1, 2, 0, 3}));  // three turns, not four
    CHECK_FALSE(turn.rename_chunks({1, 1, 2, 3}));
    CHECK_FALSE(turn.rename_chunks({1, 0}));
    CHECK_FALSE(turn.rename_chunks({4, 0, 1, 2}));
    CHECK_FALSE(turn.rename_chunks({UINT32_MAX, 1, 2, 3}));
}
