// simulate and trace: the plan on the network, event by event.
#include <algorithm>

#include "src/base/log.h"
#include "tools/common/args.h"
#include "tools/common/output.h"
#include "tools/plan/actions.h"
#include "tools/plan/price.h"

namespace weft::planner {

namespace {

using tools::json_quoted;

// Every step is kept, 100 bytes each.
constexpr uint64_t recorded_events_max = 40'000'000;

struct Simulated {
    Subject subject;
    sim::ClusterNetwork made;
    sim::Report report;
};

Result<Simulated> run(const Options& options, const sim::Options& how) {
    Simulated done;
    done.subject = TRY(subject_of(options));
    done.made = TRY(network_of(done.subject.call, options));
    TRY(file_plan_check(done.subject));
    Progress progress;
    progress.say("simulating " + call_text(done.subject.call));
    done.report = TRY(sim::simulate(done.made.network, done.subject.job(options.in_place),
                                    done.subject.part_of(), how));
    return done;
}

uint64_t bytes_per_nic(const sim::Report& report) {
    uint64_t most = 0;
    for (const sim::NicReport& nic : report.nics) {
        most = std::max({most, nic.sent.payload_bytes, nic.received.payload_bytes});
    }
    return most;
}

std::string traffic_json(const sim::RankTraffic& sent) {
    return format("{\"payload_bytes\": %llu, \"data_messages\": %llu, \"control_messages\": %llu}",
                  static_cast<unsigned long long>(sent.payload_bytes),
                  static_cast<unsigned long long>(sent.data_messages),
                  static_cast<unsigned long long>(sent.control_messages));
}

void add(sim::RankTraffic& sum, const sim::RankTraffic& sent) {
    sum.payload_bytes += sent.payload_bytes;
    sum.data_messages += sent.data_messages;
    sum.control_messages += sent.control_messages;
}

std::string hosts_json(const Simulated& done) {
    const auto each = static_cast<size_t>(done.made.network.ranks_per_host);
    std::string text;
    for (size_t host = 0; host * each < done.report.rank_ns.size(); host++) {
        sim::RankTraffic between, inside;
        for (size_t rank = host * each; rank < (host + 1) * each; rank++) {
            add(between, done.report.inter_sent[rank]);
            add(inside, done.report.intra_sent[rank]);
        }
        text += format("%s\n  {\"host\": %zu, \"between_hosts\": %s, \"inside\": %s}",
                       host == 0 ? "" : ",", host, traffic_json(between).c_str(),
                       traffic_json(inside).c_str());
    }
    return text;
}

std::string ranks_json(const Simulated& done) {
    std::string text;
    for (size_t rank = 0; rank < done.report.rank_ns.size(); rank++) {
        text += format(
            "%s\n  {\"rank\": %zu, \"time_us\": %.6f, \"between_hosts\": %s, "
            "\"inside\": %s}",
            rank == 0 ? "" : ",", rank, done.report.rank_ns[rank] / 1000,
            traffic_json(done.report.inter_sent[rank]).c_str(),
            traffic_json(done.report.intra_sent[rank]).c_str());
    }
    return text;
}

std::string simulated_json(const Simulated& done) {
    const Subject& subject = done.subject;
    return format(
               "{\"algorithm\": %s, \"reason\": %s, \"coll\": %s, \"bytes\": %llu,\n"
               "\"strands\": %u, \"tile_bytes\": %llu, \"eager\": %s,\n"
               "\"time_us\": %.6f, \"bound_us\": %.6f, \"bytes_per_nic\": %llu,\n"
               "\"events\": %llu, \"folding\": %s,\n\"assumed\": %s,\n",
               json_quoted(algorithm_name(subject.choice)).c_str(),
               json_quoted(subject.choice.reason).c_str(),
               json_quoted(weft::to_string(subject.call.coll)).c_str(),
               static_cast<unsigned long long>(subject.call.bytes()), subject.choice.lanes,
               static_cast<unsigned long long>(subject.choice.tile_bytes),
               subject.choice.eager ? "true" : "false", done.report.time_ns / 1000,
               bound_ns(done.made.network, subject.call) / 1000,
               static_cast<unsigned long long>(bytes_per_nic(done.report)),
               static_cast<unsigned long long>(done.report.events),
               json_quoted(done.report.folding).c_str(), assumed_json(done.made).c_str()) +
           "\"hosts\": [" + hosts_json(done) + "],\n\"ranks\": [" + ranks_json(done) + "]}\n";
}

std::string simulated_text(const Simulated& done) {
    const double bound = bound_ns(done.made.network, done.subject.call);
    return call_text(done.subject.call) + ": " + done.subject.choice.reason + "\n" +
           sim::report_text(done.made.network, done.report) +
           format(
               "bound of the wires %.3f us: %.2f times that; %llu bytes through the busiest "
               "NIC\n",
               bound / 1000, done.report.time_ns / bound,
               static_cast<unsigned long long>(bytes_per_nic(done.report))) +
           assumed_text(done.made);
}

}  // namespace

Result<std::string> simulate_action(const Options& options) {
    sim::Options how;
    how.record = !options.json;
    how.slots = 8;
    how.events_max = how.record ? recorded_events_max : how.events_max;
    auto done = run(options, how);
    if (!done.ok() && how.record && done.error().what.find("more than") != std::string::npos) {
        how = sim::Options{};
        done = run(options, how);
    }
    if (!done.ok()) {
        return std::move(done).error();
    }
    return options.json ? simulated_json(done.value()) : simulated_text(done.value());
}

Result<std::string> trace_action(const Options& options) {
    sim::Options how;
    how.record = true;
    how.events_max = recorded_events_max;
    return sim::trace_json(TRY(run(options, how)).report);
}

}  // namespace weft::planner
