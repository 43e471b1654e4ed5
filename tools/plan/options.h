// The command line of weft-plan. Nothing is printed, nothing looked at. Failure rule: one line that
// says what is accepted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::planner {

enum class Action : uint8_t { print, prove, price, simulate, compare, svg, trace };

struct Options {
    Action action = Action::print;
    std::optional<Coll> coll;
    std::optional<uint64_t> bytes;  // nccl-tests' size
    std::optional<uint64_t> count;  // elements per block
    uint32_t elem_bytes = 4;
    int32_t ranks = 0;  // 0: not given
    std::optional<int32_t> root;
    std::optional<int32_t> rank;  // print: of this rank only
    std::string topology;
    int32_t hosts = 0;           // 0: not given
    std::string ranks_of_hosts;  // "0-3/4-7"
    std::string algo;            // as NCCL_ALGO; empty: to be chosen
    std::string file, out;
    uint64_t tile_bytes = 0;          // 0: as chosen
    std::optional<uint32_t> strands;  // not given: as chosen
    std::optional<double> post_ns;
    int32_t budget_s = 30;  // compare
    bool loads = false, net = false, eager = false, in_place = false, json = false, help = false;
};

Result<Options> options_parse(int argc, char** argv);

const char* to_string(Action action);
const char* usage();

}  // namespace weft::planner
