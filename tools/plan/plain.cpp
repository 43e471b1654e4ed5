// print and prove: the plan itself.
#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"
#include "tools/common/args.h"
#include "tools/common/output.h"
#include "tools/plan/actions.h"

namespace weft::planner {

namespace {

using tools::json_quoted;

// Text grows to gigabytes where thousands of ranks have thousands of steps.
constexpr size_t printed_steps_max = 4'000'000;

size_t steps_of(const plan::RankPlan& part) {
    size_t steps = 0;
    for (const plan::Lane& lane : part.lanes) {
        steps += lane.steps.size();
    }
    return steps;
}

Result<plan::Plan> plan_whole(const Subject& subject, size_t steps_max) {
    plan::Plan plan;
    plan.shape = subject.choice.shape;
    const sim::PartOf part_of = subject.part_of();
    size_t steps = 0;
    Progress progress;
    for (int32_t rank = 0; rank < subject.call.rank_count(); rank++) {
        plan.ranks.push_back(TRY(part_of(rank)));
        steps += steps_of(plan.ranks.back());
        if (steps > steps_max) {
            return tools::wrong(
                format("the plan has more than %zu steps: print one rank's part "
                       "with --rank R",
                       steps_max));
        }
        if (rank % 64 == 63) {
            progress.say(
                format("made the parts of %d of %d ranks", rank + 1, subject.call.rank_count()));
        }
    }
    return plan;
}

std::string lane_json(const plan::Lane& lane) {
    std::string text = format("{\"scratch\": %u, \"steps\": [", lane.scratch_slots);
    for (size_t i = 0; i < lane.steps.size(); i++) {
        text += (i == 0 ? "" : ", ") + json_quoted(plan::step_text(lane.steps[i]));
    }
    return text + "]}";
}

std::string plan_json(const Subject& subject, const plan::Plan& plan) {
    std::string text = format(
        "{\"algorithm\": %s, \"reason\": %s, \"coll\": %s, \"bytes\": %llu, "
        "\"tile_bytes\": %llu, \"tiles\": %u, \"eager\": %s, \"ranks\": [",
        json_quoted(algorithm_name(subject.choice)).c_str(),
        json_quoted(subject.choice.reason).c_str(),
        json_quoted(weft::to_string(subject.call.coll)).c_str(),
        static_cast<unsigned long long>(subject.call.bytes()),
        static_cast<unsigned long long>(subject.choice.tile_bytes), subject.choice.tiles,
        subject.choice.eager ? "true" : "false");
    for (size_t r = 0; r < plan.ranks.size(); r++) {
        text += format("%s\n{\"rank\": %d, \"lanes\": [", r == 0 ? "" : ",", plan.ranks[r].rank);
        for (size_t l = 0; l < plan.ranks[r].lanes.size(); l++) {
            text += (l == 0 ? "" : ",\n  ") + lane_json(plan.ranks[r].lanes[l]);
        }
        text += "]}";
    }
    return text + "]}\n";
}

}  // namespace

Result<std::string> print_action(const Options& options) {
    const Subject subject = TRY(subject_of(options));
    plan::Plan plan;
    plan.shape = subject.choice.shape;
    if (options.rank.has_value()) {
        if (*options.rank >= subject.call.rank_count()) {
            return tools::wrong(format("--rank %d: there are %d ranks, 0 to %d", *options.rank,
                                       subject.call.rank_count(), subject.call.rank_count() - 1));
        }
        plan.ranks.push_back(TRY(subject.part_of()(*options.rank)));
    } else {
        plan = TRY(plan_whole(subject, printed_steps_max));
    }
    if (options.json) {
        return plan_json(subject, plan);
    }
    return "# " + call_text(subject.call) + ": " + subject.choice.reason + "\n" +
           plan::plan_text(plan);
}

Result<void> file_plan_check(const Subject& subject) {
    if (!subject.call.file.has_value()) {
        return {};
    }
    const auto proof = plan::prove(*subject.call.file);
    return proof.ok() ? proof : tools::wrong("the plan is refused: " + proof.error().what);
}

Result<plan::Proof> proof_of(const Subject& subject) {
    Progress progress;
    progress.say(format("proving the plan of %d ranks", subject.call.rank_count()));
    if (subject.call.file.has_value()) {
        TRY(plan::prove(*subject.call.file));
        plan::Proof proof;
        proof.ranks = subject.call.rank_count();
        for (const plan::RankPlan& part : subject.call.file->ranks) {
            proof.steps += steps_of(part);
        }
        return proof;
    }
    // A part at a time: a plan of thousands of ranks never exists as a whole.
    plan::ProofOptions how;
    how.progress = [&](const std::string& text) { progress.say(text); };
    return plan::prove(subject.choice.shape, subject.part_of(), how);
}

Result<std::string> prove_action(const Options& options) {
    const Subject subject = TRY(subject_of(options));
    const plan::Proof proof = TRY(proof_of(subject));
    const int32_t ranks = subject.call.rank_count();
    if (options.json) {
        return format(
            "{\"algorithm\": %s, \"proved\": true, \"ranks\": %d, \"ranks_run\": %d, "
            "\"steps\": %llu}\n",
            json_quoted(algorithm_name(subject.choice)).c_str(), ranks, proof.ranks,
            static_cast<unsigned long long>(proof.steps));
    }
    return format("proved: %d ranks, %d of them run, %llu steps%s%s\n", ranks, proof.ranks,
                  static_cast<unsigned long long>(proof.steps), proof.rotation.empty() ? "" : "; ",
                  proof.rotation.c_str());
}

}  // namespace weft::planner
