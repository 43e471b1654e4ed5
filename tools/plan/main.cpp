// weft-plan: what a collective would do on a cluster, and what it would cost.
#include <cstdio>

#include "tools/common/output.h"
#include "tools/plan/actions.h"

namespace weft::planner {

namespace {

Result<std::string> act(const Options& options) {
    switch (options.action) {
        case Action::print:
            return print_action(options);
        case Action::prove:
            return prove_action(options);
        case Action::price:
            return price_action(options);
        case Action::simulate:
            return simulate_action(options);
        case Action::compare:
            return compare_action(options);
        case Action::svg:
            return svg_action(options);
        case Action::trace:
            return trace_action(options);
    }
    return std::string();
}

Result<void> tool(int argc, char** argv) {
    const Options options = TRY(options_parse(argc, argv));
    if (options.help) {
        return tools::print(usage());
    }
    const std::string text = TRY(act(options));
    return options.out.empty() ? tools::print(text) : tools::file_write(options.out, text);
}

}  // namespace

}  // namespace weft::planner

int main(int argc, char** argv) {
    const auto result = weft::planner::tool(argc, argv);
    if (!result.ok()) {
        std::fprintf(stderr, "weft-plan: %s\n", result.error().what.c_str());
        return 1;
    }
    return 0;
}
