// What the user asked weft-run for. Parsing is pure: no system calls, nothing printed.
// Thread rule: values, reentrant. Failure rule: the first wrong argument, in one line.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft::run {

enum class Prefix : uint8_t {
    all,     // every line of every rank
    others,  // all but rank 0's standard output, so that a table stays a table
    none,
};

struct Options {
    int rank_count = 0;    // 0: one per virtual host, else one per core
    int host_count = 0;    // virtual hosts; 0: plain local processes
    int rail_count = 1;    // per virtual host
    int64_t rate_bps = 0;  // bits per second and rail; 0: unshaped
    Nanos timeout = 0;     // 0: none
    bool bind = true;      // to cores, where the ranks fit them
    bool require_hosts = false;
    bool efa = false;        // on the software EFA device
    std::string efa_device;  // a profile, or the device's words
    std::string efa_faults;
    bool help = false;
    Prefix prefix = Prefix::others;
    std::vector<std::pair<std::string, std::string>> env;
    std::vector<std::string> program;
};

inline constexpr int rank_count_max = 4096;
inline constexpr int host_count_max = 250;  // the last byte of an address
inline constexpr int rail_count_max = 32;

Result<Options> options_parse(int argc, char** argv);
const char* options_usage();

// "250mbit", "1gbit", "2.5gbit": bits per second.
Result<int64_t> rate_parse(const std::string& text);

}  // namespace weft::run
