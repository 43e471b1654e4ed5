// What weft-plan is asked about: a call on a cluster, and the plan for it, chosen or from a file.
// Looks at files, at no machine. Thread rule: values. Failure rule: one line; for files with the
// line at fault.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/plan/planner.h"
#include "src/sim/from_cluster.h"
#include "src/sim/simulate.h"
#include "tools/plan/options.h"
#include "topology/cluster.h"

namespace weft::planner {

struct Call {
    topology::Cluster cluster;
    plan::ClusterRef hosts;  // the same as planning sees it
    bool share_memory = true;
    bool loads = false;
    Coll coll = Coll::all_reduce;
    int32_t root = 0;
    uint64_t count = 0;  // elements per block
    uint32_t elem_bytes = 4;
    std::optional<plan::Plan> file;  // --file

    int32_t rank_count() const { return cluster.rank_count(); }
    int32_t host_count() const { return cluster.host_count(); }
    // Borrows from this.
    plan::Request request() const;
    // nccl-tests' size, after rounding.
    uint64_t bytes() const;
};

struct Subject {
    Call call;
    plan::Choice choice;
    sim::PartOf part_of() const;
    sim::Job job(bool in_place) const;
};

Result<Call> call_of(const Options& options);
Result<Subject> subject_of(const Options& options);
Result<sim::ClusterNetwork> network_of(const Call& call, const Options& options);

// The one place where an algorithm is chosen for a call.
Result<plan::Choice> choice_of(const Call& call, const plan::Limits& limits);
// The same plan with so many strands, and tiles of so many bytes (0: whole chunks).
plan::Choice choice_cut(const Call& call, plan::Choice choice, uint32_t strands,
                        uint64_t tile_bytes);
std::string algorithm_name(const plan::Choice& choice);  // "hier:mesh"
std::string call_text(const Call& call);  // "all_gather of 32M on 64 hosts of 8 ranks"

}  // namespace weft::planner
