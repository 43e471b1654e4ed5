// The files of WEFT_PLAN.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "src/base/log.h"
#include "src/comm/planning.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"

namespace weft {

namespace {

Error refused(const std::string& file, const std::string& why) {
    return make_error(
        Code::invalid_usage, Scope::communicator,
        "WEFT_PLAN: " + file + why + "; see weft-plan prove --file, or leave WEFT_PLAN out");
}

Result<plan::Plan> plan_read(const std::string& file) {
    std::ifstream stream(file);
    std::stringstream text;
    text << stream.rdbuf();
    if (!stream) {
        return refused(file, std::string(": cannot be read: ") + std::strerror(errno));
    }
    Result<plan::Plan> plan = plan::plan_parse(text.str());
    if (!plan.ok()) {
        // As FILE:7: ...
        constexpr std::string_view line = "plan text line ";
        const std::string& what = plan.error().what;
        const bool has_line = what.compare(0, line.size(), line) == 0;
        return refused(file, has_line ? ':' + what.substr(line.size()) : ": " + what);
    }
    return plan;
}

Result<void> lanes_check(const std::string& file, const plan::Plan& plan) {
    if (plan.ranks.size() != static_cast<size_t>(plan.shape.rank_count)) {
        return refused(file, format(": has the parts of %zu of %d ranks", plan.ranks.size(),
                                    plan.shape.rank_count));
    }
    for (const plan::RankPlan& part : plan.ranks) {
        if (part.lanes.size() > plan::lanes_max) {
            return refused(file, format(": rank %d has %zu lanes, at most %u can run", part.rank,
                                        part.lanes.size(), plan::lanes_max));
        }
    }
    return {};
}

}  // namespace

Result<std::vector<GivenPlan>> given_plans_read(std::string_view files, int32_t rank_count) {
    std::vector<GivenPlan> plans;
    while (!files.empty()) {
        const std::string file(files.substr(0, files.find_first_of(":,")));
        files.remove_prefix(std::min(files.size(), file.size() + 1));
        if (file.empty()) {
            continue;
        }
        GivenPlan given;
        given.file = file;
        given.plan = TRY(plan_read(file));
        TRY(lanes_check(file, given.plan));
        if (given.plan.shape.rank_count == rank_count) {
            plans.push_back(std::move(given));
        }
    }
    return plans;
}

Result<void> given_plans_prove(const std::vector<GivenPlan>& plans) {
    for (const GivenPlan& given : plans) {
        const Result<void> proved = plan::prove(given.plan);
        if (!proved.ok()) {
            return refused(given.file, ": the prover refuses it: " + proved.error().what);
        }
    }
    return {};
}

std::string given_plans_digest(const std::vector<GivenPlan>& plans) {
    if (plans.empty()) {
        return "";
    }
    Sha256 hash;
    for (const GivenPlan& given : plans) {
        hash.update(plan::plan_text(given.plan));
    }
    return std::string(digest_view(hash.finish()));
}

}  // namespace weft
