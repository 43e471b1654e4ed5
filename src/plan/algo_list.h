// The text of NCCL_ALGO, in the forms NCCL takes since 2.24 (parseList in its src/graph/tuning.cc):
// names joined by ',', or all names but these after a leading '^'; entries joined by ';', of which
// all but the first begin with the function they are for: "ring;allreduce:^tree;broadcast:ring".
// Case does not matter. Names of NCCL's that Weft has no plan for are passed over. Thread rule:
// reentrant.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

struct AlgoWish {
    std::optional<Algo> algo;  // the first one named that Weft has; none: choose
    std::string unmet;         // the list, if it asks for nothing that Weft has
};

// What the text says about one collective. The whole text is checked, so that a name that is wrong
// fails the first call of any kind.
Result<AlgoWish> algo_list_parse(std::string_view text, Coll coll);

// One line about lists that have no effect, empty if there are none or if the text is wrong (choose
// refuses it then).
std::string algo_list_warning(std::string_view text);

}  // namespace weft::plan
