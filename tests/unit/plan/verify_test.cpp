// The prover must refuse what is wrong: named faults with the message a user would read, and
// mutations of every step of small plans.
#include "src/plan/verify.h"

#include <algorithm>
#include <functional>

#include "src/plan/text.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

Steps& steps_of(Plan& plan, size_t rank, size_t lane = 0) {
    return plan.ranks[rank].lanes[lane].steps;
}

void drop(Steps& steps, size_t at) {
    steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(at));
}

// Removes the first step whose text begins so; on all ranks that have it.
void drop_everywhere(Plan& plan, const std::string& beginning) {
    size_t dropped = 0;
    for (RankPlan& part : plan.ranks) {
        for (Lane& lane : part.lanes) {
            for (size_t i = 0; i < lane.steps.size(); i++) {
                if (step_text(lane.steps[i]).substr(0, beginning.size()) == beginning) {
                    drop(lane.steps, i);
                    dropped++;
                    break;
                }
            }
        }
    }
    REQUIRE(dropped > 0);
}

std::string refusal(const Plan& plan) {
    const Result<void> proved = prove(plan);
    return proved.ok() ? "" : proved.error().what;
}

Plan parsed(const std::string& text) {
    Result<Plan> plan = plan_parse(text);
    REQUIRE(plan.ok());
    return std::move(plan).value();
}

bool has(const std::string& text, const std::string& part) {
    INFO(text);
    const bool found = text.find(part) != std::string::npos;
    CHECK(found);
    return found;
}

}  // namespace

TEST_CASE("a release that only an in-place call needs is needed") {
    Plan plan = plan_make(Coll::all_reduce, Kind::ring, 4, 1);
    for (size_t rank = 0; rank < 4; rank++) {
        auto& steps = steps_of(plan, rank);
        const auto input = std::find_if(steps.begin(), steps.end(), [](const Step& step) {
            return step.kind == StepKind::release && step.dst.space == Space::input;
        });
        REQUIRE(input != steps.end());
        steps.erase(input);
    }
    const VerifyCase out_of_place{false, 2, 2, {}, {}};
    CHECK(verify(plan, out_of_place).ok());
    has(refusal(plan), "not known to be delivered");
}

TEST_CASE("a sending slot written again before its release is a race of the second tile") {
    Plan plan = plan_make(Coll::reduce_scatter, Kind::ring, 3, 1);
    drop_everywhere(plan, "release s2");
    CHECK(verify(plan, {false, 1, 1, {}, {}}).ok());
    has(verify(plan, {false, 2, 1, {}, {}}).error().what, "not known to be delivered");
}

TEST_CASE("a filled slot must be released") {
    Plan plan = plan_make(Coll::reduce, Kind::direct, 3, 1);
    drop_everywhere(plan, "release s1");
    has(verify(plan, {true, 1, 1, {}, {}}).error().what, "is not released");
    has(verify(plan, {true, 2, 1, {}, {}}).error().what, "not released");
}

TEST_CASE("readers without a closing signal let the owner finish too early") {
    Plan plan = plan_make(Coll::all_gather, Kind::loads, 2, 1);
    drop_everywhere(plan, "put to");
    drop_everywhere(plan, "wait from");
    has(refusal(plan), "the user may reuse memory that is still in use by rank");
}

TEST_CASE("a load needs its expose") {
    Plan plan = plan_make(Coll::broadcast, Kind::loads, 2, 1);
    drop_everywhere(plan, "expose");
    drop_everywhere(plan, "wait 0:in0");
    has(refusal(plan), "without having waited for its expose");
}

TEST_CASE("ranks must add in the same order") {
    Plan plan = plan_make(Coll::all_reduce, Kind::direct, 3, 1);
    for (Step& step : steps_of(plan, 1)) {
        if (step.kind == StepKind::reduce) {
            std::swap(step.src[0], step.src[2]);
        }
    }
    has(refusal(plan), "another order");
}

TEST_CASE("contributions must be there once") {
    Plan plan = plan_make(Coll::all_reduce, Kind::direct, 3, 1);
    for (Step& step : steps_of(plan, 1)) {
        if (step.kind == StepKind::reduce) {
            step.src[0] = step.src[1];
        }
    }
    has(refusal(plan), "rank 1 output chunk 0 (granted): does not hold every contribution");
}

TEST_CASE("a cycle of waits is a deadlock that names its members") {
    const std::string text = refusal(parsed(
        "weft-plan 1\n"
        "shape coll=all_gather algo=direct ranks=2 root=0 chunks=1 in=1 out=2 slots=2 loads=0\n"
        "rank 0\nlane scratch=0\ngrant out1 to 1 chunk 0\nwait out1 from 1 chunk 0\n"
        "put <- in0 to 1 chunk 0\ncopy out0 <- in0 chunk 0\n"
        "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
        "put <- in0 to 0 chunk 0\ncopy out1 <- in0 chunk 0\n"));
    has(text, "deadlock: rank 0 lane 0 step 1 `wait out1 from 1 chunk 0`");
    has(text, "waits for the put of rank 1 lane 0 step 1");
}

