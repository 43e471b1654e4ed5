// svg: time to the right, a row for every rank, in it one for every lane; what a lane does as bars,
// what it waits for in grey, every message as an arrow from where it was posted to where it was
// heard. The same as data with --json.
#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "tools/common/args.h"
#include "tools/common/output.h"
#include "tools/plan/actions.h"

namespace weft::planner {

namespace {

using plan::StepKind;
using sim::Span;

constexpr int32_t ranks_max = 64;
constexpr size_t spans_max = 20'000;
constexpr double left = 90, top = 64, chart = 1400, lane_height = 18, rank_gap = 12, bar = 10;

struct Look {
    const char* name;
    const char* fill;
};

Look look_of(StepKind kind) {
    switch (kind) {
        case StepKind::grant:
            return {"grant", "#8172b3"};
        case StepKind::put:
            return {"put", "#4c72b0"};
        case StepKind::wait:
            return {"wait", "#55a868"};
        case StepKind::expose:
            return {"expose", "#937860"};
        case StepKind::copy:
            return {"copy", "#dd8452"};
        case StepKind::reduce:
            return {"reduce", "#c44e52"};
        case StepKind::release:
            return {"release", "#da8bc3"};
    }
    return {"?", "#000000"};
}

bool is_message(const Span& span) {
    return span.landed > 0 && span.peer >= 0;
}

class Picture {
  public:
    Picture(const Subject& subject, const sim::Network& network, const sim::Report& report)
        : subject_(subject), network_(network), report_(report) {
        for (const Span& span : report.spans) {
            lanes_ = std::max(lanes_, span.lane + 1);
        }
    }
    std::string text() const;

  private:
    double x(double ns) const { return left + chart * ns / std::max(report_.time_ns, 1.0); }
    double rank_height() const { return lanes_ * lane_height + rank_gap; }
    double y(int32_t rank, uint32_t lane) const {
        const double apart = rank / network_.ranks_per_host * rank_gap;  // between hosts
        return top + rank * rank_height() + lane * lane_height + apart;
    }
    double height() const { return y(network_.rank_count(), 0) + 10; }
    std::string rows() const;
    std::string axis() const;
    std::string legend() const;
    std::string bar_text(const Span& span) const;
    std::string arrow_text(const Span& span, size_t number) const;

