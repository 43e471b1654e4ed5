#include "tools/run/options.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "src/base/log.h"
#include "tools/common/args.h"

namespace weft::run {

using tools::wrong;

namespace {

enum Long : int {
    hosts = 256,
    rails,
    rate,
    timeout,
    bind,
    prefix,
    no_prefix,
    env,
    require_hosts,
    efa,
    efa_faults
};

constexpr option long_options[] = {
    {"hosts", required_argument, nullptr, hosts},
    {"rails", required_argument, nullptr, rails},
    {"rate", required_argument, nullptr, rate},
    {"timeout", required_argument, nullptr, timeout},
    {"bind", required_argument, nullptr, bind},
    {"prefix", required_argument, nullptr, prefix},
    {"no-prefix", no_argument, nullptr, no_prefix},
    {"env", required_argument, nullptr, env},
    {"require-hosts", no_argument, nullptr, require_hosts},
    {"efa", optional_argument, nullptr, efa},
    {"efa-faults", required_argument, nullptr, efa_faults},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

Result<int> number(const char* name, const std::string& text, int most) {
    return static_cast<int>(TRY(tools::number_read(name, text, 1, most)));
}

Result<Nanos> seconds_parse(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value > 0) || value > 1e7) {
        return wrong("--timeout '" + text + "': expected seconds, more than 0");
    }
    return static_cast<Nanos>(value * static_cast<double>(nanos_per_s));
}

Result<Prefix> prefix_parse(const std::string& text) {
    if (text == "all") {
        return Prefix::all;
    }
    if (text == "others") {
        return Prefix::others;
    }
    if (text == "none") {
        return Prefix::none;
    }
    return wrong("--prefix '" + text + "': expected all, others or none");
}

Result<bool> bind_parse(const std::string& text) {
    if (text != "auto" && text != "none") {
        return wrong("--bind '" + text + "': expected auto or none");
    }
    return text == "auto";
}

Result<std::pair<std::string, std::string>> env_parse(const std::string& text) {
    const size_t at = text.find('=');
    if (at == std::string::npos || at == 0) {
        return wrong("--env '" + text + "': expected NAME=VALUE");
    }
    return std::pair(text.substr(0, at), text.substr(at + 1));
}

Result<void> apply(Options& options, int which, const std::string& text) {
    switch (which) {
        case 'n':
            options.rank_count = TRY(number("-n", text, rank_count_max));
            return {};
        case hosts:
            options.host_count = TRY(number("--hosts", text, host_count_max));
            return {};
        case rails:
            options.rail_count = TRY(number("--rails", text, rail_count_max));
            return {};
        case rate:
            options.rate_bps = TRY(rate_parse(text));
            return {};
        case timeout:
            options.timeout = TRY(seconds_parse(text));
            return {};
        case bind:
            options.bind = TRY(bind_parse(text));
            return {};
        case prefix:
            options.prefix = TRY(prefix_parse(text));
            return {};
        case no_prefix:
            options.prefix = Prefix::none;
            return {};
        case env:
            options.env.push_back(TRY(env_parse(text)));
            return {};
        case require_hosts:
            options.require_hosts = true;
            return {};
        case efa:
            options.efa = true;
            options.efa_device = text;
            return {};
        case efa_faults:
            options.efa_faults = text;
            return {};
        default:
            options.help = true;
            return {};
    }
}

Result<void> check(const Options& options, bool rails_given) {
    if (options.program.empty()) {
        return wrong("no program given: weft-run [options] -- PROGRAM ARGS");
    }
    if (options.host_count == 0 && (rails_given || options.rate_bps != 0)) {
        return wrong(std::string(rails_given ? "--rails" : "--rate") +
                     " needs --hosts: only virtual hosts have rails");
    }
    if (!options.efa && !options.efa_faults.empty()) {
        return wrong("--efa-faults needs --efa");
    }
    if (options.host_count == 0 && options.require_hosts) {
        return wrong("--require-hosts needs --hosts");
    }
    if (options.rank_count != 0 && options.rank_count < options.host_count) {
        return wrong(format("-n %d with --hosts %d: a host would have no rank", options.rank_count,
                            options.host_count));
    }
    return {};
}

}  // namespace

Result<int64_t> rate_parse(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    std::string unit = text.empty() ? "" : end;
    std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::tolower(c); });
    const double scale = unit == "kbit" ? 1e3 : unit == "mbit" ? 1e6 : unit == "gbit" ? 1e9 : 0;
    const double bps = value * scale;
    if (!(bps >= 1e6 && bps <= 100e9)) {
        return wrong("--rate '" + text +
                     "': expected a number and kbit, mbit or gbit, from 1mbit to 100gbit");
    }
    return std::llround(bps);
}

Result<Options> options_parse(int argc, char** argv) {
    Options options;
    bool rails_given = false;
    const int program =
        TRY(tools::options_read({"weft-run", argc, argv, long_options, "n:h"},
                                [&](int which, const std::string& text) -> Result<void> {
                                    rails_given = rails_given || which == rails;
                                    return apply(options, which, text);
                                }));
    options.program.assign(argv + program, argv + argc);
    if (!options.help) {
        TRY(check(options, rails_given));
    }
    return options;
}

const char* options_usage() {
    return R"(usage: weft-run [options] -- PROGRAM ARGS

Starts ranks on this machine, or gives a program started by mpirun, srun or torchrun its rank.

  -n N             ranks (default: one per virtual host, or one per core)
  --hosts H        spread them in blocks over H virtual hosts: namespaces of their own, joined by
                   rails and nothing else
  --rails R        rails per virtual host (default 1)
  --rate RATE      shape each rail to RATE in each direction: 250mbit, 1gbit, ...
  --require-hosts  fail where virtual hosts are not allowed, instead of plain local processes
  --efa[=DEVICE]   on the software EFA device: an instance type (p5.48xlarge) or the device's own
                   words (nics=4,rate=1Gbit,reorder=300us); without: as many NICs as rails
  --efa-faults F   a fault script for it, or @FILE (weft-efa-device(7))
  --timeout S      stop everything after S seconds; the exit status is then 124
  --bind auto      bind ranks to cores where they fit (default; never with --hosts), or 'none'
  --prefix WHICH   '[rank] ' before lines of: all, others (default: all but rank 0's standard
                   output), none
  --no-prefix      the same as --prefix none
  --env NAME=VAL   set a variable for every rank; may be repeated

Ranks find WEFT_RANK, WEFT_RANK_COUNT, WEFT_LOCAL_RANK, WEFT_LOCAL_RANK_COUNT, WEFT_HOST_INDEX,
WEFT_HOST_COUNT, torchrun's RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT, and, unless NCCL_COMM_ID is set already, NCCL_COMM_ID and a random WEFT_SECRET. On
virtual hosts also WEFT_RAILS, the host's rail addresses, and NCCL_SOCKET_IFNAME. With --efa
LD_PRELOAD, WEFT_EFA_DEVICE and its companions, WEFT_PROVIDER=efa, and no WEFT_RAILS.

When a rank fails, the others get 2 s (WEFT_RUN_GRACE seconds), then SIGTERM, then SIGKILL. The
exit status is the first failing rank's, or 128 + its signal.
Signals INT, TERM, HUP, USR1 and USR2 are passed on; a second INT or TERM stops everything.
Under mpirun, srun or torchrun weft-run sets the WEFT_* names for its rank and becomes PROGRAM.
)";
}

}  // namespace weft::run
