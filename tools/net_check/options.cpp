#include "tools/net_check/options.h"

#include <arpa/inet.h>

#include "tools/common/args.h"

namespace weft::netcheck {

namespace {

using tools::number_read;
using tools::word_read;
using tools::wrong;

enum Long : int {
    abi = 256,
    only,
    bench,
    soak_s,
    connections,
    json,
    list,
    bytes,
    wait_s,
    call_s,
    peer_s,
    deadline_s,
    meet,
    lines
};

constexpr option long_options[] = {
    {"abi", required_argument, nullptr, abi},
    {"only", required_argument, nullptr, only},
    {"bench", no_argument, nullptr, bench},
    {"soak", required_argument, nullptr, soak_s},
    {"connections", required_argument, nullptr, connections},
    {"json", required_argument, nullptr, json},
    {"list", no_argument, nullptr, list},
    {"max-bytes", required_argument, nullptr, bytes},
    {"wait", required_argument, nullptr, wait_s},
    {"call-limit", required_argument, nullptr, call_s},
    {"peer-limit", required_argument, nullptr, peer_s},
    {"deadline", required_argument, nullptr, deadline_s},
    {"meet", required_argument, nullptr, meet},
    {"lines", no_argument, nullptr, lines},
    {"verbose", no_argument, nullptr, 'v'},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

constexpr int64_t seconds_max = 3600;
constexpr int connections_max = 1024;
constexpr uint64_t bytes_least = 1 << 10;
constexpr uint64_t bytes_most = 1ull << 30;  // more than v8 allows a message

Result<Nanos> seconds_read(const char* name, const std::string& text) {
    return TRY(number_read(name, text, 1, seconds_max)) * nanos_per_s;
}

Result<Place> place_read(const char* name, const std::string& rank, const std::string& address,
                         const std::string& port) {
    Place place;
    in_addr parsed{};
    if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
        return wrong(std::string(name) + ": '" + address + "' is no IPv4 address");
    }
    place.rank = static_cast<int>(TRY(number_read(name, rank, 0, 1)));
    place.port = static_cast<uint16_t>(TRY(number_read(name, port, 1, 65535)));
    place.address = address;
    return place;
}

// "0@10.0.0.1:29500"
Result<Place> meet_read(const std::string& text) {
    const size_t at = text.find('@');
    const size_t colon = text.rfind(':');
    if (at == std::string::npos || colon == std::string::npos || colon < at) {
        return wrong("--meet '" + text + "': expected RANK@ADDRESS:PORT, as in 0@10.0.0.1:29500");
    }
    return place_read("--meet", text.substr(0, at), text.substr(at + 1, colon - at - 1),
                      text.substr(colon + 1));
}

Result<void> limit_apply(Options& options, int which, const std::string& text) {
    switch (which) {
        case wait_s:
            options.limits.wait = TRY(seconds_read("--wait", text));
            return {};
        case call_s:
            options.limits.call = TRY(seconds_read("--call-limit", text));
            return {};
        case peer_s:
            options.limits.peer = TRY(seconds_read("--peer-limit", text));
            return {};
        case deadline_s:
            options.deadline = TRY(seconds_read("--deadline", text));
            return {};
        case soak_s:
            options.limits.soak = TRY(seconds_read("--soak", text));
            return {};
        case connections:
            options.limits.connections =
                static_cast<int>(TRY(number_read("--connections", text, 1, connections_max)));
            return {};
        default:
            options.limits.bytes = TRY(tools::size_read("--max-bytes", text));
            if (options.limits.bytes < bytes_least || options.limits.bytes > bytes_most) {
                return wrong("--max-bytes '" + text + "': expected 1K to 1G");
            }
            return {};
    }
}

Result<void> apply(Options& options, int which, const std::string& text) {
    switch (which) {
        case abi:
            options.abi = static_cast<int>(
                TRY(number_read("--abi", text, netplugin::abi_oldest, netplugin::abi_newest)));
            return {};
        case only:
            if (check_find(text) == nullptr) {
                return wrong("--only '" + text + "': no such check (--list has them)");
            }
            options.only.push_back(text);
            return {};
        case json:
            options.json = TRY(word_read("--json", text));
            return {};
        case meet:
            options.place = TRY(meet_read(text));
            return {};
        case bench:
            options.bench = true;
            return {};
        case lines:
            options.limits.lines = true;
            return {};
        case list:
            options.list = true;
            return {};
        case 'v':
            options.verbose = true;
            return {};
        case 'h':
            options.help = true;
            return {};
        default:
            return limit_apply(options, which, text);
    }
}

Result<void> modes_check(const Options& options) {
    if (options.bench + (options.limits.soak != 0) + !options.only.empty() > 1) {
        return wrong("--bench, --soak and --only: one of them at a time");
    }
    return {};
}

}  // namespace

Result<Options> options_parse(int argc, char** argv, const Launch& launch) {
    Options options;
    const auto take = [&options](int which, const std::string& text) {
        return apply(options, which, text);
    };
    const int rest =
        TRY(tools::options_read({"weft-net-check", argc, argv, long_options, "vh"}, take));
    if (options.help || options.list) {
        return options;
    }
    TRY(modes_check(options));
    if (rest != argc - 1) {
        return wrong(rest == argc ? "which plugin? (weft-net-check PLUGIN.so)"
                                  : "one plugin at a time, after all options");
    }
    options.plugin = argv[rest];
    if (!options.place.has_value() && !launch.rank_count.empty() && launch.rank_count != "1") {
        if (launch.rank_count != "2") {
            return wrong("WEFT_RANK_COUNT=" + launch.rank_count + ": a check has 2 ranks");
        }
        options.place =
            TRY(place_read("the launcher's environment", launch.rank, launch.address, launch.port));
    }
    return options;
}

std::string options_usage() {
    return R"(usage: weft-net-check [OPTIONS] PLUGIN.so
       weft-run -n 2 --hosts 2 -- weft-net-check [OPTIONS] PLUGIN.so
Checks a net plugin for NCCL against the contract, as NCCL would use it.
  --abi N             one version, 8 to 12; default: every version that it exports
  --only NAME         one check; may be given several times
  --bench             no checks but figures: latency and rate, of merged devices too
  --soak SECONDS      no checks but load for so long, every byte compared, and whether memory or
                      descriptors grow
  --connections N     of a soak, 1 to 1024 (64)
  --list              the checks and what they ask for
  --json FILE         the results, too
  --max-bytes SIZE    the longest message (default 64M)
  --wait SECONDS      for a connection or a message (20)
  --call-limit S      for a call that may not block (3)
  --peer-limit S      for an error, when a peer is lost or there is none (60)
  --deadline S        for a check; then its processes are killed (90)
  --lines             an error must come with one warning that names what is wrong
  --meet R@ADDR:PORT  be rank R, 0 or 1, of a check on two hosts; rank 0 listens at ADDR:PORT.
                      weft-run says it by itself
  -v, --verbose       show what the plugin prints and logs
The last line is "N passed, N failed, N skipped"; the exit status is 0 only without failures.
)";
}

}  // namespace weft::netcheck
