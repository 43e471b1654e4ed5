#include "tools/plan/options.h"

#include <array>
#include <vector>

#include "src/base/names.h"
#include "tools/common/args.h"
#include "topology/cluster.h"
#include "topology/units.h"
#include "topology/xml.h"

namespace weft::planner {

using tools::number_read;
using tools::size_read;
using tools::word_read;
using tools::wrong;

namespace {

enum Long : int {
    coll = 256,
    bytes,
    count,
    type,
    ranks,
    root,
    rank,
    topology_of,
    hosts,
    ranks_of_hosts,
    algo,
    file,
    out,
    tile,
    strands,
    post,
    budget,
    loads,
    net,
    eager,
    in_place,
    json,
};

constexpr option long_options[] = {
    {"coll", required_argument, nullptr, coll},
    {"bytes", required_argument, nullptr, bytes},
    {"count", required_argument, nullptr, count},
    {"type", required_argument, nullptr, type},
    {"ranks", required_argument, nullptr, ranks},
    {"root", required_argument, nullptr, root},
    {"rank", required_argument, nullptr, rank},
    {"topology", required_argument, nullptr, topology_of},
    {"hosts", required_argument, nullptr, hosts},
    {"ranks-of-hosts", required_argument, nullptr, ranks_of_hosts},
    {"algo", required_argument, nullptr, algo},
    {"file", required_argument, nullptr, file},
    {"out", required_argument, nullptr, out},
    {"tile", required_argument, nullptr, tile},
    {"strands", required_argument, nullptr, strands},
    {"post", required_argument, nullptr, post},
    {"budget", required_argument, nullptr, budget},
    {"loads", no_argument, nullptr, loads},
    {"net", no_argument, nullptr, net},
    {"eager", no_argument, nullptr, eager},
    {"in-place", no_argument, nullptr, in_place},
    {"json", no_argument, nullptr, json},
    {"help", no_argument, nullptr, 'h'},
    {nullptr, 0, nullptr, 0},
};

constexpr std::array<std::string_view, 7> actions = {"print",   "prove", "price", "simulate",
                                                     "compare", "svg",   "trace"};

std::string list_of(const std::vector<std::string_view>& names) {
    std::string text;
    for (const std::string_view name : names) {
        text += (text.empty() ? "" : ", ") + std::string(name);
    }
    return text;
}

Result<Action> action_named(const std::string& text) {
    for (size_t i = 0; i < actions.size(); i++) {
        if (text == actions[i]) {
            return static_cast<Action>(i);
        }
    }
    return wrong((text.empty() ? std::string("no action given")
                               : "'" + topology::printable(text) + "' is no action") +
                 ": expected one of " + list_of({actions.begin(), actions.end()}) +
                 " (weft-plan --help)");
}

Result<Coll> coll_named(const std::string& text) {
    std::vector<std::string_view> known;
    for (int i = 0; i < coll_count; i++) {
        const auto each = static_cast<Coll>(i);
        if (each == Coll::send_recv) {
            continue;
        }
        if (text == weft::to_string(each)) {
            return each;
        }
        known.emplace_back(weft::to_string(each));
    }
    return wrong("--coll '" + topology::printable(text) + "': known are " + list_of(known));
}

Result<uint32_t> type_bytes(const std::string& text) {
    std::vector<std::string_view> known;
    for (int i = 0; i < data_type_count; i++) {
        const auto each = static_cast<DataType>(i);
        if (text == weft::to_string(each)) {
            return static_cast<uint32_t>(size_of(each));
        }
        known.emplace_back(weft::to_string(each));
    }
    const auto width = topology::count_parse(text, 1, 16);
    if (!width.ok()) {
        return wrong("--type '" + topology::printable(text) + "': known are " + list_of(known) +
                     ", or the bytes of an element");
    }
    return static_cast<uint32_t>(width.value());
}

// "8", or the older "0-3/4-7", which is --ranks-of-hosts.
Result<void> hosts_read(Options& options, const std::string& text) {
    if (text.find_first_of("-/,") != std::string::npos) {
        options.ranks_of_hosts = text;
        return {};
    }
    options.hosts = static_cast<int32_t>(TRY(number_read("--hosts", text, 1, topology::hosts_max)));
    return {};
}

Result<double> post_read(const std::string& text) {
    const auto ns = topology::latency_parse(text);
    if (!ns.ok()) {
        return wrong("--post " + ns.error().what);
    }
    return static_cast<double>(ns.value());
}

Result<int32_t> rank_read(const char* name, const std::string& text, int32_t least) {
    return static_cast<int32_t>(TRY(number_read(name, text, least, topology::ranks_max)));
}

Result<void> apply_switch(Options& options, int which) {
    switch (which) {
        case loads:
            options.loads = true;
            return {};
        case net:
            options.net = true;
            return {};
        case eager:
            options.eager = true;
            return {};
        case in_place:
            options.in_place = true;
            return {};
        case json:
            options.json = true;
            return {};
        default:
            options.help = true;
            return {};
    }
}

Result<void> apply(Options& options, int which, const std::string& text) {
    switch (which) {
        case coll:
            options.coll = TRY(coll_named(text));
            return {};
        case bytes:
            options.bytes = TRY(size_read("--bytes", text));
            return {};
        case count:
            options.count = TRY(size_read("--count", text));
            return {};
        case type:
            options.elem_bytes = TRY(type_bytes(text));
            return {};
        case ranks:
            options.ranks = TRY(rank_read("--ranks", text, 1));
            return {};
        case root:
            options.root = TRY(rank_read("--root", text, 0));
            return {};
        case rank:
            options.rank = TRY(rank_read("--rank", text, 0));
            return {};
        case topology_of:
            options.topology = TRY(word_read("--topology", text));
            return {};
        case hosts:
            return hosts_read(options, text);
        case ranks_of_hosts:
            options.ranks_of_hosts = TRY(word_read("--ranks-of-hosts", text));
            return {};
        case algo:
            options.algo = text == "auto" ? "" : TRY(word_read("--algo", text));
            return {};
        case file:
            options.file = TRY(word_read("--file", text));
            return {};
        case out:
            options.out = TRY(word_read("--out", text));
            return {};
        case tile:
            options.tile_bytes = TRY(size_read("--tile", text));
            return {};
        case strands:
            options.strands = static_cast<uint32_t>(TRY(number_read("--strands", text, 1, 64)));
            return {};
        case post:
            options.post_ns = TRY(post_read(text));
            return {};
        case budget:
            options.budget_s = static_cast<int32_t>(TRY(number_read("--budget", text, 1, 3600)));
            return {};
        default:
            return apply_switch(options, which);
    }
}

Result<void> file_check(const Options& options) {
    if (options.file.empty()) {
        return {};
    }
    if (options.action == Action::price || options.action == Action::compare) {
        return wrong(std::string("--file: ") + to_string(options.action) +
                     " is about algorithms; print, prove, simulate, svg and trace read a plan");
    }
    const char* said = options.coll.has_value()          ? "--coll"
                       : !options.algo.empty()           ? "--algo"
                       : options.root.has_value()        ? "--root"
                       : options.strands.has_value()     ? "--strands"
                       : !options.ranks_of_hosts.empty() ? "--ranks-of-hosts"
                       : options.loads                   ? "--loads"
                                                         : nullptr;
    if (said != nullptr) {
        return wrong(std::string(said) +
                     " does not go with --file: the file says what the plan is");
    }
    return {};
}

Result<void> check(const Options& options) {
    if (options.bytes.has_value() && options.count.has_value()) {
        return wrong("--bytes and --count both say how much: give one of them");
    }
    if (!options.ranks_of_hosts.empty() && (!options.topology.empty() || options.hosts != 0)) {
        return wrong(
            "--ranks-of-hosts says which hosts there are: --topology and --hosts N do not "
            "go with it");
    }
    if (options.eager && options.file.empty()) {
        return wrong("--eager needs --file: a plan that is chosen is eager where it is small");
    }
    if (!options.out.empty() && options.action != Action::svg && options.action != Action::trace) {
        return wrong("--out goes with svg and trace; the others print");
    }
    return file_check(options);
}

}  // namespace

const char* to_string(Action action) {
    return actions[static_cast<size_t>(action)].data();
}

Result<Options> options_parse(int argc, char** argv) {
    Options options;
    const std::string first = argc > 1 ? argv[1] : "";
    if (first == "--help" || first == "-h") {
        options.help = true;
        return options;
    }
    options.action = TRY(action_named(first));
    const int rest = TRY(tools::options_read(
        {"weft-plan", argc, argv, long_options, "h", 2},
        [&](int which, const std::string& text) { return apply(options, which, text); }));
    if (rest < argc) {
        return wrong("'" + topology::printable(argv[rest]) + "' is not an option");
    }
    if (!options.help) {
        TRY(check(options));
    }
    return options;
}

const char* usage() {
    return R"(usage: weft-plan ACTION [options]

What a collective would do on a cluster, and what it would cost. No machine is needed.

  print     the plan as text; --rank R: of one rank
  prove     that the plan is right, whatever the order of deliveries
  price     what the closed forms say it takes, and the bound of the wires
  simulate  the plan, event by event: time, where it went, bytes and messages of hosts and ranks
  compare   every algorithm that has a plan, tuned, and NCCL's; the winner marked
  svg       a picture of who sends what when, for a few ranks
  trace     a simulated run for Perfetto or chrome://tracing

  --coll NAME        all_reduce (default), all_gather, reduce_scatter, broadcast, reduce, alltoall,
                     gather, scatter
  --bytes SIZE       nccl-tests' size: all_reduce, broadcast, reduce: the vector; all_gather,
                     gather: the whole output; reduce_scatter, alltoall, scatter: the whole input.
                     32M is 32 * 1024 * 1024. Rounded down to whole elements of every rank
  --count N          instead: elements of a block (all_gather: what one rank sends); default 1024
  --type NAME        of the elements, or their bytes (default 4)
  --root R           of rooted collectives (default 0)
  --topology WHAT    an instance type (p5.48xlarge; weft-topo --profiles lists them), an XML file of
                     hwloc or NCCL, or a line: "hosts=64 ranks=8 rails=4 nic=12.5GB/s
                     nvlink=450GB/s alpha=20us"
  --hosts N          so many of them, where WHAT is one host
  --ranks N          one host of N ranks, where no topology is given (default 2)
  --ranks-of-hosts L the ranks of each host, as in 0-3/4-7; without a topology
  --algo LIST        auto (default: Weft's choice), or as NCCL_ALGO: ring, hier:mesh, ^tree, ...
  --strands N        independent strands of the plan, instead of as chosen
  --tile SIZE        bytes of a tile, instead of as chosen
  --loads            ranks of a host may load each other's memory
  --net              ranks do not share memory, though they are on one host
  --file PLAN        a plan from a file: print, prove, simulate, svg, trace
  --eager            the plan of --file sends by value
  --in-place         input and output are the same memory: simulate, svg, trace
  --post TIME        what a post to a NIC costs the thread (default 0.4us)
  --budget S         compare: seconds to spend on simulating (default 30)
  --out FILE         svg, trace: instead of standard output
  --json             for programs
  --help             this text

The exit status is 0, or 1 if something is wrong or a plan is not; then one line says what and where.
)";
}

}  // namespace weft::planner
