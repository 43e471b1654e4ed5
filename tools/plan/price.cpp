#include "tools/plan/price.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/base/log.h"
#include "src/tune/cost.h"
#include "tools/common/args.h"
#include "tools/common/output.h"
#include "tools/plan/actions.h"

namespace weft::planner {

namespace {

double rails_bytes_per_ns(const sim::Network& network) {
    double sum = 0;
    for (const sim::Port& rail : network.rails) {
        sum += rail.bytes_per_ns;
    }
    return sum;
}

double rail_latency_ns(const sim::Network& network) {
    return network.rails.empty() ? 0 : network.rails[0].latency_ns;
}

tune::Level level_of(const sim::Network& network, const sim::Port& port,
                     const sim::Overhead& overhead) {
    tune::Level level;
    level.latency_ns = port.latency_ns;
    level.post_ns = overhead.post_ns;
    level.completion_ns = overhead.completion_ns;
    level.gap_ns = port.gap_ns;
    level.ns_per_byte = 1 / port.bytes_per_ns;
    level.reduce_ns_per_byte = 1 / network.compute.reduce_bytes_per_ns;
    level.copy_ns_per_byte = 1 / network.compute.copy_bytes_per_ns;
    level.header_bytes = network.header_bytes;
    level.control_bytes = network.control_bytes;
    return level;
}

// What one rank has of its host's NICs.
tune::Level inter_level(const sim::Network& network) {
    sim::Port port;
    port.bytes_per_ns = rails_bytes_per_ns(network) / network.ranks_per_host;
    port.latency_ns = rail_latency_ns(network);
    return level_of(network, port, network.inter_overhead);
}

tune::Level intra_level(const sim::Network& network) {
    return level_of(network, network.intra, network.intra_overhead);
}

Result<tune::Method> method_of(plan::Algo algo) {
    switch (algo) {
        case plan::Algo::direct:
            return tune::Method::direct;
        case plan::Algo::ring:
        case plan::Algo::chain:
            return tune::Method::ring;
        case plan::Algo::halving:
            return tune::Method::halving_doubling;
        case plan::Algo::tree:
            return tune::Method::double_tree;
        case plan::Algo::mesh:
            return tune::Method::mesh;
        case plan::Algo::binomial:
            return tune::Method::binomial;
        case plan::Algo::hier:
            break;
    }
    return tools::wrong("no closed form of its own");
}

double block_bytes(const Call& call) {
    return static_cast<double>(call.count) * call.elem_bytes;
}

// A stage between hosts over every rail, and the rest of the bytes inside: the slower of the two,
// and a first hop of the other.
Result<double> two_stages_ns(const sim::Network& network, const Call& call,
                             const plan::Choice& choice) {
    tune::Ask ask;
    ask.coll = call.coll;
    const bool blocks = call.coll == Coll::all_gather || call.coll == Coll::reduce_scatter;
    ask.method =
        TRY(method_of(blocks && choice.shape.inter == plan::Algo::tree ? plan::Algo::halving
                                                                       : choice.shape.inter));
    ask.ranks = network.hosts;
    ask.tiles = choice.tiles;
    ask.eager = choice.eager;
    ask.block_bytes = blocks ? block_bytes(call) : block_bytes(call) / network.ranks_per_host;
    const double between = TRY(tune::cost_ns(inter_level(network), ask));
    const double phases = call.coll == Coll::all_reduce ? 2 : 1;
    const double neighbours = network.ranks_per_host - 1;
    const double moved = neighbours / network.ranks_per_host * static_cast<double>(call.bytes());
    const double inside = phases * (moved / network.intra.bytes_per_ns + network.intra.latency_ns);
    return std::max(between, inside) + phases * network.intra.latency_ns;
}

std::string price_text(const Call& call, const plan::Choice& choice, double ns, double bound) {
    return format("%s by %s: %.3f us in closed form, %.2f of the bound of the wires, %.3f us\n",
                  call_text(call).c_str(), algorithm_name(choice).c_str(), ns / 1000, ns / bound,
                  bound / 1000);
}

}  // namespace

double bound_ns(const sim::Network& network, const Call& call) {
    const double hosts = network.hosts, ranks = network.ranks_per_host;
    const auto bytes = static_cast<double>(call.bytes());
    const double nics = std::max(rails_bytes_per_ns(network), 1e-9);
    const bool rooted = call.coll == Coll::broadcast || call.coll == Coll::reduce;
    const double leaves = call.coll == Coll::all_to_all ? ranks * bytes : bytes;
    const double crossing = rooted ? 1 : (hosts - 1) / hosts;
    const double inside = call.coll == Coll::all_to_all ? (ranks - 1) / (hosts * ranks)
                          : rooted                      ? 1
                                                        : (ranks - 1) / ranks;
    const double between_ns = hosts > 1 ? crossing * leaves / nics : 0;
    const double inside_ns = ranks > 1 ? inside * bytes / network.intra.bytes_per_ns : 0;
    const double latency_ns =
        (hosts > 1 ? rail_latency_ns(network) : 0) + (ranks > 1 ? network.intra.latency_ns : 0);
    const double once = std::max(between_ns, inside_ns) + latency_ns;
    return call.coll == Coll::all_reduce ? 2 * once : once;
}

Result<double> closed_form_ns(const sim::Network& network, const Call& call,
                              const plan::Choice& choice) {
    if (choice.shape.algo == plan::Algo::hier) {
        const bool has_form = call.coll == Coll::all_reduce || call.coll == Coll::all_gather ||
                              call.coll == Coll::reduce_scatter;
        if (has_form && choice.shape.inter == plan::Algo::mesh && !choice.eager) {
            const tune::Hierarchy machine{inter_level(network), intra_level(network), network.hosts,
                                          network.ranks_per_host};
            return tune::cost_hierarchical_ns(machine, call.coll, block_bytes(call),
                                              tune::Overlap::pipelined);
        }
        return two_stages_ns(network, call, choice);
    }
    tune::Ask ask;
    ask.coll = call.coll;
    ask.method = choice.shape.loads ? tune::Method::loads : TRY(method_of(choice.shape.algo));
    ask.ranks = call.rank_count();
    ask.block_bytes = block_bytes(call);
    ask.eager = choice.eager;
    ask.tiles = choice.tiles;
    ask.slots = choice.shape.slots_min;
    return tune::cost_ns(network.hosts > 1 ? inter_level(network) : intra_level(network), ask);
}

std::string assumed_text(const sim::ClusterNetwork& made) {
    std::string text;
    for (const std::string& clause : made.assumed) {
        text += (text.empty() ? "assumed: " : ", ") + clause;
    }
    return text + "\n";
}

std::string assumed_json(const sim::ClusterNetwork& made) {
    std::string text = "[";
    for (const std::string& clause : made.assumed) {
        text += (text.size() == 1 ? "" : ", ") + tools::json_quoted(clause);
    }
    return text + "]";
}

Result<std::string> price_action(const Options& options) {
    const Subject subject = TRY(subject_of(options));
    const sim::ClusterNetwork made = TRY(network_of(subject.call, options));
    const auto ns = closed_form_ns(made.network, subject.call, subject.choice);
    if (!ns.ok()) {
        return tools::wrong(call_text(subject.call) + " by " + algorithm_name(subject.choice) +
                            ": " + ns.error().what + "; simulate prices any plan");
    }
    const double bound = bound_ns(made.network, subject.call);
    if (options.json) {
        return format(
            "{\"algorithm\": %s, \"method\": \"closed form\", \"time_us\": %.3f, "
            "\"bound_us\": %.3f, \"assumed\": %s}\n",
            tools::json_quoted(algorithm_name(subject.choice)).c_str(), ns.value() / 1000,
            bound / 1000, assumed_json(made).c_str());
    }
    return price_text(subject.call, subject.choice, ns.value(), bound) + assumed_text(made);
}

}  // namespace weft::planner
