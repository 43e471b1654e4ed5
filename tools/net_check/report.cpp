#include "tools/net_check/report.h"

#include <algorithm>
#include <sstream>

#include "src/base/log.h"
#include "tools/common/output.h"

namespace weft::netcheck {

namespace {

const char* state_word(State state) {
    switch (state) {
        case State::ok:
            return "ok";
        case State::skipped:
            return "skipped";
        default:
            return "FAILED";
    }
}

// A reason is one line, whatever the plugin logged.
std::string one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
    return text;
}

struct Figure {
    std::string name, number;
};

std::vector<Figure> figures_of(const Verdict& verdict) {
    std::vector<Figure> figures;
    std::istringstream words(verdict.state == State::ok ? verdict.why : "");
    for (std::string word; words >> word;) {
        if (const size_t equals = word.find('='); equals != std::string::npos) {
            figures.push_back({word.substr(0, equals), word.substr(equals + 1)});
        }
    }
    return figures;
}

std::string figures_json(const Verdict& verdict) {
    std::string text;
    for (const Figure& figure : figures_of(verdict)) {
        text += (text.empty() ? "" : ", ") + tools::json_quoted(figure.name) + ": " + figure.number;
    }
    return text.empty() ? "" : ", \"figures\": {" + text + "}";
}

}  // namespace

Result<void> Report::add(Line line) {
    line.verdict.why = one_line(line.verdict.why);
    std::string text =
        format("v%-3d %-20s %s", line.version, line.check.c_str(), state_word(line.verdict.state));
    if (line.verdict.state != State::ok) {
        text += " " + line.verdict.why;
    } else {
        for (const Figure& figure : figures_of(line.verdict)) {
            text += format("\n     %-20s %s", figure.name.c_str(), figure.number.c_str());
        }
    }
    lines_.push_back(std::move(line));
    return tools::print(text + "\n");
}

int Report::count(State state) const {
    return static_cast<int>(std::count_if(
        lines_.begin(), lines_.end(), [&](const Line& one) { return one.verdict.state == state; }));
}

Result<void> Report::finish() {
    TRY(tools::print("memory of GPUs is not checked: all messages are in host memory\n"));
    return tools::print(format("%d passed, %d failed, %d skipped\n", count(State::ok), failed(),
                               count(State::skipped)));
}

std::string Report::json(const std::string& plugin) const {
    std::string text = "{\"plugin\": " + tools::json_quoted(plugin) + ", \"results\": [";
    for (size_t i = 0; i < lines_.size(); i++) {
        const Line& line = lines_[i];
        text += format("%s\n  {\"abi\": %d, \"check\": %s, \"result\": \"%s\", \"ms\": %lld, ",
                       i == 0 ? "" : ",", line.version, tools::json_quoted(line.check).c_str(),
                       state_word(line.verdict.state),
                       static_cast<long long>(line.took / nanos_per_ms));
        const bool ok = line.verdict.state == State::ok;
        text += "\"why\": " + tools::json_quoted(ok ? "" : line.verdict.why) +
                figures_json(line.verdict) + "}";
    }
    return text + "\n]}\n";
}

}  // namespace weft::netcheck
