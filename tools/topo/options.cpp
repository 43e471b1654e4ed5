#include "tools/topo/options.h"

#include <getopt.h>

#include "src/base/log.h"
#include "topology/cluster.h"
#include "topology/units.h"

namespace weft::topo {

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

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

Result<int32_t> number(const char* name, const std::string& text, int32_t most) {
    auto value = topology::count_parse(text, 1, most);
    if (!value.ok()) {
        return wrong(std::string(name) + " " + value.error().what);
    }
    return static_cast<int32_t>(value.value());
}

Result<std::string> word(const char* name, const std::string& text) {
    if (text.empty()) {
        return wrong(std::string(name) + " needs a value that is not empty");
    }
    return text;
}

Result<void> apply(Options& options, int which, const char* argument) {
    const std::string text = argument == nullptr ? "" : argument;
    switch (which) {
        case xml:
            options.xml = TRY(word("--xml", text));
            return {};
        case xml_out:
            options.xml_out = TRY(word("--xml-out", text));
            return {};
        case svg:
            options.svg = TRY(word("--svg", text));
            return {};
        case diff:
            options.diff = TRY(word("--diff", text));
            return {};
        case profile:
            options.profile = TRY(word("--profile", text));
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

Error refused(int complaint, char** argv) {
    const std::string seen = argv[optind - 1];
    if (complaint == ':') {
        return wrong("option '" + seen + "' needs a value");
    }
    if (optopt >= 256) {
        return wrong("option '" + seen + "' takes no value");
    }
    return wrong("unknown option '" + seen + "' (weft-topo --help lists them)");
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
    opterr = 0;
    optind = 0;  // glibc starts over
    for (int which = 0; (which = getopt_long(argc, argv, "+:h", long_options, nullptr)) != -1;) {
        if (which == '?' || which == ':') {
            return refused(which, argv);
        }
        TRY(apply(options, which, optarg));
    }
    if (optind < argc) {
        return wrong(std::string("'") + argv[optind] +
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
