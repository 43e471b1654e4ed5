// What the wires allow, and what closed forms say. Thread rule: pure.
#pragma once

#include <string>

#include "src/sim/network.h"
#include "tools/plan/subject.h"

namespace weft::planner {

// What the wires ask for: the most bytes that must pass one NIC, or one rank's port inside its
// host, whichever takes longer, and each level's latency once (all_reduce: all of it twice). A plan
// that hides one level's latency behind the other's bytes is a little faster.
double bound_ns(const sim::Network& network, const Call& call);

// The closed form of the algorithm. Hierarchies other than the mesh, and any with several strands,
// are estimates; an error where there is no form.
Result<double> closed_form_ns(const sim::Network& network, const Call& call,
                              const plan::Choice& choice);

std::string assumed_text(const sim::ClusterNetwork& made);  // "assumed: post 0.4 us, ..."
std::string assumed_json(const sim::ClusterNetwork& made);

}  // namespace weft::planner
