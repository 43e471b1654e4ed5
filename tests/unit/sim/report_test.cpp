// What a run says about itself.
#include "src/sim/simulate.h"

#include <algorithm>

#include "tests/unit/sim/networks.h"

namespace weft::sim {

namespace {

Options recording() {
    Options options = unfolded();
    options.record = true;
    return options;
}

size_t count_of(const std::string& text, const std::string& what) {
    size_t count = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
        count++;
    }
    return count;
}

}  // namespace

TEST_CASE("the trace has a slice per step and one per wait, and balanced brackets") {
    const plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::ring, 3, 2);
    const Report report =
        run_ok(network_with_overheads(3, 1), job_make(plan, 4096), plan, recording());
    size_t steps = 0;
    for (const plan::RankPlan& rank : plan.ranks) {
        for (const plan::Lane& lane : rank.lanes) {
            steps += lane.steps.size();
        }
    }
    CHECK(report.spans.size() == steps);
    const std::string json = trace_json(report);
    const auto blocked = static_cast<size_t>(
        std::count_if(report.spans.begin(), report.spans.end(),
                      [](const Span& span) { return span.began > span.reached; }));
    CHECK(blocked > 0);
    CHECK(count_of(json, "\"ph\":\"X\"") == steps + blocked);
    CHECK(count_of(json, "process_name") == 3);
    CHECK(count_of(json, "{") == count_of(json, "}"));
    CHECK(json.find(",\n]") == std::string::npos);
    CHECK(json.find("[\n{") != std::string::npos);
}

TEST_CASE("lanes run one step at a time") {
    const plan::Plan plan = plan::plan_make(Coll::all_reduce, plan::Kind::ring, 4, 2);
    const Report report =
        run_ok(network_with_overheads(2, 2), job_make(plan, 1 << 16, 1024), plan, recording());
    std::vector<double> ends(8, 0);
    for (const Span& span : report.spans) {
        double& end = ends[static_cast<size_t>(span.rank) * 2 + span.lane];
        CHECK(span.reached >= end);
        CHECK(span.began >= span.reached);
        CHECK(span.ended >= span.began);
        end = span.ended;
    }
}

TEST_CASE("the critical path adds up to the whole time, and names the rail that is slow") {
    const plan::Plan plan = plan::plan_make(Coll::broadcast, plan::Kind::ring, 4, 1);
    Network network = network_with_overheads(4, 1);
    network.faults = {RailFault{2, 0, 0.1}};
    const Report report = run_ok(network, job_make(plan, 100000), plan, recording());
    const std::string text = critical_path(network, report);
    INFO(text);
    CHECK(text.find("by ranks 1 > 0 > 1 > 2 > 3;") != std::string::npos);
    CHECK(text.find("of rank 3 tile 0, for \"put to 3\" of rank 2") != std::string::npos);
    double whole = 0;
    for (size_t at = text.find(" % "); at != std::string::npos; at = text.find(" % ", at + 1)) {
        whole += std::stod(text.substr(text.rfind(' ', at - 1)));
    }
    CHECK(whole == Approx(100).margin(0.3));
}

TEST_CASE("a report in words has the traffic and says what was folded") {
    const plan::Plan plan = plan::plan_make(Coll::all_gather, plan::Kind::ring, 4, 1);
    const Network network = network_make(4, 1);
    const std::string text = report_text(network, run_ok(network, job_make(plan, 1000), plan));
    INFO(text);
    CHECK(text.find("4 ports sent 12000 payload bytes in 12 data and 12 other messages") !=
          std::string::npos);
    CHECK(text.find("folded: 1 of 4 ranks simulated, host 0 stands for 4 hosts") !=
          std::string::npos);
    CHECK(critical_path(network, Report{}).find("nothing was recorded") != std::string::npos);
}

}  // namespace weft::sim
