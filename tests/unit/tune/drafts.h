// Machines as the simulator and as the price see them, and candidates for both.
#pragma once

#include <string>
#include <vector>

#include "src/base/log.h"
#include "src/sim/simulate.h"
#include "src/tune/price.h"
#include "tests/unit/plan/plans.h"

namespace weft::tune {

struct Machine {
    sim::Network network;
    Table table;
    plan::ClusterRef cluster;
    Scene scene;
};

// The simulator's network of a table: one thread a rank, as the host executor has it.
inline sim::Network network_of(const Table& table, int32_t hosts, int32_t ranks) {
    const auto port = [](const LevelCosts& costs) {
        return sim::Port{1e6 / static_cast<double>(costs.byte_fs),
                         static_cast<double>(costs.latency_ns), static_cast<double>(costs.gap_ns)};
    };
    const auto overhead = [](const LevelCosts& costs) {
        return sim::Overhead{static_cast<double>(costs.post_ns),
                             static_cast<double>(costs.completion_ns)};
    };
    sim::Network network;
    network.hosts = hosts;
    network.ranks_per_host = ranks;
    network.rails.assign(static_cast<size_t>(table.rails), port(table.between));
    network.intra = port(table.inside);
    network.inter_overhead = overhead(table.between);
    network.intra_overhead = overhead(table.inside);
    network.compute.copy_bytes_per_ns = 1e6 / static_cast<double>(table.inside.copy_byte_fs);
    network.compute.reduce_bytes_per_ns = 1e6 / static_cast<double>(table.inside.reduce_byte_fs);
    network.cross_rail_rate = table.own_rails < table.rails ? table.cross / 100.0 : 1;
    network.compute.workers = sim::Workers::thread;
    return network;
}

inline plan::ClusterRef hosts_alike(int32_t hosts, int32_t ranks) {
    std::vector<std::vector<int32_t>> lists;
    for (int32_t host = 0; host < hosts; host++) {
        lists.emplace_back();
        for (int32_t local = 0; local < ranks; local++) {
            lists.back().push_back(host * ranks + local);
        }
    }
    return {plan::Cluster::of(std::move(lists)).value()};
}

// gpu: p5's wires. Else sockets of 1 GB/s, one rail for all ranks of a host.
inline Machine machine_make(bool gpu, int32_t hosts, int32_t ranks) {
    Machine machine;
    machine.table = table_defaults(gpu ? Defaults::gpu : Defaults::host_memory);
    machine.table.rails = gpu ? ranks : 1;
    machine.table.between.byte_fs = gpu ? 20'000 : 1'000'000;
    machine.cluster = hosts_alike(hosts, ranks);
    machine.network = network_of(machine.table, hosts, ranks);
    machine.scene = scene_of(machine.table, machine.cluster.at.get(), hosts * ranks);
    return machine;
}

struct Candidate {
    std::string name;
    plan::Choice choice;
    Draft draft;
    uint64_t count = 0;
};

inline Draft draft_of(const plan::Choice& choice, uint64_t bytes) {
    Draft draft;
    draft.coll = choice.shape.coll;
    draft.algo = choice.algo;
    draft.inter = choice.shape.inter;
    draft.loads = choice.shape.loads;
    draft.eager = choice.eager;
    draft.strands = choice.lanes;
    draft.tiles = choice.tiles;
    constexpr double chunk_least = 16;
    draft.full = std::min(
        1.0, std::max(1.0, static_cast<double>(bytes) / chunk_least) / choice.shape.chunks);
    draft.tile_bytes = std::min(static_cast<double>(choice.tile_bytes),
                                static_cast<double>(bytes) / choice.shape.chunks / draft.full);
    return draft;
}

// Every algorithm with one strand and whole chunks, and with the most strands and some tiles.
inline std::vector<Candidate> candidates(const Machine& machine, Coll coll, uint64_t bytes) {
    plan::Request request;
    request.coll = coll;
    request.rank_count = machine.cluster->rank_count();
    request.count = bytes;
    request.one_host = false;
    request.cluster = &machine.cluster;
    std::vector<Candidate> made;
    const auto add = [&](plan::Way way) {
        for (const uint32_t strands : {1u, 2u, 4u}) {
            for (const uint64_t tile :
                 {uint64_t{1} << 40, uint64_t{1} << 20, uint64_t{128} << 10}) {
                way.strands = strands;
                way.tile_bytes = tile;
                Candidate candidate;
                candidate.choice = plan::choice_of(request, {}, way);
                const plan::Choice& choice = candidate.choice;
                const bool same = !made.empty() && made.back().choice.shape == choice.shape &&
                                  made.back().choice.tile_bytes == choice.tile_bytes;
                if (same || choice.lanes * plan::lanes_per_strand(choice.shape) > plan::lanes_max ||
                    choice.tile_bytes > (4 << 20)) {
                    continue;
                }
                candidate.name = to_string(way.algo);
                candidate.name +=
                    way.algo == plan::Algo::hier ? std::string(":") + to_string(way.inter) : "";
                candidate.draft = draft_of(choice, bytes);
                candidate.count = bytes;
                made.push_back(std::move(candidate));
            }
        }
    };
    for (const plan::Kind kind : plan::kinds) {
        if (kind != plan::Kind::loads && plan::has_plan(coll, kind)) {
            add({plan::algo_of(kind), false, plan::Algo::ring, 0, 0, "a test"});
        }
    }
    for (const plan::Algo inter : plan::inters) {
        add({plan::Algo::hier, false, inter, 0, 0, "a test"});
    }
    return made;
}

inline double simulated_ns(const Machine& machine, const Candidate& candidate) {
    const plan::Choice& choice = candidate.choice;
    const sim::Job job = sim::job_of(choice, candidate.count, 1);
    sim::Options options;
    options.slots = 8;
    const auto run = sim::simulate(
        machine.network, job,
        [&](int32_t rank) { return plan::generate(choice.shape, choice.lanes, rank); }, options);
    if (!run.ok()) {
        FAIL(run.error().what);
    }
    return run.value().time_ns;
}

}  // namespace weft::tune
