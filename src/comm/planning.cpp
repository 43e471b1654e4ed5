#include "src/comm/planning.h"

#include <algorithm>
#include <cstdio>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/tune/choice.h"
#include "topology/cluster_text.h"
#include "topology/discover.h"
#include "topology/host.h"
#include "topology/profiles.h"
#include "topology/rails.h"

namespace weft {

namespace {

constexpr size_t agreement_limit = 4096;

bool has_root(Coll coll) {
    return coll == Coll::broadcast || coll == Coll::reduce || coll == Coll::gather ||
           coll == Coll::scatter;
}

bool fits(const plan::Shape& shape, const plan::Request& request) {
    return shape.coll == request.coll && shape.rank_count == request.rank_count &&
           (!has_root(request.coll) || shape.root == request.root) &&
           (!shape.loads || request.peer_load);
}

plan::Planned planned_by(const GivenPlan& given, const plan::Request& request,
                         const plan::Limits& limits, int32_t rank) {
    plan::Planned planned;
    planned.part = given.plan.ranks[static_cast<size_t>(rank)];
    planned.choice = plan::choice_of_shape(request, limits, given.plan.shape);
    planned.choice.lanes = static_cast<uint32_t>(planned.part.lanes.size());
    planned.choice.reason =
        format("the plan of %s because: WEFT_PLAN; %u tiles of %llu bytes, %s", given.file.c_str(),
               planned.choice.tiles, static_cast<unsigned long long>(planned.choice.tile_bytes),
               planned.choice.eager ? "eager" : "granted");
    return planned;
}

Error prefixed(const std::string& prefix, Error error) {
    error.what = prefix + error.what;
    return error;
}

// Words describe a cluster, a name is an instance type's, anything else a file.
bool is_words(const std::string& text) {
    return text.find('=') != text.npos;
}

Result<topology::Host> host_of_file(const char* setting, const std::string& path, int32_t ranks) {
    Result<topology::Machine> machine = topology::machine_read(path);
    if (!machine.ok()) {
        return prefixed(std::string(setting) + ": ", std::move(machine).error());
    }
    const topology::Machine& found = machine.value();
    return topology::host_of(found,
                             topology::rails_map(found, topology::rank_places(found, ranks)));
}

using OwnRails = std::vector<std::vector<uint32_t>>;

topology::Host host_of_rails(int32_t ranks, int32_t rails, const OwnRails& own) {
    topology::Host host;
    host.rail_rates.assign(static_cast<size_t>(rails), 0);
    if (!own.empty()) {
        for (const auto& mine : own) {
            host.rank_rails.emplace_back(mine.begin(), mine.end());
        }
        return host;
    }
    std::vector<uint16_t> all;
    for (int32_t rail = 0; rail < rails; rail++) {
        all.push_back(static_cast<uint16_t>(rail));
    }
    host.rank_rails.assign(static_cast<size_t>(ranks), all);
    return host;
}

// The machine that a file describes, else the one this is.
Result<topology::Machine> machine_told(const Settings& settings) {
    if (settings.topology.find('/') != std::string::npos || settings.topology.ends_with(".xml")) {
        return topology::machine_read(settings.topology);
    }
    return settings.topo_file.empty() ? topology::machine_live()
                                      : topology::machine_read(settings.topo_file);
}

// By local rank: which of `nics` the topology gives it. Empty when it does not know all of them.
OwnRails rails_near(const topology::Machine& machine, int32_t ranks,
                    const std::vector<std::string>& nics) {
    const topology::RailMap map =
        topology::rails_map(machine, topology::rank_places(machine, ranks));
    OwnRails own;
    for (const std::vector<int32_t>& rails : map.by_rank) {
        std::vector<uint32_t> mine;
        for (const int32_t rail : rails) {
            const topology::Nic& nic =
                machine.nics[static_cast<size_t>(map.nics[static_cast<size_t>(rail)])];
            const auto found =
                nic.address ? std::find(nics.begin(), nics.end(), topology::to_string(*nic.address))
                            : nics.end();
            if (found == nics.end()) {
                return {};
            }
            mine.push_back(static_cast<uint32_t>(found - nics.begin()));
        }
        if (mine.empty()) {
            return {};
        }
        std::sort(mine.begin(), mine.end());
        own.push_back(std::move(mine));
    }
    return own;
}

// Rates of physical NICs count, where they are as many as the rails: a virtual one's is invented.
void rates_take(topology::Host& host, const topology::Machine& machine) {
    std::vector<int64_t> rates;
    for (const topology::Nic& nic : machine.nics) {
        if (nic.address && nic.line_rate > 0) {
            rates.push_back(nic.line_rate);
        }
    }
    if (rates.size() == host.rail_rates.size()) {
        host.rail_rates = rates;
    }
}

Result<topology::Host> host_live(int32_t ranks, int32_t rails, const OwnRails& own) {
    topology::Host host = host_of_rails(ranks, rails, own);
    const Result<topology::Machine> machine = topology::machine_live();
    if (!machine.ok()) {
        LOG(info, init, "plans are chosen without knowing the machine: %s",
            machine.error().what.c_str());
        return host;
    }
    const topology::Machine& found = machine.value();
    if (topology::rail_kind(found) == topology::NicKind::efa) {
        return topology::host_of(found,
                                 topology::rails_map(found, topology::rank_places(found, ranks)));
    }
    rates_take(host, found);
    return host;
}

Result<topology::Cluster> cluster_gathered(const std::vector<std::string>& blobs,
                                           const std::vector<std::vector<int32_t>>& host_ranks) {
    std::vector<topology::Hosts> hosts;
    size_t ranks = 0;
    for (const std::string& blob : blobs) {
        hosts.push_back({TRY(topology::host_decode(blob)), 1});
        ranks += host_ranks[hosts.size() - 1].size();
    }
    std::vector<topology::RankPlace> places(ranks);
    for (size_t host = 0; host < host_ranks.size(); host++) {
        for (size_t local = 0; local < host_ranks[host].size(); local++) {
            places[static_cast<size_t>(host_ranks[host][local])] = {static_cast<int32_t>(host),
                                                                    static_cast<int32_t>(local)};
        }
    }
    return topology::cluster_of(hosts, std::move(places));
}

// The first word in which two tables differ.
std::string first_difference(const std::string& a, const std::string& b) {
    size_t at = 0;
    while (at < a.size() && at < b.size() && a[at] == b[at]) {
        at++;
    }
    const size_t begin = a.find_last_of(" \n", at == 0 ? 0 : at - 1);
    const auto word = [&](const std::string& text) {
        const size_t from = begin == text.npos ? 0 : begin + 1;
        const size_t end = text.find_first_of(" \n", at);
        return text.substr(from, end == text.npos ? end : end - from);
    };
    return '"' + word(a) + "\" there, \"" + word(b) + "\" here";
}

}  // namespace

Result<plan::Planned> Planning::plan(const plan::Request& request) const {
    plan::Planned planned;
    const auto found = std::find_if(given.begin(), given.end(), [&](const GivenPlan& one) {
        return fits(one.plan.shape, request);
    });
    if (found != given.end()) {
        planned = planned_by(*found, request, limits, rank);
    } else {
        planned.choice = TRY(tune::choose(request, limits, table));
        planned.part = TRY(plan::generate(planned.choice.shape, planned.choice.lanes, rank));
    }
    if (explain && rank == 0) {
        // Asked for by name, so it does not hang on NCCL_DEBUG.
        const std::string line =
            format("weft: %s: %s of %llu bytes on %d ranks: chose %s\n", label.c_str(),
                   to_string(request.coll),
                   static_cast<unsigned long long>(request.count * request.elem_bytes),
                   request.rank_count, planned.choice.reason.c_str());
        std::fwrite(line.data(), 1, line.size(), stderr);
    }
    return planned;
}

std::vector<std::vector<uint32_t>> rank_rails(const Settings& settings, int32_t ranks,
                                              const std::vector<std::string>& nics) {
    if (nics.empty()) {
        return {};
    }
    const Result<topology::Machine> machine = machine_told(settings);
    if (machine.ok()) {
        const OwnRails near = rails_near(machine.value(), ranks, nics);
        if (!near.empty()) {
            return near;
        }
    }
    LOG(info, init,
        "which NICs are near to which rank is not known, %s: ranks share %zu NICs in "
        "blocks by order",
        machine.ok() ? "the provider's are not among those of the machine"
                     : machine.error().what.c_str(),
        nics.size());
    OwnRails blocks;
    for (const auto& mine : topology::rails_in_blocks(ranks, static_cast<int32_t>(nics.size()))) {
        blocks.emplace_back(mine.begin(), mine.end());
    }
    return blocks;
}

Result<topology::Host> host_describe(const Settings& settings, int32_t ranks, int32_t rails,
                                     const OwnRails& own) {
    const std::string& text = settings.topology;
    if (!text.empty() && !is_words(text)) {
        if (const auto profile = topology::profile_find(text); profile.ok()) {
            topology::Cluster cluster = TRY(topology::profile_cluster(*profile.value(), 1));
            topology::Host host = std::move(cluster.shapes.front());
            const auto own = topology::rails_in_blocks(ranks, host.rail_count());
            host.rank_rails.assign(own.begin(), own.end());
            return host;
        } else if (text.find('/') == text.npos && !text.ends_with(".xml")) {
            return prefixed("WEFT_TOPOLOGY: ", profile.error());
        }
        return host_of_file("WEFT_TOPOLOGY", text, ranks);
    }
    if (!settings.topo_file.empty() && !is_words(text)) {
        return host_of_file("NCCL_TOPO_FILE", settings.topo_file, ranks);
    }
    // Named rails may be those of a virtual host, on a machine with others.
    return settings.rails.empty() && text.empty() ? host_live(ranks, rails, own)
                                                  : host_of_rails(ranks, rails, own);
}

Result<tune::Table> table_make(const Settings& settings, const std::vector<std::string>& hosts,
                               const std::vector<std::vector<int32_t>>& host_ranks, int32_t turns) {
    if (is_words(settings.topology)) {
        Result<topology::Cluster> cluster = topology::cluster_parse(settings.topology);
        if (!cluster.ok()) {
            return prefixed("WEFT_TOPOLOGY: ", std::move(cluster).error());
        }
        return tune::table_of(cluster.value(), turns);
    }
    const topology::Cluster cluster = TRY(cluster_gathered(hosts, host_ranks));
    return tune::table_of(cluster, turns);
}

std::string agreement_encode(const Planning& planning) {
    ByteWriter out;
    out.raw(digest_view(tune::table_hash(planning.table)));
    out.text(given_plans_digest(planning.given)).text(tune::table_text(planning.table));
    return out.take();
}

Result<void> agreements_check(const std::vector<std::string>& blobs,
                              const std::vector<PeerInfo>& infos) {
    struct Agreement {
        std::string hash, plans, table;
    };
    std::vector<Agreement> told;
    for (const std::string& blob : blobs) {
        ByteReader in(blob);
        Agreement one;
        one.hash = TRY(in.raw(Digest().size()));
        one.plans = TRY(in.text(Digest().size()));
        one.table = TRY(in.text(agreement_limit));
        told.push_back(std::move(one));
    }
    for (size_t rank = 1; rank < told.size(); rank++) {
        std::string what;
        if (told[rank].plans != told[0].plans) {
            what = "WEFT_PLAN names other plans there than here; give all ranks the same files";
        } else if (told[rank].hash != told[0].hash) {
            what = format(
                "costs differ, %s; use the same library, WEFT_TOPOLOGY and WEFT_PROBE on "
                "all ranks",
                first_difference(told[rank].table, told[0].table).c_str());
        } else {
            continue;
        }
        return make_error(Code::invalid_usage, Scope::communicator,
                          format("%s would choose plans other than %s: %s",
                                 peer_name(static_cast<int32_t>(rank), infos[rank]).c_str(),
                                 peer_name(0, infos[0]).c_str(), what.c_str()));
    }
    return {};
}

}  // namespace weft
