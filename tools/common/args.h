// Command lines of the tools: one loop around getopt_long, one wording for every refusal, numbers
// and sizes. Nothing is printed. Thread rule: not reentrant, as getopt is not. Failure rule: the
// first wrong argument, in one line that says what is accepted.
#pragma once

#include <getopt.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "src/base/result.h"

namespace weft::tools {

struct CommandLine {
    const char* tool;  // for "(TOOL --help lists them)"
    int argc;
    char** argv;
    const option* longs;  // values of long-only options from 256 on
    const char* shorts;   // as in "n:h"
    int first = 1;        // where options begin
};

// Calls `apply` with the value of every option and its argument, empty if it takes none. Stops at
// the first word that is no option and returns where it is.
Result<int> options_read(const CommandLine& line,
                         const std::function<Result<void>(int which, const std::string&)>& apply);

Error wrong(std::string what);

Result<int64_t> number_read(std::string_view name, const std::string& text, int64_t least,
                            int64_t most);
Result<std::string> word_read(std::string_view name, const std::string& text);

// Bytes: "1024", "64K", "32M", "1G"; K, M, G and T are powers of 1024, as in nccl-tests.
Result<uint64_t> size_read(std::string_view name, const std::string& text);
std::string size_text(uint64_t bytes);  // "32M" where that is exact

}  // namespace weft::tools
