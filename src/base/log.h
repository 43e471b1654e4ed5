// Logging in the line formats users' scripts already parse (NCCL_DEBUG and friends).
// Thread-safe. Lines are composed whole and written with one write(2). Never called on a hot path
// above TRACE. Line: `host:pid:tid [dev] NCCL INFO text`; WARN: empty line, then `[date time]
// host:pid:tid [dev] file:line NCCL WARN text`.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/where.h"

namespace weft {

enum class LogLevel : uint8_t { none = 0, version = 1, warn = 2, info = 3, abort = 4, trace = 5 };

// NCCL_DEBUG_SUBSYS bits, NCCL's values.
enum class Subsys : uint32_t {
    init = 0x1,
    coll = 0x2,
    p2p = 0x4,
    shm = 0x8,
    net = 0x10,
    graph = 0x20,
    tuning = 0x40,
    env = 0x80,
    alloc = 0x100,
    call = 0x200,
    proxy = 0x400,
    bootstrap = 0x1000,
    reg = 0x2000,
    all = 0xffffffff,
};

bool log_enabled(LogLevel level, Subsys subsys);
// The most verbose level that prints; all of them until the settings have been read.
extern std::atomic<LogLevel> log_threshold;
void log_write(LogLevel level, Subsys subsys, std::string_view text,
               Where where = Where::current());
void log_device_set(int dev);  // thread-local: the [dev] column

// WARN lines also become the process-global text of ncclGetLastError (1023 bytes kept, never
// cleared).
void log_warn(std::string_view text, Where where = Where::current());
const char* log_last_error();

// printf-like composition for messages; the only formatting piece of the tree.
std::string format(const char* fmt, ...) __attribute__((format(printf, 1, 2)));

}  // namespace weft

// LOG(info, init, "fmt", ...): composes the text only when the level and subsystem are on.
#define LOG(level, subsys, ...)                                                                 \
    do {                                                                                        \
        if (::weft::LogLevel::level <= ::weft::log_threshold.load(std::memory_order_relaxed) && \
            ::weft::log_enabled(::weft::LogLevel::level, ::weft::Subsys::subsys)) {             \
            ::weft::log_write(::weft::LogLevel::level, ::weft::Subsys::subsys,                  \
                              ::weft::format(__VA_ARGS__));                                     \
        }                                                                                       \
    } while (false)
