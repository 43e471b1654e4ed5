#include "src/base/log.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace weft {

namespace {
char last_error[1024];
}

bool log_enabled(LogLevel level, Subsys) {
    static const bool info = getenv("NCCL_DEBUG") && !strcmp(getenv("NCCL_DEBUG"), "INFO");
    return level <= LogLevel::warn || (info && level == LogLevel::info);
}
void log_write(LogLevel, Subsys, std::string_view text, std::source_location) {
    std::fprintf(stderr, "weft: %.*s\n", static_cast<int>(text.size()), text.data());
}
void log_device_set(int) {
}
void log_warn(std::string_view text, std::source_location where) {
    std::snprintf(last_error, sizeof last_error, "%.*s", static_cast<int>(text.size()),
                  text.data());
    log_write(LogLevel::warn, Subsys::all, text, where);
}
const char* log_last_error() {
    return last_error;
}
std::string format(const char* fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char buffer[2048];
    std::vsnprintf(buffer, sizeof buffer, fmt, args);
    va_end(args);
    return buffer;
}

}  // namespace weft
