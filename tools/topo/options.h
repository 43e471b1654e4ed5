// The command line of weft-topo. Pure. Failure rule: one line that says what is accepted.
#pragma once

#include <cstdint>
#include <string>

#include "src/base/result.h"

namespace weft::topo {

struct Options {
    std::string xml;      // --xml: a file instead of this machine
    std::string xml_out;  // --xml-out
    std::string svg;      // --svg
    std::string diff;     // --diff: a profile's name
    std::string profile;  // --profile: a cluster of these instead of a machine
    int32_t hosts = 0;    // --hosts, 0: not given
    int32_t ranks = 0;    // --ranks, 0: not given
    bool json = false;    // --json
    bool list = false;    // --profiles
    bool help = false;    // --help
};

Result<Options> options_parse(int argc, char** argv);

const char* usage();

}  // namespace weft::topo
