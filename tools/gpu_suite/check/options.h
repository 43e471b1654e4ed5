// The command line of weft-gpu-check. Thread rule: not reentrant. Failure rule: the first wrong
// argument, in one line.
#pragma once

#include <cstdint>
#include <string>

#include "src/base/result.h"
#include "src/base/types.h"

namespace weft::suite {

// How the ranks of a test are put: all in one group and launch, a thread and stream each, or a
// process each (this one is `rank`).
enum class Mode : uint8_t { gang, threads, process };

// Whose memory the buffers are that lie in symmetric windows; none: they lie in no windows.
enum class InWindows : uint8_t { none, library, program };
const char* to_string(InWindows windows);

struct Options {
    std::string command;
    int device = 0;
    int deadline_s = 60;
    int ranks = 2;
    int rank = 0;  // of a process
    int root = 0;
    uint64_t count = 1000;
    Coll coll = Coll::all_reduce;
    DataType type = DataType::int32;
    RedOp op = RedOp::sum;
    Mode mode = Mode::gang;
    InWindows windows = InWindows::none;
    bool in_place = false;
    bool streams = false;  // a gang on one stream a rank, not one stream for all
    uint64_t bytes = 0;    // of rates; 0: the command's own
    int rounds = 0;        // likewise
    bool all = false;      // every type and operation in one process
    bool foreign = false;  // another's libnccl, which has no counters
};

Result<Options> options_of(int argc, char** argv);
extern const char* const usage;

}  // namespace weft::suite
