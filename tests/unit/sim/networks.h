// Small networks and the plans run on them.
#pragma once

#include <string>

#include "src/plan/text.h"
#include "src/sim/simulate.h"
#include "tests/unit/plan/plans.h"

namespace weft::sim {

// One rail per rank, 10 bytes per ns on it, 100 inside; times that are easy to add up.
inline Network network_make(int32_t hosts, int32_t ranks_per_host) {
    Network network;
    network.hosts = hosts;
    network.ranks_per_host = ranks_per_host;
    network.rails.assign(static_cast<size_t>(ranks_per_host), Port{10, 1000, 0});
    network.intra = Port{100, 200, 0};
    network.stripe_bytes_min = 0;
    network.header_bytes = 1;
    network.control_bytes = 1;
    return network;
}

inline Network network_with_overheads(int32_t hosts, int32_t ranks_per_host) {
    Network network = network_make(hosts, ranks_per_host);
    network.intra_overhead = Overhead{20, 10};
    network.inter_overhead = Overhead{50, 30};
    network.compute.copy_bytes_per_ns = 200;
    network.compute.reduce_bytes_per_ns = 80;
    return network;
}

inline Job job_make(const plan::Plan& plan, uint64_t block_bytes, uint64_t tile_bytes = 0,
                    bool eager = false) {
    Job job;
    job.shape = plan.shape;
    job.count = block_bytes;
    job.tile_bytes = tile_bytes;
    job.eager = eager;
    return job;
}

// A plan from text, its shape being of no interest but for ranks and chunks.
inline plan::Plan plan_of(int32_t ranks, uint32_t chunks, const std::string& steps) {
    const std::string text = "weft-plan 1\nshape coll=" + std::string(to_string(Coll::all_to_all)) +
                             " algo=direct ranks=" + std::to_string(ranks) +
                             " root=0 chunks=" + std::to_string(chunks) +
                             " in=" + std::to_string(ranks) + " out=" + std::to_string(ranks) +
                             " slots=2 loads=0\n" + steps;
    Result<plan::Plan> plan = plan::plan_parse(text);
    INFO(text);
    if (!plan.ok()) {
        FAIL(plan.error().what);
    }
    return std::move(plan).value();
}

inline Report run_ok(const Network& network, const Job& job, const plan::Plan& plan,
                     const Options& options = {}) {
    Result<Report> report = simulate(network, job, plan, options);
    if (!report.ok()) {
        FAIL(report.error().what);
    }
    return std::move(report).value();
}

inline std::string run_refused(const Network& network, const Job& job, const plan::Plan& plan,
                               const Options& options = {}) {
    const Result<Report> report = simulate(network, job, plan, options);
    REQUIRE_FALSE(report.ok());
    return report.error().what;
}

inline Options unfolded() {
    Options options;
    options.fold = Fold::never;
    return options;
}

}  // namespace weft::sim
