// What a run says about itself: the trace, the critical path and a summary in words.
#include <algorithm>
#include <array>
#include <cinttypes>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/sim/simulate.h"

namespace weft::sim {

namespace {

std::string span_name(const Span& span) {
    std::string name = plan::to_string(span.kind);
    if (span.peer >= 0) {
        name += format(span.kind == plan::StepKind::wait ? " from %d" : " to %d", span.peer);
    }
    return name;
}

void slice_add(std::string& text, const Span& span, const std::string& name, double begin,
               double end) {
    text += format(
        ",\n{\"name\":\"%s\",\"ph\":\"X\",\"ts\":%.6f,\"dur\":%.6f,\"pid\":%d,"
        "\"tid\":%u,\"args\":{\"step\":%u,\"tile\":%u,\"bytes\":%" PRIu64 "}}",
        name.c_str(), begin / 1000, (end - begin) / 1000, span.rank, span.lane, span.step,
        span.tile, span.bytes);
}

// Where a stretch of the critical path was spent.
enum class Place : uint8_t { inside, between, compute, posts, own };
constexpr std::array<const char*, 5> place_names = {
    "messages inside hosts", "messages between hosts", "copies, reduces and loads",
    "posts and steps", "other lanes of the same rank"};

struct Path {
    std::array<double, 5> ns{};
    uint32_t messages = 0;
    bool folded = false;
    double longest_ns = 0;
    const Span* longest_from = nullptr;
    const Span* longest_to = nullptr;
    std::vector<int32_t> ranks;  // last first
};

bool computes(const Span& span) {
    return span.kind == plan::StepKind::copy || span.kind == plan::StepKind::reduce;
}

void leg_add(Path& path, const Network& network, const Span& from, const Span& to) {
    const double ns = to.began - from.ended;
    // Folded, a rank's neighbour on the next host is the rank itself.
    const bool message = path.folded && from.peer >= 0;
    const bool own = from.rank == to.rank && to.kind != plan::StepKind::release && !message;
    const bool same_host =
        network.host_of(from.rank) == network.host_of(to.rank) &&
        (from.peer < 0 || network.host_of(from.peer) == network.host_of(from.rank));
    const Place place = own ? Place::own : same_host ? Place::inside : Place::between;
    path.ns[static_cast<size_t>(place)] += ns;
    path.messages += own ? 0 : 1;
    if (ns > path.longest_ns) {
        path.longest_ns = ns;
        path.longest_from = &from;
        path.longest_to = &to;
    }
}

// From the end of the last span back to the start: through the message that ended a wait where the
// lane waited, else to the lane's step before.
Path path_walk(const Network& network, const Report& report, size_t last) {
    Path path;
    path.folded = report.ranks_simulated < report.rank_ns.size();
    for (size_t at = last + 1; at != 0;) {
        const Span& span = report.spans[at - 1];
        const Place place = computes(span) ? Place::compute : Place::posts;
        path.ns[static_cast<size_t>(place)] += span.ended - span.began;
        if (path.ranks.empty() || path.ranks.back() != span.rank) {
            path.ranks.push_back(span.rank);
        }
        const bool waited = span.cause != 0 && span.began > span.reached;
        if (waited) {
            leg_add(path, network, report.spans[span.cause - 1], span);
        }
        at = waited ? span.cause : span.before;
    }
    return path;
}

std::string route_text(const Path& path) {
    constexpr size_t shown_max = 8;
    std::string text;
    for (size_t i = path.ranks.size(); i-- > 0;) {
        const size_t from_start = path.ranks.size() - 1 - i;
        if (from_start >= shown_max && i > 0) {
            continue;
        }
        text += from_start == 0 ? "" : from_start > shown_max && i == 0 ? " ... " : " > ";
        text += std::to_string(path.ranks[i]);
    }
    return text;
}

Traffic traffic_sum(const std::vector<NicReport>& reports) {
    Traffic sum;
    for (const NicReport& nic : reports) {
        sum.payload_bytes += nic.sent.payload_bytes;
        sum.data_messages += nic.sent.data_messages;
        sum.other_messages += nic.sent.other_messages;
        sum.busy_ns += nic.sent.busy_ns;
    }
    return sum;
}

std::string traffic_text(const char* name, const std::vector<NicReport>& reports, double time_ns) {
    const Traffic sum = traffic_sum(reports);
    double busiest = 0;
    for (const NicReport& nic : reports) {
        busiest = std::max({busiest, nic.sent.busy_ns, nic.received.busy_ns});
    }
    const double whole = std::max(time_ns, 1e-3);
    return format("%s: %zu ports sent %" PRIu64 " payload bytes in %" PRIu64 " data and %" PRIu64
                  " other messages, %.1f %% busy, the busiest %.1f %%\n",
                  name, reports.size(), sum.payload_bytes, sum.data_messages, sum.other_messages,
                  100 * sum.busy_ns / whole / static_cast<double>(reports.size()),
                  100 * busiest / whole);
}

}  // namespace

std::string trace_json(const Report& report) {
    std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
    for (uint32_t rank = 0; rank < report.ranks_simulated; rank++) {
        text += rank == 0 ? "\n" : ",\n";
        text += format(
            "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%u,\"tid\":0,"
            "\"args\":{\"name\":\"rank %u\"}}",
            rank, rank);
    }
    for (const Span& span : report.spans) {
        if (span.began > span.reached) {
            slice_add(text, span, "blocked: " + span_name(span), span.reached, span.began);
        }
        slice_add(text, span, span_name(span), span.began, span.ended);
    }
    return text + "\n]}\n";
}

std::string critical_path(const Network& network, const Report& report) {
    if (report.spans.empty()) {
        return "critical path: nothing was recorded";
    }
    size_t last = 0;
    for (size_t i = 0; i < report.spans.size(); i++) {
        last = report.spans[i].ended >= report.spans[last].ended ? i : last;
    }
    const Path path = path_walk(network, report, last);
    const double end = report.spans[last].ended;
    std::string text = format(
        "critical path: %.3f us to the last step (%s of rank %d), %u messages "
        "one after the other, by ranks %s;",
        end / 1000, span_name(report.spans[last]).c_str(), report.spans[last].rank, path.messages,
        route_text(path).c_str());
    for (size_t i = 0; i < path.ns.size(); i++) {
        if (path.ns[i] > 0) {
            text += format(" %.1f %% %s,", 100 * path.ns[i] / std::max(end, 1e-3), place_names[i]);
        }
    }
    text += format(" %.3f us after that until all puts were known to be delivered",
                   (report.time_ns - end) / 1000);
    if (path.longest_from != nullptr) {
        text += format("; the longest wait was %.3f us, of rank %d tile %u, for \"%s\" of rank %d",
                       path.longest_ns / 1000, path.longest_to->rank, path.longest_to->tile,
                       span_name(*path.longest_from).c_str(), path.longest_from->rank);
    }
    return text;
}

std::string report_text(const Network& network, const Report& report) {
    const auto [first, last] = std::minmax_element(report.rank_ns.begin(), report.rank_ns.end());
    std::string text =
        format("%.3f us, the first rank done after %.3f us; %" PRIu64 " events; %s\n", *last / 1000,
               *first / 1000, report.events, report.folding.c_str());
    if (!report.nics.empty()) {
        text += traffic_text("between hosts", report.nics, report.time_ns);
    }
    text += traffic_text("inside hosts", report.intra, report.time_ns);
    return report.spans.empty() ? text : text + critical_path(network, report) + "\n";
}

}  // namespace weft::sim
