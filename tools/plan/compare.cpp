// compare: a table of every algorithm that has a plan for the call, each in its best cut, and of
// NCCL's.
#include <algorithm>

#include "src/base/log.h"
#include "tools/common/args.h"
#include "tools/common/output.h"
#include "tools/plan/actions.h"
#include "tools/plan/price.h"
#include "tools/plan/search.h"

namespace weft::planner {

namespace {

constexpr uint64_t events_per_s = 1'500'000;  // what one slow core surely does
constexpr double worth_a_search = 3;          // times the best so far

bool is_nccl(const Row& row) {
    return row.algorithm.starts_with("nccl-");
}

// Priced rows by time, the others after them.
void sort_rows(std::vector<Row>& rows) {
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
        return (a.time_ns > 0) != (b.time_ns > 0) ? a.time_ns > 0 : a.time_ns < b.time_ns;
    });
}

std::vector<Row> rows_of(const Call& call, const sim::Network& network, const Options& options) {
    std::vector<std::string> names =
        options.algo.empty() ? algorithms_of(call) : std::vector<std::string>{options.algo};
    const auto share = static_cast<uint64_t>(options.budget_s) * events_per_s / (names.size() + 2);
    const Search search(call, network, {share});
    Progress progress;
    progress.say("simulating NCCL's");
    std::vector<Row> rows = search.nccl();
    double least = 0;
    std::vector<Row> ours;
    for (const std::string& name : names) {
        progress.say("simulating " + name);
        Row row = search.first(name);
        least = row.simulated && (least <= 0 || row.time_ns < least) ? row.time_ns : least;
        ours.push_back(std::move(row));
    }
    for (Row& row : ours) {
        if (row.simulated && row.time_ns <= worth_a_search * least) {
            progress.say("searching for the best cut of " + row.algorithm);
            row = search.best(std::move(row));
        }
        rows.push_back(std::move(row));
    }
    sort_rows(rows);
    return rows;
}

std::string rows_json(const std::vector<Row>& rows) {
    std::string text = "[";
    for (size_t i = 0; i < rows.size(); i++) {
        const Row& row = rows[i];
        const std::string time = row.time_ns > 0 ? format("%.3f", row.time_ns / 1000) : "null";
        const std::string bytes =
            row.simulated ? std::to_string(row.bytes_per_nic) : std::string("null");
        text += format(
            "%s\n  {\"algorithm\": %s, \"time_us\": %s, \"bytes_per_nic\": %s, "
            "\"simulated\": %s, \"how\": %s, \"cut\": %s}",
            i == 0 ? "" : ",", tools::json_quoted(row.algorithm).c_str(), time.c_str(),
            bytes.c_str(), row.simulated ? "true" : "false", tools::json_quoted(row.how).c_str(),
            tools::json_quoted(row.cut).c_str());
    }
    return text + "\n]\n";
}

std::string row_text(const Row& row, double least, bool winner) {
    if (row.time_ns <= 0) {
        return format("  %-14s %12s %8s %14s  %s\n", row.algorithm.c_str(), "-", "-", "-",
                      row.how.c_str());
    }
    const std::string bytes = row.simulated ? std::to_string(row.bytes_per_nic) : std::string("-");
    return format("%c %-14s %12.3f %8.2f %14s  %s%s%s\n", winner ? '*' : ' ', row.algorithm.c_str(),
                  row.time_ns / 1000, row.time_ns / least, bytes.c_str(), row.how.c_str(),
                  row.cut.empty() ? "" : "; ", row.cut.c_str());
}

std::string rows_text(const Call& call, const sim::ClusterNetwork& made,
                      const std::vector<Row>& rows) {
    const double bound = bound_ns(made.network, call);
    std::string text = call_text(call) + format("; bound of the wires %.3f us\n\n", bound / 1000);
    text += format("  %-14s %12s %8s %14s  %s\n", "algorithm", "time us", "times", "bytes per NIC",
                   "how");
    const Row* best_nccl = nullptr;
    for (size_t i = 0; i < rows.size(); i++) {
        text += row_text(rows[i], rows[0].time_ns, i == 0);
        if (is_nccl(rows[i]) && rows[i].time_ns > 0 && best_nccl == nullptr) {
            best_nccl = &rows[i];
        }
    }
    text += "\n* " + rows[0].algorithm +
            format(" is the fastest, %.2f times the bound", rows[0].time_ns / bound);
    if (best_nccl != nullptr && !is_nccl(rows[0])) {
        text += format("; NCCL's best, %s, takes %.2f times as long", best_nccl->algorithm.c_str(),
                       best_nccl->time_ns / rows[0].time_ns);
    }
    if (best_nccl == nullptr) {
        text += "; there is no model of NCCL's here";
    }
    return text + ".\n" + assumed_text(made);
}

}  // namespace

Result<std::string> compare_action(const Options& options) {
    const Call call = TRY(call_of(options));
    const sim::ClusterNetwork made = TRY(network_of(call, options));
    plan::Limits limits;
    limits.algo = options.algo;
    TRY(choice_of(call, limits));  // a wrong name fails before anything is simulated
    const std::vector<Row> rows = rows_of(call, made.network, options);
    if (rows.empty() || rows[0].time_ns <= 0) {
        return tools::wrong(call_text(call) + ": nothing could be priced" +
                            (rows.empty() ? std::string() : ": " + rows[0].how));
    }
    return options.json ? rows_json(rows) : rows_text(call, made, rows);
}

}  // namespace weft::planner
