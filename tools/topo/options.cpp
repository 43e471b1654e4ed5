#include "tools/topo/options.h"

#include "tools/common/args.h"
#include "topology/cluster.h"

namespace weft::topo {

using tools::word_read;
using tools::wrong;

namespace {

enum Long : int { xml = 256, xml_out, svg, diff, profile, hosts, ranks, json, profiles };

constexpr option long_options[] = {
    {"xml", required_argument, nullptr, xml},
    {"xml-out", required_argument, nullptr, xml_out},
    {"svg", required_argument, nullptr, svg},
    {"diff", required_argument, nullptr, diff},
    {"profile", required_argument, nullptr, profile},
    {"hosts", required_argument, nullptr, hosts},
    {"ranks", required_argument, nullptr, ranks},
    {"json", no_argument, nullptr, json},
    {"profiles", no_argument, nullptr, profiles},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

Result<int32_t> number(const char* name, const std::string& text, int32_t most) {
    return static_cast<int32_t>(TRY(tools::number_read(name, text, 1, most)));
}

Result<void> apply(Options& options, int which, const std::string& text) {
    switch (which) {
        case xml:
            options.xml = TRY(word_read("--xml", text));
            return {};
        case xml_out:
            options.xml_out = TRY(word_read("--xml-out", text));
            return {};
        case svg:
            options.svg = TRY(word_read("--svg", text));
            return {};
        case diff:
            options.diff = TRY(word_read("--diff", text));
            return {};
        case profile:
            options.profile = TRY(word_read("--profile", text));
            return {};
        case hosts:
            options.hosts = TRY(number("--hosts", text, topology::hosts_max));
            return {};
        case ranks:
            options.ranks = TRY(number("--ranks", text, topology::host_ranks_max));
            return {};
        case json:
            options.json = true;
            return {};
        case profiles:
            options.list = true;
            return {};
        default:
            options.help = true;
            return {};
    }
}

Result<void> check(const Options& options) {
    const bool machine = !options.xml.empty() || !options.xml_out.empty() || !options.svg.empty() ||
                         !options.diff.empty() || options.ranks != 0;
    if (!options.profile.empty() && machine) {
        return wrong(
            "--profile describes machines that are not there: only --hosts and --json go "
            "with it");
    }
    if (options.profile.empty() && options.hosts != 0) {
        return wrong("--hosts needs --profile");
    }
    if (!options.diff.empty() && (options.json || options.ranks != 0)) {
        return wrong("--diff prints a comparison: --json and --ranks do not go with it");
    }
    return {};
}

}  // namespace

Result<Options> options_parse(int argc, char** argv) {
    Options options;
    const int rest = TRY(tools::options_read(
        {"weft-topo", argc, argv, long_options, "h"},
        [&](int which, const std::string& text) { return apply(options, which, text); }));
    if (rest < argc) {
        return wrong(std::string("'") + argv[rest] +
                     "' is not an option; a file is given with --xml FILE");
    }
    if (!options.help && !options.list) {
        TRY(check(options));
    }
    return options;
}

const char* usage() {
    return R"(usage: weft-topo [options]

Prints this machine as Weft sees it: what is inside what, which NICs are rails, and which rails
every local rank uses.

  --xml FILE       look at a recorded machine: XML of hwloc (lstopo FILE.xml, --xml-out) or of NCCL
                   (NCCL_TOPO_DUMP_FILE); the content tells which
  --ranks N        local ranks (default: one per GPU; without GPUs one per NUMA node)
  --json           print JSON
  --svg FILE       also draw a picture
  --xml-out FILE   also write the machine as hwloc's XML
  --diff PROFILE   instead compare with an instance type: exit status 1 if something differs
  --profile NAME   instead print a cluster of instances of this type
  --hosts N        how many (default 1)
  --profiles       list the instance types
  --help           this text

The exit status is 0, or 1 if --diff found a difference, or 2 if something is wrong.
)";
}

}  // namespace weft::topo