// Rank 0 sends three signals to rank 1, which listens only after rank 0 has spoken to rank 2.
TEST_CASE("the slots a plan declares must be enough") {
    const auto plan = [](int slots) {
        return parsed(
            "weft-plan 1\nshape coll=broadcast algo=direct ranks=3 root=0 chunks=1 in=1 "
            "out=1 slots=" +
            std::to_string(slots) +
            " loads=0\n"
            "rank 0\nlane scratch=0\nput to 1 chunk 0\nput to 1 chunk 0\n"
            "put <- in0 to 1 chunk 0\nput <- in0 to 2 chunk 0\ncopy out0 <- in0 chunk 0\n"
            "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait from 2 chunk 0\n"
            "wait from 0 chunk 0\nwait from 0 chunk 0\nwait out0 from 0 chunk 0\n"
            "rank 2\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
            "put to 1 chunk 0\n");
    };
    has(refusal(plan(2)), "waits for a free slot of the link");
    CHECK(refusal(plan(3)).empty());
}

// Rank 1 receives on lane 0 and hands on from lane 1.
TEST_CASE("lanes are tied only by `after`") {
    const auto plan = [](const std::string& after) {
        return parsed(
            "weft-plan 1\n"
            "shape coll=broadcast algo=ring ranks=3 root=0 chunks=1 in=1 out=1 slots=2 loads=0\n"
            "rank 0\nlane scratch=0\nput <- in0 to 1 chunk 0\ncopy out0 <- in0 chunk 0\n"
            "lane scratch=0\n"
            "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
            "lane scratch=0\nput <- out0 to 2 chunk 0" +
            after +
            "\nrank 2\nlane scratch=0\nlane scratch=0\ngrant out0 to 1 chunk 0\n"
            "wait out0 from 1 chunk 0\n");
    };
    CHECK(refusal(plan(" after 0.1")).empty());
    has(refusal(plan("")), "rank 1 lane 1 step 0");
    has(refusal(plan(" after 0.0")), "rank 1 lane 1 step 0");
    has(refusal(plan(" after 0.1-1")), "rank 1 lane 1 step 0");
    has(refusal(plan(" after 1.0")), "deadlock");
    has(refusal(plan(" after 0.7")), "a step that does not exist");
}

TEST_CASE("form and bounds are checked before anything runs") {
    const Plan good = plan_make(Coll::all_reduce, Kind::ring, 3, 1);
    const auto broken = [&](const std::function<void(Plan&)>& change) {
        Plan plan = good;
        change(plan);
        return refusal(plan);
    };
    CHECK(refusal(good).empty());
    has(broken([](Plan& p) { p.ranks.pop_back(); }), "2 parts");
    has(broken([](Plan& p) { p.shape.root = 3; }), "root 3");
    has(broken([](Plan& p) { p.shape.chunks = 0; }), "0 chunks");
    has(broken([](Plan& p) { p.shape.chunks = 4000000000u; }), "never written");
    has(broken([](Plan& p) { p.shape.output_blocks = 3; }), "output blocks");
    has(broken([](Plan& p) { p.ranks[1].rank = 2; }), "part 1 is rank 2");
    has(broken([](Plan& p) { p.ranks[1].lanes.clear(); }), "0 lanes");
    has(broken([](Plan& p) { p.ranks[0].lanes[0].scratch_slots = 0; }), "scratch slot");
    has(broken([](Plan& p) { steps_of(p, 0)[0].peer = 0; }), "itself");
    has(broken([](Plan& p) { steps_of(p, 0)[0].peer = 7; }), "peer");
    has(broken([](Plan& p) {
            steps_of(p, 0)[0].dst = {Space::input, 1, -1};
        }),
        "own output or scratch");
    has(broken([](Plan& p) { steps_of(p, 0)[2].src[0].chunk = 9; }), "does not exist");
    has(broken([](Plan& p) { steps_of(p, 0)[2].src[0].chunk = 0; }), "another chunk");
    has(broken([](Plan& p) { steps_of(p, 0)[2].chunk = 3; }), "does not exist");
}

TEST_CASE("buffers a rank does not have cannot be named") {
    Plan plan = plan_make(Coll::broadcast, Kind::direct, 2, 1);
    Step copy;
    copy.dst = {Space::output, 0, -1};
    copy.src = {{Space::input, 0, -1}};
    steps_of(plan, 1).push_back(copy);
    has(refusal(plan), "input chunk that does not exist");
    plan = plan_make(Coll::reduce, Kind::direct, 2, 1);
    steps_of(plan, 1).push_back(copy);
    has(refusal(plan), "output chunk that does not exist");
}