    const Subject& subject_;
    const sim::Network& network_;
    const sim::Report& report_;
    uint32_t lanes_ = 1;
};

std::string label(double x, double y, const char* more, const std::string& text) {
    return format("<text x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", x, y, more,
                  tools::xml_escaped(text).c_str());
}

std::string Picture::rows() const {
    std::string text;
    for (int32_t rank = 0; rank < network_.rank_count(); rank++) {
        text += format(
            "<rect class=\"row\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
            "fill=\"%s\"/>\n",
            left, y(rank, 0) - 3, chart, lanes_ * lane_height + 2,
            network_.host_of(rank) % 2 == 0 ? "#f2f4f8" : "#f8f4f0");
        text += label(6, y(rank, 0) + bar, "", format("rank %d", rank));
        if (network_.local_of(rank) == 0 && network_.hosts > 1) {
            text += label(6, y(rank, 0) - 6, " fill=\"#777777\"",
                          format("host %d", network_.host_of(rank)));
        }
    }
    return text;
}

// About ten ticks at 1, 2 or 5 times a power of ten.
std::string Picture::axis() const {
    const double rough = std::max(report_.time_ns, 1.0) / 10;
    double step = std::pow(10, std::floor(std::log10(rough)));
    step *= rough / step > 5 ? 10 : rough / step > 2 ? 5 : rough / step > 1 ? 2 : 1;
    std::string text;
    for (double at = 0; at <= report_.time_ns; at += step) {
        text += format(
            "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
            "stroke=\"#d0d0d0\"/>\n",
            x(at), top - 8, x(at), height() - 6);
        text += label(x(at) + 2, top - 10, " fill=\"#777777\"", format("%g us", at / 1000));
    }
    return text;
}

std::string Picture::legend() const {
    std::string text;
    double at = left;
    for (const StepKind kind : {StepKind::grant, StepKind::put, StepKind::wait, StepKind::copy,
                                StepKind::reduce, StepKind::release, StepKind::expose}) {
        const Look look = look_of(kind);
        text += format("<rect x=\"%.1f\" y=\"26\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", at,
                       look.fill);
        text += label(at + 14, 35, "", look.name);
        at += 80;
    }
    text += format("<rect x=\"%.1f\" y=\"28\" width=\"20\" height=\"6\" fill=\"#c8c8c8\"/>\n", at);
    text += label(at + 24, 35, "", "blocked");
    text += label(at + 100, 35, " fill=\"#1f4e9c\"", "data message");
    text += label(at + 200, 35, " fill=\"#aaaaaa\"", "grant or signal");
    return text;
}

// Posts take no visible time: a bar is at least three units wide.
std::string Picture::bar_text(const Span& span) const {
    const Look look = look_of(span.kind);
    const double row = y(span.rank, span.lane);
    std::string text;
    if (span.began > span.reached) {
        text = format(
            "<rect class=\"blocked\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"4\" "
            "fill=\"#c8c8c8\"/>\n",
            x(span.reached), row + 3, x(span.began) - x(span.reached));
    }
    std::string what = format("rank %d lane %u tile %u step %u: %s", span.rank, span.lane,
                              span.tile, span.step, look.name);
    if (span.peer >= 0) {
        what += format(" %s %d", span.kind == StepKind::wait ? "from" : "to", span.peer);
    }
    what += format(", %llu bytes, %.3f to %.3f us", static_cast<unsigned long long>(span.bytes),
                   span.began / 1000, span.ended / 1000);
    return text + format(
                      "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\" "
                      "fill=\"%s\"><title>%s</title></rect>\n",
                      look.name, x(span.began), row, std::max(3.0, x(span.ended) - x(span.began)),
                      bar, look.fill, tools::xml_escaped(what).c_str());
}

std::string Picture::arrow_text(const Span& span, size_t number) const {
    const bool data = span.bytes > 0;
    return format(
        "<line class=\"%s\" id=\"m%zu\" x1=\"%.2f\" y1=\"%.1f\" x2=\"%.2f\" y2=\"%.1f\" "
        "stroke=\"%s\" stroke-width=\"%s\" marker-end=\"url(#%s)\"><title>%s %d to %d, "
        "%llu bytes, heard after %.3f us</title></line>\n",
        data ? "data" : "control", number, x(span.ended), y(span.rank, span.lane) + bar / 2,
        x(span.landed), y(span.peer, span.lane) + bar / 2, data ? "#1f4e9c" : "#aaaaaa",
        data ? "1" : "0.5", data ? "head" : "small", look_of(span.kind).name, span.rank, span.peer,
        static_cast<unsigned long long>(span.bytes), span.landed / 1000);
}

std::string Picture::text() const {
    const double width = left + chart + 40;
    std::string text = format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 "
        "%.0f %.0f\" font-family=\"sans-serif\" font-size=\"11\">\n"
        "<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" "
        "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" "
        "fill=\"#1f4e9c\"/></marker><marker id=\"small\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" "
        "markerWidth=\"6\" markerHeight=\"6\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" "
        "fill=\"#aaaaaa\"/></marker></defs>\n"
        "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
        width, height(), width, height());
    text += label(6, 16, " font-size=\"13\"",
                  call_text(subject_.call) + ": " + subject_.choice.reason +
                      format("; %.3f us simulated", report_.time_ns / 1000));
    text += legend() + rows() + axis();
    for (const Span& span : report_.spans) {
        text += bar_text(span);
    }
    for (size_t i = 0; i < report_.spans.size(); i++) {
        text += is_message(report_.spans[i]) ? arrow_text(report_.spans[i], i) : "";
    }
    return text + "</svg>\n";
}

std::string spans_json(const Subject& subject, const sim::Report& report) {
    std::string text =
        format("{\"algorithm\": %s, \"time_us\": %.6f, \"steps\": [",
               tools::json_quoted(algorithm_name(subject.choice)).c_str(), report.time_ns / 1000);
    for (size_t i = 0; i < report.spans.size(); i++) {
        const Span& span = report.spans[i];
        text += format(
            "%s\n  {\"rank\": %d, \"lane\": %u, \"step\": %u, \"tile\": %u, \"kind\": "
            "\"%s\", \"peer\": %d, \"bytes\": %llu, \"reached_us\": %.6f, \"began_us\": "
            "%.6f, \"ended_us\": %.6f",
            i == 0 ? "" : ",", span.rank, span.lane, span.step, span.tile,
            plan::to_string(span.kind), span.peer, static_cast<unsigned long long>(span.bytes),
            span.reached / 1000, span.began / 1000, span.ended / 1000);
        text += is_message(span) ? format(", \"heard_us\": %.6f}", span.landed / 1000) : "}";
    }
    return text + "]}\n";
}

}  // namespace

Result<std::string> svg_action(const Options& options) {
    const Subject subject = TRY(subject_of(options));
    if (subject.call.rank_count() > ranks_max) {
        return tools::wrong(
            format("a picture of %d ranks: at most %d can be read; trace shows any "
                   "number",
                   subject.call.rank_count(), ranks_max));
    }
    const sim::ClusterNetwork made = TRY(network_of(subject.call, options));
    TRY(file_plan_check(subject));
    sim::Options how;
    how.record = true;
    how.fold = sim::Fold::never;
    const sim::Report report =
        TRY(sim::simulate(made.network, subject.job(options.in_place), subject.part_of(), how));
    if (report.spans.size() > spans_max) {
        return tools::wrong(
            format("a picture of %zu steps: at most %zu can be read; choose larger "
                   "tiles (--tile) or fewer bytes",
                   report.spans.size(), spans_max));
    }
    return options.json ? spans_json(subject, report)
                        : Picture(subject, made.network, report).text();
}

}  // namespace weft::planner
