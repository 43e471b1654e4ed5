// weft-net-check: does a net plugin keep NCCL's contract?
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "src/base/log.h"
#include "tools/common/output.h"
#include "tools/net_check/meet.h"
#include "tools/net_check/options.h"
#include "tools/net_check/report.h"

namespace weft::netcheck {

namespace {

constexpr int failed_status = 1;
constexpr int usage_status = 2;
constexpr Nanos meeting_limit = 60 * nanos_per_s;

int refused(const Error& error) {
    std::fprintf(stderr, "weft-net-check: %s\n", error.what.c_str());
    return error.code == Code::invalid_argument ? usage_status : failed_status;
}

std::string environment(const char* name) {
    const char* text = std::getenv(name);
    return text != nullptr ? text : "";
}

std::string list_text() {
    std::string text;
    for (const Check& check : checks_all()) {
        text += format("%-20s %s%s\n", check.name, check.clause,
                       check.oldest == netplugin::abi_oldest
                           ? ""
                           : format(" (v%d and later)", check.oldest).c_str());
    }
    return text;
}

bool wanted(const Options& options, const Check& check) {
    for (const std::string& name : options.only) {
        if (name == check.name) {
            return true;
        }
    }
    return options.only.empty();
}

// A check, a bench and a soak are played alike; the two last by one version, the newest.
std::vector<std::string> names_chosen(const Options& options, int version) {
    if (options.bench || options.limits.soak != 0) {
        return {options.bench ? bench_name : soak_name};
    }
    std::vector<std::string> names;
    for (const Check& check : checks_all()) {
        if (wanted(options, check) && version >= check.oldest) {
            names.emplace_back(check.name);
        }
    }
    return names;
}

// What is exported, newest first as NCCL looks; or the one that was asked for.
Result<std::vector<int>> versions_choose(const Options& options, const Verdict& said) {
    std::vector<int> versions;
    std::istringstream words(said.why);
    for (int version = 0; words >> version;) {
        const bool enough = !versions.empty() && (options.bench || options.limits.soak != 0);
        if (!enough && (options.abi == 0 || options.abi == version)) {
            versions.push_back(version);
        }
    }
    if (versions.empty()) {
        return make_error(Code::invalid_argument, Scope::call,
                          options.abi != 0
                              ? format("%s does not export ncclNetPlugin_v%d",
                                       options.plugin.c_str(), options.abi)
                              : options.plugin + " exports none of ncclNetPlugin_v8 to _v12");
    }
    return versions;
}

// A soak has the time that was asked for on top.
Nanos deadline_of(const Options& options) {
    return options.deadline + options.limits.soak;
}

// One check of one version. That it could not be played, the other host gone for instance, is a
// failed line, too: whoever reads only the table must not miss it.
Result<bool> check_play(const Options& options, const Task& task, Meeting* meeting,
                        Report& report) {
    const Nanos begin = clock_now();
    const Nanos deadline = deadline_of(options);
    Result<Verdict> verdict = meeting != nullptr ? meeting->check(task, deadline, options.verbose)
                                                 : check_here(task, deadline, options.verbose);
    const bool played = verdict.ok();
    Verdict known = played ? std::move(verdict).value()
                           : Verdict{State::failed, verdict.error().what, clock_now()};
    TRY(report.add({task.version, task.check, std::move(known), clock_now() - begin}));
    return played;
}

Result<void> versions_check(const Options& options, const std::vector<int>& versions, Task task,
                            Meeting* meeting, Report& report) {
    for (const int version : versions) {
        for (const std::string& name : names_chosen(options, version)) {
            task.version = version;
            task.check = name;
            if (!TRY(check_play(options, task, meeting, report))) {
                return {};
            }
        }
    }
    return {};
}

Result<void> plugin_check(const Options& options, const Task& task, Meeting* meeting,
                          Report& report) {
    const Verdict said = TRY(versions_ask(task, options.deadline, options.verbose));
    if (said.state != State::ok) {
        return report.add({options.abi, "load", said, 0});
    }
    const std::vector<int> versions = TRY(versions_choose(options, said));
    return versions_check(options, versions, task, meeting, report);
}

// A plugin that cannot be loaded is one failed line.
Result<int> play(const Options& options) {
    Task task;
    task.limits = options.limits;
    task.plugin = options.plugin;
    task.check = "-";
    std::optional<Meeting> meeting;
    if (options.place.has_value()) {
        meeting = TRY(Meeting::at(*options.place, meeting_limit));
        if (meeting->rank() == 1) {
            TRY(meeting->follow(task, deadline_of(options), options.verbose));
            return 0;
        }
    }
    Report report;
    TRY(plugin_check(options, task, meeting ? &*meeting : nullptr, report));
    if (meeting.has_value()) {
        (void)meeting->end();  // it may have gone
    }
    if (!options.json.empty()) {
        TRY(tools::file_write(options.json, report.json(options.plugin)));
    }
    TRY(report.finish());
    return report.failed() == 0 ? 0 : failed_status;
}

int run(int argc, char** argv) {
    ::signal(SIGPIPE, SIG_IGN);
    const Launch launch{environment("WEFT_RANK"), environment("WEFT_RANK_COUNT"),
                        environment("MASTER_ADDR"), environment("MASTER_PORT")};
    const Result<Options> options = options_parse(argc, argv, launch);
    if (!options.ok()) {
        return refused(options.error());
    }
    if (options.value().help || options.value().list) {
        const auto printed = tools::print(options.value().help ? options_usage() : list_text());
        return printed.ok() ? 0 : refused(printed.error());
    }
    const Result<int> status = play(options.value());
    return status.ok() ? status.value() : refused(status.error());
}

}  // namespace

}  // namespace weft::netcheck

int main(int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) == "--child") {
        return weft::netcheck::child_main(argc, argv);
    }
    return weft::netcheck::run(argc, argv);
}
