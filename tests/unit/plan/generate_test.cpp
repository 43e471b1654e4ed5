// Shapes the generators refuse, and properties that are not the prover's: order of sums, bytes.
#include "src/plan/gen.h"

#include <map>

#include "src/plan/verify.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

// Puts with a source by sender, in chunks.
std::map<int32_t, uint32_t> chunks_sent(const Plan& plan) {
    std::map<int32_t, uint32_t> sent;
    for (const RankPlan& part : plan.ranks) {
        for (const Lane& lane : part.lanes) {
            for (const Step& step : lane.steps) {
                sent[part.rank] += step.kind == StepKind::put && !step.src.empty() ? 1 : 0;
            }
        }
    }
    return sent;
}

}  // namespace

TEST_CASE("shapes that no generator has are refused in one line") {
    Shape shape;
    shape.coll = Coll::gather;
    shape.rank_count = 4;
    shape.algo = Algo::ring;
    CHECK(generate(shape, 1, 0).error().what.find("no ring") != std::string::npos);
    shape.algo = Algo::direct;
    shape.loads = true;
    CHECK(generate(shape, 1, 0).error().what.find("loads") != std::string::npos);
    shape.loads = false;
    CHECK(generate(shape, 2, 0).error().what.find("chunks") != std::string::npos);
    CHECK_FALSE(generate(shape, 0, 0).ok());
    CHECK_FALSE(generate(shape, 1, 4).ok());
    shape.root = 4;
    CHECK_FALSE(generate(shape, 1, 0).ok());
    shape.coll = Coll::send_recv;
    shape.root = 0;
    CHECK_FALSE(generate(shape, 1, 0).ok());
}

TEST_CASE("the chosen shape is one that is generated") {
    for (const Coll coll : collectives) {
        for (const uint64_t count : {0ull, 1ull, 5000ull, 1ull << 20, 1ull << 26}) {
            for (const bool load : {false, true}) {
                Request request;
                request.coll = coll;
                request.rank_count = 5;
                request.count = count;
                request.peer_load = load;
                const Result<Choice> choice = choose(request, {});
                REQUIRE(choice.ok());
                CHECK(generate(choice.value().shape, choice.value().lanes, 3).ok());
            }
        }
    }
}

TEST_CASE("rings send the bound: n-1 chunks a phase") {
    for (const auto& [rank, sent] : chunks_sent(plan_make(Coll::all_reduce, Kind::ring, 7, 1))) {
        CHECK(sent == 12);
    }
    for (const auto& [rank, sent] : chunks_sent(plan_make(Coll::all_gather, Kind::ring, 7, 2))) {
        CHECK(sent == 12);
    }
    for (const auto& [rank, sent] : chunks_sent(plan_make(Coll::broadcast, Kind::ring, 7, 1, 3))) {
        CHECK(sent == (rank == 2 ? 0 : 1));
    }
}

TEST_CASE("direct reductions add in rank order, whoever computes them") {
    const Plan plan = plan_make(Coll::all_reduce, Kind::direct, 5, 1);
    for (const RankPlan& part : plan.ranks) {
        for (const Step& step : part.lanes[0].steps) {
            if (step.kind == StepKind::reduce) {
                REQUIRE(step.src.size() == 5);
                CHECK(step.finish);
                CHECK(step.src[static_cast<size_t>(part.rank)].space == Space::input);
            }
        }
    }
}

TEST_CASE("both halves of a pair make a proved plan") {
    Plan plan;
    plan.shape.coll = Coll::send_recv;
    plan.shape.rank_count = 2;
    plan.ranks = {pair_plan(true, 0, 1), pair_plan(false, 1, 0)};
    const Result<void> proved = prove(plan);
    INFO((proved.ok() ? "" : proved.error().what));
    CHECK(proved.ok());
}
