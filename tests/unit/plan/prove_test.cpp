// The ways to a proof against each other: one host for all, every rank with short clocks, every
// rank with whole ones. What a quicker way accepts the exact one must accept; on what generators
// make the quick ones must not give up.
#include <algorithm>
#include <cstdio>

#include "src/plan/rotation.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"
#include "tests/unit/plan/mutants.h"

using namespace weft;
using namespace weft::plan;

namespace {

PartOf source_of(const Plan& plan) {
    return
        [&plan](int32_t rank) -> Result<RankPlan> { return plan.ranks[static_cast<size_t>(rank)]; };
}

Result<Proof> prove_by(const Plan& plan, ProofWay way) {
    return prove(plan.shape, source_of(plan), {way, nullptr});
}

std::string said(const Result<Proof>& proof) {
    return proof.ok() ? "accepted" : proof.error().what;
}

// Every plan there is of few ranks.
template <class Use>
void each_small_plan(Use use) {
    for (const int32_t ranks : {2, 3, 4, 5}) {
        for (const Coll coll : collectives) {
            for (const Kind kind : kinds) {
                if (has_plan(coll, kind)) {
                    use(plan_make(coll, kind, ranks, ranks == 4 ? 2 : 1, has_root(coll) ? 1 : 0));
                }
            }
        }
    }
    for (const auto& sizes : std::vector<std::vector<int32_t>>{{2, 2}, {2, 2, 2}, {3, 3}, {1, 2}}) {
        for (const Coll coll : collectives) {
            for (const Algo inter : inters) {
                const ClusterRef cluster = cluster_of(sizes, sizes.size() == 3);
                use(hier_make(coll, inter, cluster, 1, has_root(coll) ? 1 : 0));
            }
        }
    }
}

Operand image(const Operand& of, const Plan& plan, const Rotation& turn, int32_t by) {
    Operand made = of;
    made.peer = of.peer < 0 ? -1 : turn.rank(of.peer, by);
    if (of.space == Space::input || of.space == Space::output) {
        const bool input = of.space == Space::input;
        const uint32_t blocks = input ? plan.shape.input_blocks : plan.shape.output_blocks;
        made.chunk = turn.id(of.chunk, blocks > 1, by);
    }
    return made;
}

// The parts of all hosts from those of host 0.
void images_make(Plan& plan, const Rotation& turn) {
    for (int32_t rank = 0; rank < plan.shape.rank_count; rank++) {
        const int32_t by = turn.host_of(rank);
        RankPlan part = plan.ranks[static_cast<size_t>(turn.rank_at(0, turn.local_of(rank)))];
        part.rank = rank;
        for (Lane& lane : part.lanes) {
            for (Step& step : lane.steps) {
                step.peer = step.peer < 0 ? -1 : turn.rank(step.peer, by);
                step.chunk = turn.chunk(step.chunk, by);
                step.dst = image(step.dst, plan, turn, by);
                for (Operand& source : step.src) {
                    source = image(source, plan, turn, by);
                }
            }
        }
        plan.ranks[static_cast<size_t>(rank)] = part;
    }
}

// Operands that a change has moved beyond the buffers have no image.
bool within(const Plan& plan, const Step& step) {
    const auto inside = [&](const Operand& at) {
        const uint32_t blocks =
            at.space == Space::input ? plan.shape.input_blocks : plan.shape.output_blocks;
        return at.space == Space::none || at.space == Space::scratch ||
               at.chunk < blocks * plan.shape.chunks;
    };
    return inside(step.dst) && std::all_of(step.src.begin(), step.src.end(), inside);
}

// use(changed, spot), for every `stride`-th change of a step of `ranks`.
template <class Use>
void each_mutant(const Plan& plan, const std::vector<int32_t>& ranks, size_t stride, size_t& turn,
                 Use use) {
    for (const int32_t rank : ranks) {
        const auto r = static_cast<size_t>(rank);
        for (size_t l = 0; l < plan.ranks[r].lanes.size(); l++) {
            for (size_t i = 0; i < plan.ranks[r].lanes[l].steps.size(); i++) {
                for (const Operator& op : operators) {
                    if (turn++ % stride != 0) {
                        continue;
                    }
                    Plan changed = plan;
                    op.change(changed, {r, l, i});
                    if (!(changed == plan)) {
                        CAPTURE(plan_name(plan), op.what, r, l, i);
                        use(std::move(changed), Spot{r, l, i});
                    }
                }
            }
        }
    }
}

Turned turned(const Plan& plan) {
    return rotation_find(plan.shape, source_of(plan)).value();
}

}  // namespace

