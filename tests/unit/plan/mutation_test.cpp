// The prover against thousands of wrong plans: every operator on the steps of a few hundred plans.
// Changes that mean nothing (two steps that commute, a release given twice) are no mutants. Of the
// others at least 95 in 100 must be refused; the rest is counted by the reason why it may pass,
// and listed one by one in the suite `long`; the exact proof must accept it too.
#include <algorithm>
#include <cstdio>
#include <map>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"
#include "tests/unit/plan/mutants.h"

using namespace weft;
using namespace weft::plan;

namespace {

bool names(const Step& step, const Operand& operand) {
    return step.dst == operand ||
           std::find(step.src.begin(), step.src.end(), operand) != step.src.end();
}

// Two neighbours whose order means nothing: different streams, and neither writes (or grants, or
// releases) what the other names.
bool commute(const Step& a, const Step& b) {
    const bool same_stream = a.kind == b.kind && a.peer >= 0 && a.peer == b.peer;
    const auto touches = [](const Step& x, const Step& y) {
        return x.dst.space != Space::none && x.kind != StepKind::expose && names(y, x.dst);
    };
    return !same_stream && !touches(a, b) && !touches(b, a);
}

// Why a survivor is as right as the plan it was made from; null: it is not known to be.
const char* reason(const Plan& plan, const Operator& op, const Spot& spot) {
    const Steps& steps = plan.ranks[spot.rank].lanes[spot.lane].steps;
    const Step& step = steps[spot.step];
    const std::string what = op.what;
    const bool computes = step.kind == StepKind::copy || step.kind == StepKind::reduce;
    if (what == "swap" && spot.step + 1 < steps.size() && commute(step, steps[spot.step + 1])) {
        return "two steps that commute";
    }
    if (what == "twice") {
        if (step.kind == StepKind::release) {
            return "a release given twice waits for nothing more";
        }
        const bool reads_own_result =
            std::find(step.src.begin(), step.src.end(), step.dst) != step.src.end();
        if (computes && !reads_own_result) {
            return "the same result computed twice";
        }
    }
    if (what.find("edge") != what.npos) {
        return "an order that follows from other edges";
    }
    if (step.kind == StepKind::release && (what == "drop" || what == "other destination")) {
        return "a release of what is known to be delivered";
    }
    if (what == "drop" && step.kind == StepKind::reduce && step.src.size() == 1) {
        return "a lone input moved to where, in place, it lies";
    }
    return nullptr;
}

bool means_nothing(const Plan& plan, const Operator& op, const Spot& spot) {
    const StepKind kind = plan.ranks[spot.rank].lanes[spot.lane].steps[spot.step].kind;
    const std::string what = op.what;
    return reason(plan, op, spot) != nullptr &&
           (what == "swap" || (what == "twice" && kind == StepKind::release));
}

struct Tally {
    bool list = false;  // every survivor with its reason
    size_t plans = 0, mutants = 0, caught = 0, named = 0;
    std::map<std::string, size_t> survivors;
};

// However it was accepted, the exact proof must say the same.
bool survives(const Plan& changed) {
    if (!prove(changed).ok()) {
        return false;
    }
    const auto part_of = [&](int32_t rank) -> Result<RankPlan> {
        return changed.ranks[static_cast<size_t>(rank)];
    };
    const Result<Proof> exact =
        prove(changed.shape, part_of, {ProofWay::whole_clocks, nullptr, 1'000'000});
    INFO((exact.ok() ? "" : exact.error().what));
    CHECK(exact.ok());
    return true;
}

void survivor_add(const Plan& plan, const Operator& op, const Spot& spot, Tally& tally) {
    const char* why = reason(plan, op, spot);
    const Step& step = plan.ranks[spot.rank].lanes[spot.lane].steps[spot.step];
    const std::string place =
        format("rank %zu lane %zu step %zu `", spot.rank, spot.lane, spot.step) + step_text(step) +
        "` of " + plan_name(plan);
    if (tally.list) {
        std::printf("%s, %s: %s\n", place.c_str(), op.what, why != nullptr ? why : "not known");
    }
    tally.survivors[std::string(op.what) + ": " + (why != nullptr ? why : place)]++;
    tally.named += why != nullptr ? 1 : 0;
}

// Every `stride`-th mutant of a plan.
void mutate(const Plan& plan, size_t stride, Tally& tally) {
    size_t turn = tally.plans++;
    for (size_t r = 0; r < plan.ranks.size(); r++) {
        for (size_t l = 0; l < plan.ranks[r].lanes.size(); l++) {
            for (size_t i = 0; i < plan.ranks[r].lanes[l].steps.size(); i++) {
                for (const Operator& op : operators) {
                    const Spot spot{r, l, i};
                    if (turn++ % stride != 0 || means_nothing(plan, op, spot)) {
                        continue;
                    }
                    Plan changed = plan;
                    op.change(changed, spot);
                    if (changed == plan) {
                        continue;
                    }
                    tally.mutants++;
                    if (survives(changed)) {
                        survivor_add(plan, op, spot, tally);
                    } else {
                        tally.caught++;
                    }
                }
            }
        }
    }
}

void mutate_all(size_t stride, Tally& tally) {
    for (const int32_t ranks : {3, 4}) {
        for (const Coll coll : collectives) {
            for (const Kind kind : kinds) {
                for (const uint32_t strands : {1u, 2u}) {
                    if (has_plan(coll, kind)) {
                        mutate(plan_make(coll, kind, ranks, strands, has_root(coll) ? 1 : 0),
                               stride, tally);
                    }
                }
            }
        }
    }
    for (const auto& sizes : std::vector<std::vector<int32_t>>{{2, 2}, {1, 2}, {2, 1, 1}, {1, 3}}) {
        for (const Coll coll : collectives) {
            for (const Algo inter : inters) {
                mutate(hier_make(coll, inter, cluster_of(sizes), 1, has_root(coll) ? 1 : 0), stride,
                       tally);
            }
        }
    }
}

void judge(const Tally& tally) {
    for (const auto& [why, count] : tally.survivors) {
        std::printf("%6zu survived, %s\n", count, why.c_str());
    }
    std::printf("%zu plans, %zu mutants, %zu caught\n", tally.plans, tally.mutants, tally.caught);
    CHECK(tally.plans >= 200);
    CHECK(tally.caught * 100 >= tally.mutants * 95);
    CHECK(tally.caught + tally.named == tally.mutants);
}

}  // namespace

TEST_CASE("sampled mutants are caught") {
    Tally tally;
    mutate_all(29, tally);
    CHECK(tally.mutants > 2000);
    judge(tally);
}

TEST_CASE("all mutants are caught", "[.long]") {
    Tally tally;
    tally.list = true;
    mutate_all(1, tally);
    judge(tally);
}
