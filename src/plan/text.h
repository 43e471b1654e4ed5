// Plans as text: one line per step, stable, versioned; what goldens, imports and error messages
// use. Thread rule: reentrant. Failure rule: parsing checks form and bounds, never meaning (the
// prover does), and names the line; printing cannot fail.
//
//   weft-plan 1
//   shape coll=all_reduce algo=ring ranks=2 root=0 chunks=2 in=1 out=1 slots=2 loads=0
//   rank 0
//   lane scratch=1
//   grant s0 to 1 chunk 0
//   put <- in1 to 1 chunk 1
//   wait s0 from 1 chunk 0
//   reduce out0 <- s0 in0 chunk 0 finish after 1.3-2
//
// A hierarchical plan's shape goes on: inter=ring hosts=0-3/4-7, the ranks of each host.
// Operands: in<chunk>, out<chunk>, s<slot>, with `<rank>:` in front for a peer's memory. `after`
// names lane.step, -d for d tiles back. Empty lines and lines that begin with # are skipped.
#pragma once

#include <string>
#include <string_view>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

const char* to_string(StepKind kind);
std::string step_text(const Step& step);
std::string plan_text(const Plan& plan);

// "0-3/4-7": the ranks of each host.
Result<ClusterRef> cluster_parse(std::string_view text);

inline constexpr size_t plan_text_bytes_max = 256u << 20;
Result<Plan> plan_parse(std::string_view text);

}  // namespace weft::plan