TEST_CASE("what generators make is proved by short clocks, and by one host where it rotates") {
    size_t plans = 0, folded = 0;
    each_small_plan([&](const Plan& plan) {
        CAPTURE(plan_name(plan), plan.shape.root);
        plans++;
        CHECK(said(prove_by(plan, ProofWay::all_ranks)) == "accepted");
        const bool own_sums = plan.shape.coll == Coll::all_reduce &&
                              plan.shape.algo == Algo::direct && !plan.shape.loads;
        const bool rotates = turned(plan).yes && !own_sums;
        CHECK((said(prove_by(plan, ProofWay::folded)) == "accepted") == rotates);
        folded += rotates;
    });
    CHECK(plans > 200);
    CHECK(folded > 60);
}

namespace {

struct Answers {
    size_t mutants = 0, accepted = 0, unsure = 0;
};

// Wrong on one rank: no host may stand for the others any more.
void check_one_rank(const Plan& plan, size_t stride, size_t& turn, Answers& answers) {
    each_mutant(plan, {0, plan.shape.rank_count - 1}, stride, turn,
                [&](const Plan& changed, const Spot&) {
                    answers.mutants++;
                    const std::string folded = said(prove_by(changed, ProofWay::folded));
                    CHECK(folded.find("cannot be folded") != folded.npos);
                    if (prove_by(changed, ProofWay::all_ranks).ok()) {
                        answers.accepted++;
                        CHECK(said(prove_by(changed, ProofWay::whole_clocks)) == "accepted");
                    }
                });
}

// Wrong on all hosts alike. Short clocks may be unsure; one host and all ranks must agree.
void check_all_hosts(const Plan& plan, size_t stride, size_t& turn, Answers& answers) {
    const Turned good = turned(plan);
    std::vector<int32_t> ranks;
    for (int32_t local = 0; good.yes && local < good.rotation.ranks_per_host(); local++) {
        ranks.push_back(good.rotation.rank_at(0, local));
    }
    each_mutant(plan, ranks, stride, turn, [&](Plan changed, const Spot& spot) {
        const auto& steps = changed.ranks[spot.rank].lanes[spot.lane].steps;
        if (spot.step < steps.size() && !within(changed, steps[spot.step])) {
            return;
        }
        images_make(changed, good.rotation);
        const bool folded = prove_by(changed, ProofWay::folded).ok();
        const std::string all = said(prove_by(changed, ProofWay::all_ranks));
        const std::string whole = said(prove_by(changed, ProofWay::whole_clocks));
        CAPTURE(all, whole);
        CHECK(folded == (all == "accepted"));
        CHECK((all != "accepted" || whole == "accepted"));
        answers.mutants++;
        answers.accepted += all == "accepted";
        answers.unsure += all != "accepted" && whole == "accepted";
    });
}

template <class Check>
Answers answers_of(Check check, size_t stride) {
    Answers answers;
    size_t turn = 0;
    each_small_plan([&](const Plan& plan) { check(plan, stride, turn, answers); });
    std::printf("%zu mutants: %zu accepted, %zu more by whole clocks only\n", answers.mutants,
                answers.accepted, answers.unsure);
    return answers;
}

}  // namespace

TEST_CASE("a change of one rank unfolds the plan, and what is accepted then is right") {
    CHECK(answers_of(check_one_rank, 29).mutants > 1000);
}

TEST_CASE("a change of all hosts alike gets one answer in every way") {
    const Answers answers = answers_of(check_all_hosts, 29);
    CHECK(answers.mutants > 500);
    CHECK(answers.unsure * 100 <= answers.mutants);
}

TEST_CASE("every change of small plans gets one answer in every way", "[.long]") {
    CHECK(answers_of(check_one_rank, 1).mutants > 30000);
    const Answers answers = answers_of(check_all_hosts, 1);
    CHECK(answers.mutants > 20000);
    CHECK(answers.unsure * 100 <= answers.mutants);
}
