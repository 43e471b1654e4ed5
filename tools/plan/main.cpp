// weft-plan: prints the plan a call would run, or proves it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "src/base/log.h"
#include "src/plan/planner.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"

namespace {

using namespace weft;
using namespace weft::plan;

constexpr const char* usage =
    "usage: weft-plan print|prove [--coll NAME] [--ranks N] [--root R] [--count ELEMENTS]\n"
    "                             [--type BYTES|NAME] [--algo LIST] [--loads] [--net]\n"
    "                             [--hosts RANKS/RANKS...]   as in 0-3/4-7; sets --ranks\n"
    "       weft-plan prove --file PLAN\n";

struct Options {
    std::string action;
    std::string file;
    ClusterRef cluster;
    Request request;
    Limits limits;
};

Error bad(const std::string& what) {
    return make_error(Code::invalid_argument, Scope::call, what);
}

Result<uint64_t> number(const std::string& name, const std::string& text, uint64_t most) {
    char* end = nullptr;
    errno = 0;
    const uint64_t value = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || text[0] == '-' || *end != '\0' || errno != 0 || value > most) {
        return bad(format("%s %s: expected a number from 0 to %llu", name.c_str(), text.c_str(),
                          static_cast<unsigned long long>(most)));
    }
    return value;
}

Result<Coll> coll_named(const std::string& text) {
    std::string known;
    for (int i = 0; i < coll_count; i++) {
        const auto coll = static_cast<Coll>(i);
        if (text == to_string(coll) && coll != Coll::send_recv) {
            return coll;
        }
        known.append(" ").append(coll == Coll::send_recv ? "" : to_string(coll));
    }
    return bad("--coll " + text + ": known are" + known);
}

Result<uint32_t> type_bytes(const std::string& text) {
    for (int i = 0; i < data_type_count; i++) {
        if (text == to_string(static_cast<DataType>(i))) {
            return static_cast<uint32_t>(size_of(static_cast<DataType>(i)));
        }
    }
    return static_cast<uint32_t>(TRY(number("--type", text, 16)));
}

Result<void> option(Options& options, const std::string& name, const std::string& value) {
    Request& request = options.request;
    if (name == "--coll") {
        request.coll = TRY(coll_named(value));
    } else if (name == "--ranks") {
        request.rank_count = static_cast<int32_t>(TRY(number(name, value, 1 << 20)));
    } else if (name == "--root") {
        request.root = static_cast<int32_t>(TRY(number(name, value, 1 << 20)));
    } else if (name == "--count") {
        request.count = TRY(number(name, value, 1ull << 48));
    } else if (name == "--type") {
        request.elem_bytes = TRY(type_bytes(value));
    } else if (name == "--algo") {
        options.limits.algo = value;
    } else if (name == "--hosts") {
        options.cluster = TRY(cluster_parse(value));
        request.rank_count = options.cluster->rank_count();
        request.one_host = options.cluster->host_count() == 1;
    } else if (name == "--file") {
        options.file = value;
    } else {
        return bad("option " + name + " is unknown\n" + usage);
    }
    return {};
}

Result<Options> options_parse(int argc, char** argv) {
    Options options;
    options.request.rank_count = 2;
    options.request.elem_bytes = 4;
    options.request.count = 1024;
    options.action = argc > 1 ? argv[1] : "";
    if (options.action != "print" && options.action != "prove") {
        return bad(usage);
    }
    for (int i = 2; i < argc; i++) {
        const std::string name = argv[i];
        if (name == "--loads") {
            options.request.peer_load = true;
        } else if (name == "--net") {
            options.request.one_host = false;
        } else if (i + 1 < argc) {
            TRY(option(options, name, argv[++i]));
        } else {
            return bad("option " + name + " needs a value\n" + usage);
        }
    }
    return options;
}

Result<Plan> plan_of_file(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    if (!file) {
        return bad("cannot read " + path + ": " + std::strerror(errno));
    }
    return plan_parse(text.str());
}

Result<Choice> choice_of_call(const Options& options) {
    Request request = options.request;
    request.cluster = &options.cluster;
    Choice choice = TRY(choose(request, options.limits));
    std::cerr << "# " << choice.reason << "\n";
    return choice;
}

Result<Plan> plan_of_call(const Options& options) {
    const Choice choice = TRY(choice_of_call(options));
    Plan plan;
    plan.shape = choice.shape;
    for (int32_t rank = 0; rank < options.request.rank_count; rank++) {
        plan.ranks.push_back(TRY(generate(choice.shape, choice.lanes, rank)));
    }
    return plan;
}

// A part at a time: a plan of thousands of ranks never exists as a whole.
Result<Proof> prove_call(const Options& options) {
    const Choice choice = TRY(choice_of_call(options));
    ProofOptions how;
    how.progress = [](const std::string& text) { std::cerr << "# " << text << "\n"; };
    return prove(
        choice.shape, [&](int32_t rank) { return generate(choice.shape, choice.lanes, rank); },
        how);
}

Result<void> tool(int argc, char** argv) {
    const Options options = TRY(options_parse(argc, argv));
    if (options.action == "prove" && options.file.empty()) {
        const Proof proof = TRY(prove_call(options));
        std::cout << "proved: " << options.request.rank_count << " ranks, " << proof.ranks
                  << " of them run, " << proof.steps << " steps, " << proof.runs << " situations; "
                  << proof.rotation << "\n";
        return {};
    }
    const Plan plan =
        TRY(options.file.empty() ? plan_of_call(options) : plan_of_file(options.file));
    if (options.action == "print") {
        std::cout << plan_text(plan);
        return {};
    }
    TRY(prove(plan));
    size_t steps = 0;
    for (const RankPlan& part : plan.ranks) {
        for (const Lane& lane : part.lanes) {
            steps += lane.steps.size();
        }
    }
    std::cout << "proved: " << plan.ranks.size() << " ranks, " << steps << " steps\n";
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    const Result<void> result = tool(argc, argv);
    if (!result.ok()) {
        std::fprintf(stderr, "weft-plan: %s\n", result.error().what.c_str());
        return 1;
    }
    return 0;
}
