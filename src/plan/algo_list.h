// The text of NCCL_ALGO, in the forms NCCL takes since 2.24 (parseList in its src/graph/tuning.cc):
// names joined by ',', or all names but these after a leading '^'; entries joined by ';', of which
// all but the first begin with the function they are for: "ring;allreduce:^tree;broadcast:ring".
// `hier` may say what runs between the hosts: "hier:mesh". Case does not matter. Names of NCCL's
// that Weft has no plan for are passed over, as are names the collective has no plan by. Thread
// rule: reentrant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

struct AlgoName {
    Algo algo = Algo::direct;
    Algo inter = Algo::ring;  // of hier
    bool operator==(const AlgoName&) const = default;
};

struct AlgoWish {
    std::vector<AlgoName> algos;  // named, and known for the collective; the first that applies
    uint32_t barred = 0;          // bit by Algo: not to be chosen
    std::string list;             // the text of it
    std::string unmet;            // the same, if it asks for nothing the collective has

    bool bars(Algo algo) const { return (barred >> static_cast<uint32_t>(algo) & 1) != 0; }
};

// What the text says about one collective. The whole text is checked, so that a name that is wrong
// fails the first call of any kind.
Result<AlgoWish> algo_list_parse(std::string_view text, Coll coll);

// One line about lists that have no effect, empty if there are none or if the text is wrong (choose
// refuses it then).
std::string algo_list_warning(std::string_view text);

// The text of NCCL_PROTO, in the same forms, of the names Simple, LL and LL128. Bit by Coll:
// neither of the latter is left, so nothing of it is to move eagerly.
Result<uint32_t> proto_list_parse(std::string_view text);

}  // namespace weft::plan
