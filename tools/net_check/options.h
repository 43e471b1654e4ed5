// What the user asked weft-net-check for. Parsing is pure but for what a launcher's environment
// says, which is handed in. Thread rule: values. Failure rule: the first wrong argument, one line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/net_check/meet.h"

namespace weft::netcheck {

struct Options {
    std::string plugin;
    int abi = 0;                    // 0: all that it exports
    std::vector<std::string> only;  // empty: all
    bool bench = false;             // the figures and no checks; likewise limits.soak
    std::string json;               // a file, or none
    Limits limits;
    Nanos deadline = 90 * nanos_per_s;  // of a check
    bool list = false;
    bool verbose = false;
    bool help = false;
    std::optional<Place> place;  // on two hosts
};

// WEFT_RANK, WEFT_RANK_COUNT, MASTER_ADDR, MASTER_PORT; empty where they are not set.
struct Launch {
    std::string rank, rank_count, address, port;
};

Result<Options> options_parse(int argc, char** argv, const Launch& launch);
std::string options_usage();

}  // namespace weft::netcheck
