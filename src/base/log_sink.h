// Where lines go in place of NCCL_DEBUG_FILE or the standard output: for code that is loaded into a
// program with a log of its own. Thread-safe; the sink is called from any thread, with one line at
// a time of each. Set before anything is logged, the log opens no file.
#pragma once

#include <string_view>

#include "src/base/log.h"

namespace weft {

// `file` is short, and ends with a zero. It may not log.
using LogSink = void (*)(LogLevel level, Subsys subsys, const char* file, int line,
                         std::string_view text);
void log_sink_set(LogSink sink);  // null: none

}  // namespace weft
