#include "tools/plan/subject.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/tune/choice.h"
#include "tools/common/args.h"
#include "topology/cluster_text.h"
#include "topology/discover.h"
#include "topology/host.h"
#include "topology/profiles.h"
#include "topology/xml.h"

namespace weft::planner {

using tools::wrong;

namespace {

constexpr uint64_t count_default = 1024;

Result<topology::Cluster> cluster_repeat(const topology::Host& host, int32_t hosts) {
    return topology::cluster_in_blocks({topology::Hosts{host, hosts}});
}

// The rails of an XML file are its NICs; a NUMA node without GPUs counts as a rank, as in
// weft-topo.
Result<topology::Cluster> cluster_of_file(const std::string& path, int32_t hosts) {
    const topology::Machine machine = TRY(topology::machine_read(path));
    const topology::RailMap map = topology::rails_map(machine, topology::rank_places(machine, 0));
    return cluster_repeat(topology::host_of(machine, map), hosts);
}

Result<topology::Cluster> cluster_of_line(const std::string& line, int32_t hosts) {
    auto parsed = topology::cluster_parse(line);
    if (!parsed.ok()) {
        return wrong("--topology: " + parsed.error().what);
    }
    topology::Cluster cluster = std::move(parsed).value();
    if (hosts <= 1 || cluster.host_count() == hosts) {
        return cluster;
    }
    if (cluster.host_count() != 1) {
        return wrong(
            format("--hosts %d: the topology says hosts=%d; --hosts multiplies a topology "
                   "of one host",
                   hosts, cluster.host_count()));
    }
    if (cluster.host(0).rail_count() == 0) {
        return wrong(
            format("--hosts %d: the topology has no rails to join them: say rails=N", hosts));
    }
    return cluster_repeat(cluster.host(0), hosts);
}

bool looks_like_file(const std::string& what) {
    return what.find('/') != std::string::npos || what.ends_with(".xml") ||
           std::ifstream(what).good();
}

Result<topology::Cluster> cluster_of_topology(const Options& options) {
    const int32_t hosts = std::max(1, options.hosts);
    const std::string& what = options.topology;
    if (what.find('=') != std::string::npos && !std::ifstream(what).good()) {
        return cluster_of_line(what, options.hosts);
    }
    if (looks_like_file(what)) {
        return cluster_of_file(what, hosts);
    }
    const auto profile = topology::profile_find(what);
    if (!profile.ok()) {
        return wrong("--topology: " + profile.error().what +
                     "; or give an XML file, or a line such as \"hosts=2 ranks=8 rails=4\"");
    }
    return topology::profile_cluster(*profile.value(), hosts);
}

// Nothing is known of these hosts: each of their ranks has one rail.
Result<topology::Cluster> cluster_of_lists(const plan::Cluster& lists) {
    std::vector<topology::Hosts> hosts;
    std::vector<topology::RankPlace> places(static_cast<size_t>(lists.rank_count()));
    for (int32_t h = 0; h < lists.host_count(); h++) {
        topology::Host host;
        const int32_t ranks = lists.ranks_on(h);
        host.rank_rails = topology::rails_in_blocks(ranks, ranks);
        host.rail_rates.assign(static_cast<size_t>(ranks), 0);
        hosts.push_back({std::move(host), 1});
        for (int32_t local = 0; local < ranks; local++) {
            places[static_cast<size_t>(lists.host(h)[static_cast<size_t>(local)])] = {h, local};
        }
    }
    return topology::cluster_of(hosts, std::move(places));
}

Result<topology::Cluster> cluster_plain(int32_t ranks, bool share_memory) {
    topology::Host host;
    const int32_t each = share_memory ? ranks : 1;
    host.rank_rails = topology::rails_in_blocks(each, share_memory ? 0 : 1);
    host.rail_rates.assign(share_memory ? 0 : 1, 0);
    return cluster_repeat(host, share_memory ? 1 : ranks);
}

Result<plan::Plan> plan_of_file(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    if (!file) {
        return wrong("cannot read " + path + ": " + std::strerror(errno));
    }
    auto plan = plan::plan_parse(text.str());
    if (!plan.ok()) {
        return wrong(path + ": " + plan.error().what);
    }
    return plan;
}

Result<topology::Cluster> cluster_resolve(const Options& options, const Call& call) {
    if (!options.topology.empty()) {
        return cluster_of_topology(options);
    }
    if (options.hosts != 0) {
        return wrong(format("--hosts %d needs --topology: hosts of which kind?", options.hosts));
    }
    if (!options.ranks_of_hosts.empty()) {
        const auto lists = plan::cluster_parse(options.ranks_of_hosts);
        if (!lists.ok()) {
            return wrong("--ranks-of-hosts: " + lists.error().what);
        }
        return cluster_of_lists(*lists.value());
    }
    if (call.file.has_value() && call.file->shape.cluster) {
        return cluster_of_lists(*call.file->shape.cluster);
    }
    const int32_t of_file = call.file.has_value() ? call.file->shape.rank_count : 2;
    return cluster_plain(options.ranks != 0 ? options.ranks : of_file, call.share_memory);
}

Result<void> ranks_check(const Options& options, const Call& call) {
    if (options.ranks != 0 && options.ranks != call.rank_count()) {
        return wrong(
            format("--ranks %d: the hosts have %d ranks in all", options.ranks, call.rank_count()));
    }
    if (call.file.has_value() && call.file->shape.rank_count != call.rank_count()) {
        return wrong(
            format("%s is a plan of %d ranks, the hosts have %d: give a topology of as "
                   "many, or --ranks-of-hosts",
                   options.file.c_str(), call.file->shape.rank_count, call.rank_count()));
    }
    if (call.root >= call.rank_count()) {
        return wrong(format("--root %d: there are %d ranks, 0 to %d", call.root, call.rank_count(),
                            call.rank_count() - 1));
    }
    return {};
}

uint64_t blocks_of(Coll coll, int32_t ranks) {
    const bool whole = coll == Coll::all_reduce || coll == Coll::broadcast || coll == Coll::reduce;
    return whole ? 1 : static_cast<uint64_t>(ranks);
}

Result<uint64_t> count_of(const Options& options, const Call& call) {
    if (!options.bytes.has_value()) {
        return options.count.value_or(count_default);
    }
    const uint64_t count =
        *options.bytes / blocks_of(call.coll, call.rank_count()) / call.elem_bytes;
    if (count == 0 && *options.bytes > 0) {
        return wrong(format("--bytes %s: less than one element of %u bytes for each of %d ranks",
                            tools::size_text(*options.bytes).c_str(), call.elem_bytes,
                            call.rank_count()));
    }
    return count;
}

uint64_t largest_chunk(const Call& call, uint32_t chunks) {
    uint64_t most = 1;
    for (uint32_t c = 0; c < chunks; c++) {
        most = std::max(most, plan::chunk_extent(call.count, call.elem_bytes, chunks, c).bytes());
    }
    return most;
}

plan::Choice choice_of_file(const Call& call, const Options& options) {
    plan::Choice choice;
    choice.shape = call.file->shape;
    choice.algo = choice.shape.algo;
    choice.eager = options.eager;
    choice.reason = "the plan of " + options.file;
    return choice_cut(call, choice, 0, options.tile_bytes);
}

}  // namespace

plan::Request Call::request() const {
    plan::Request request;
    request.coll = coll;
    request.rank_count = rank_count();
    request.root = root;
    request.count = count;
    request.elem_bytes = elem_bytes;
    request.one_host = share_memory && host_count() == 1;
    request.peer_load = loads;
    request.cluster = hosts ? &hosts : nullptr;
    return request;
}

uint64_t Call::bytes() const {
    return count * elem_bytes * blocks_of(coll, rank_count());
}

sim::PartOf Subject::part_of() const {
    return [this](int32_t rank) -> Result<plan::RankPlan> {
        if (call.file.has_value()) {
            return call.file->ranks[static_cast<size_t>(rank)];
        }
        return plan::generate(choice.shape, choice.lanes, rank);
    };
}

sim::Job Subject::job(bool in_place) const {
    sim::Job job = sim::job_of(choice, call.count, call.elem_bytes);
    job.in_place = in_place;
    return job;
}

Result<plan::Choice> choice_of(const Call& call, const plan::Limits& limits) {
    return tune::choose(call.request(), limits, tune::table_of(call.cluster, 1));
}

plan::Choice choice_cut(const Call& call, plan::Choice choice, uint32_t strands,
                        uint64_t tile_bytes) {
    if (strands > 0) {
        choice.lanes = strands;
        plan::shape_fit(choice.shape, strands);
    }
    const uint64_t largest = largest_chunk(call, choice.shape.chunks);
    constexpr uint64_t alignment = 16;
    const uint64_t tile = tile_bytes == 0 ? largest : std::min(tile_bytes, largest);
    choice.tile_bytes = (tile + alignment - 1) / alignment * alignment;
    choice.tiles = static_cast<uint32_t>((largest + choice.tile_bytes - 1) / choice.tile_bytes);
    return choice;
}

std::string algorithm_name(const plan::Choice& choice) {
    std::string name = plan::to_string(choice.shape.algo);
    if (choice.shape.algo == plan::Algo::hier) {
        name += std::string(":") + plan::to_string(choice.shape.inter);
    }
    return name + (choice.shape.loads ? " by loads" : "");
}

std::string call_text(const Call& call) {
    const int32_t hosts = call.host_count();
    std::string where = format("%d ranks", call.rank_count());
    if (hosts > 1 && call.cluster.uniform()) {
        where = format("%d hosts of %d ranks", hosts, call.cluster.host(0).rank_count());
    } else if (hosts > 1) {
        where += format(" on %d hosts", hosts);
    }
    return format("%s of %s on %s", weft::to_string(call.coll),
                  tools::size_text(call.bytes()).c_str(), where.c_str());
}

Result<Call> call_of(const Options& options) {
    Call call;
    if (!options.file.empty()) {
        call.file = TRY(plan_of_file(options.file));
    }
    call.share_memory = !options.net;
    call.loads = options.loads;
    call.elem_bytes = options.elem_bytes;
    call.coll =
        call.file.has_value() ? call.file->shape.coll : options.coll.value_or(Coll::all_reduce);
    call.root = call.file.has_value() ? call.file->shape.root : options.root.value_or(0);
    call.cluster = TRY(cluster_resolve(options, call));
    TRY(ranks_check(options, call));
    if (call.host_count() > 1 && call.share_memory) {
        call.hosts.at = TRY(plan::Cluster::of(call.cluster.host_ranks));
    }
    call.count = TRY(count_of(options, call));
    return call;
}

Result<Subject> subject_of(const Options& options) {
    Subject subject;
    subject.call = TRY(call_of(options));
    if (subject.call.file.has_value()) {
        subject.choice = choice_of_file(subject.call, options);
        return subject;
    }
    plan::Limits limits;
    limits.algo = options.algo;
    limits.tile_bytes = options.tile_bytes;
    limits.strands = options.strands.value_or(0);
    subject.choice = TRY(choice_of(subject.call, limits));
    return subject;
}

Result<sim::ClusterNetwork> network_of(const Call& call, const Options& options) {
    sim::Assumed assumed;
    assumed.post_ns = options.post_ns.value_or(assumed.post_ns);
    return sim::network_of(call.cluster, assumed);
}

}  // namespace weft::planner
