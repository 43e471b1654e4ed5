// weft-run: starts the ranks of a job on this machine, on virtual hosts if asked to.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "src/base/log.h"
#include "tools/run/efa.h"
#include "tools/run/guardian.h"
#include "tools/run/options.h"
#include "tools/run/outer_launcher.h"
#include "tools/run/ranks.h"
#include "tools/run/supervise.h"
#include "tools/run/virtual_hosts.h"

namespace weft::run {

namespace {

constexpr int usage_status = 2;
constexpr int start_status = 1;
constexpr int program_status = 127;  // as a shell: the program cannot be run

void say(const std::string& text) {
    std::fprintf(stderr, "weft-run: %s\n", text.c_str());
}

int refused(const Error& error) {
    say(error.what);
    return error.code == Code::invalid_argument ? usage_status : start_status;
}

// Descriptors 0 to 2 must exist, or the first pipe would become somebody's standard output.
void standard_files() {
    int fd = 0;
    do {
        fd = ::open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= 2);
    ::close(fd);
}

Result<Nanos> grace_read() {
    const char* text = std::getenv("WEFT_RUN_GRACE");
    if (!text) {
        return Nanos{2 * nanos_per_s};
    }
    char* end = nullptr;
    const double value = std::strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 1e6)) {
        return make_error(Code::invalid_argument, Scope::call,
                          std::string("WEFT_RUN_GRACE='") + text + "': expected seconds");
    }
    return static_cast<Nanos>(value * static_cast<double>(nanos_per_s));
}

void rank_count_choose(Options& options) {
    if (options.rank_count == 0) {
        options.rank_count = options.host_count != 0 ? options.host_count : cores_usable();
    }
}

// Null where this machine does not let us make them and the user can do without: said in one line.
Result<std::unique_ptr<VirtualHosts>> hosts_make(const Options& options, const Efa* efa) {
    if (options.host_count == 0) {
        return std::unique_ptr<VirtualHosts>();
    }
    const RailPlan plan{options.host_count, options.rail_count, options.rate_bps};
    Result<std::unique_ptr<VirtualHosts>> hosts =
        std::getenv("WEFT_RUN_NO_NAMESPACES")
            ? make_error(Code::system, Scope::process, "WEFT_RUN_NO_NAMESPACES is set")
            : VirtualHosts::make(plan, efa != nullptr ? efa->folder() : "");
    if (hosts.ok()) {
        say(format("%d ranks on ", options.rank_count) + hosts.value()->text());
        return hosts;
    }
    if (options.require_hosts || hosts.error().code == Code::invalid_usage) {
        return make_error(hosts.error().code, Scope::process,
                          "no virtual hosts: " + hosts.error().what);
    }
    say("no virtual hosts (" + hosts.error().what + "): running plain local processes");
    return std::unique_ptr<VirtualHosts>();
}

Result<std::vector<Rank>> ranks_start(const Options& options, const VirtualHosts* hosts,
                                      const Guardian& guardian, const Efa* efa) {
    const int host_count = hosts ? options.host_count : 1;
    const Meeting meeting = TRY(meeting_make(options, host_count, hosts != nullptr));
    std::vector<Place> places = places_make(options.rank_count, host_count);
    if (options.bind && options.host_count == 0) {
        places_bind(places);
    }
    std::vector<Rank> ranks;
    for (const Place& place : places) {
        const Home home = hosts ? hosts->home(place.host) : Home{};
        Result<Rank> rank = rank_start(options, place, meeting, home, efa);
        if (!rank.ok()) {
            for (const Rank& started : ranks) {
                ::kill(-started.process.pid, SIGKILL);
                reap(started.process.pid);
            }
            return std::move(rank).error();
        }
        guardian.add(rank.value().process.pid);
        ranks.push_back(std::move(rank).value());
    }
    return ranks;
}

Job job_make(const Options& options, std::vector<Rank> ranks, const VirtualHosts* hosts,
             Nanos grace) {
    std::vector<pid_t> groups;
    groups.reserve(ranks.size());
    for (const Rank& rank : ranks) {
        groups.push_back(rank.process.pid);
    }
    Job job;
    job.ranks = std::move(ranks);
    job.prefix = options.prefix;
    job.timeout = options.timeout;
    job.grace = grace;
    job.host_text = [hosts](int host) { return hosts ? "host " + host_name(host) : ""; };
    job.kill_leftovers = [hosts, groups] {
        for (const pid_t group : groups) {
            ::kill(-group, SIGKILL);
        }
        if (hosts) {
            hosts->kill();
        }
    };
    return job;
}

// Members in this order: ranks are reaped by supervise(), before the hosts end.
int local_run(Options options) {
    rank_count_choose(options);
    const Result<Nanos> grace = grace_read();
    if (!grace.ok()) {
        return refused(grace.error());
    }
    const Result<std::unique_ptr<Efa>> efa = Efa::make(options);
    if (!efa.ok()) {
        return refused(efa.error());
    }
    Result<std::unique_ptr<VirtualHosts>> hosts = hosts_make(options, efa.value().get());
    if (!hosts.ok()) {
        return refused(hosts.error());
    }
    const Result<Guardian> guardian = Guardian::start();
    if (!guardian.ok()) {
        return refused(guardian.error());
    }
    Result<std::vector<Rank>> ranks =
        ranks_start(options, hosts.value().get(), guardian.value(), efa.value().get());
    if (!ranks.ok()) {
        say(ranks.error().what);
        return program_status;
    }
    return supervise(
        job_make(options, std::move(ranks).value(), hosts.value().get(), grace.value()));
}

int run(int argc, char** argv) {
    standard_files();
    Result<Options> options = options_parse(argc, argv);
    if (!options.ok()) {
        return refused(options.error());
    }
    if (options.value().help) {
        std::fputs(options_usage(), stdout);
        return 0;
    }
    const Result<std::optional<LaunchEnv>> outer = outer_launcher(options.value());
    if (!outer.ok()) {
        return refused(outer.error());
    }
    if (outer.value()) {
        say(outer_launcher_exec(options.value(), *outer.value()).what);
        return program_status;
    }
    return local_run(std::move(options).value());
}

}  // namespace

}  // namespace weft::run

int main(int argc, char** argv) {
    return weft::run::run(argc, argv);
}
