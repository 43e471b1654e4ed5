#include "src/base/log.h"

#include <fcntl.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <mutex>
#include <vector>

#include "src/base/clock.h"
#include "src/base/log_parse.h"
#include "src/base/log_sink.h"
#include "src/base/machine.h"
#include "src/base/settings.h"

namespace weft {

namespace {

struct LogState {
    LogLevel level = LogLevel::warn;
    bool level_given = false;  // the version line is printed only when a user asked for a level
    uint32_t subsys = subsys_default;
    uint32_t timestamp_levels = 1U << static_cast<unsigned>(LogLevel::warn);
    std::string timestamp_format = "[%F %T] ";
    std::string host;
    int fd = STDOUT_FILENO;
};

thread_local int thread_device = 0;
std::atomic<LogSink> log_sink{nullptr};

// Text of ncclGetLastError. A caller may read what it got while another thread warns, so texts are
// written to the next of a few slots and then published.
class LastError {
  public:
    void set(std::string_view text) {
        const std::lock_guard lock(mutex_);
        next_ = (next_ + 1) % slots_.size();
        auto& slot = slots_[next_];
        const size_t bytes = std::min(text.size(), slot.size() - 1);
        std::memcpy(slot.data(), text.data(), bytes);
        slot[bytes] = '\0';
        current_.store(slot.data(), std::memory_order_release);
    }
    const char* get() const { return current_.load(std::memory_order_acquire); }

  private:
    std::mutex mutex_;
    std::array<std::array<char, 1024>, 16> slots_{};
    size_t next_ = 0;
    std::atomic<const char*> current_{""};
};

LastError& last_error() {
    static auto& slots = *new LastError();
    return slots;
}

void write_whole(int fd, std::string_view line) {
    while (!line.empty()) {
        const ssize_t done = write(fd, line.data(), line.size());
        if (done > 0) {
            line.remove_prefix(static_cast<size_t>(done));
        } else if (done < 0 && errno != EINTR) {
            return;  // nowhere left to complain
        }
    }
}

int log_file_open(const Settings& given, const LogState& state, std::string& complaint) {
    // NCCL opens the file only above VERSION, so that a version line stays on the terminal.
    if (given.debug_file.empty() || state.level <= LogLevel::version ||
        log_sink.load() != nullptr) {
        return STDOUT_FILENO;
    }
    const std::string path = log_path_expand(given.debug_file, state.host, getpid());
    if (path == "/dev/stdout" || path == "/dev/stderr") {
        return path == "/dev/stdout" ? STDOUT_FILENO : STDERR_FILENO;
    }
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        return fd;
    }
    complaint = format("NCCL_DEBUG_FILE: cannot open %s: %s; logging to stdout", path.c_str(),
                       strerror(errno));
    return STDOUT_FILENO;
}

// Module and file: what stands before depends on where the tree was built.
std::string file_short(std::string_view path) {
    const size_t name = path.rfind('/');
    const size_t module = name == path.npos || name == 0 ? path.npos : path.rfind('/', name - 1);
    return std::string(path.substr(module == path.npos ? 0 : module + 1));
}

std::string log_stamp(const LogState& state, LogLevel level) {
    if ((state.timestamp_levels >> static_cast<unsigned>(level) & 1U) == 0) {
        return "";
    }
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return log_timestamp(state.timestamp_format, now);
}

std::string log_prefix(const LogState& state, LogLevel level, Subsys subsys, const Where& where) {
    std::string line = level == LogLevel::warn ? "\n" : "";
    line += log_stamp(state, level);
    line += format("%s:%d:%ld ", state.host.c_str(), getpid(), syscall(SYS_gettid));
    const std::string file = file_short(where.file_name());
    const auto row = static_cast<unsigned>(where.line());
    if (level == LogLevel::warn) {
        return line + format("[%d] %s:%u NCCL WARN ", thread_device, file.c_str(), row);
    }
    if (level == LogLevel::trace && subsys == Subsys::call) {
        return line + "NCCL CALL ";
    }
    if (level == LogLevel::trace) {
        return line + format("[%d] %f %s:%u NCCL TRACE ", thread_device,
                             static_cast<double>(clock_now()) / nanos_per_ms, file.c_str(), row);
    }
    return line + format("[%d] NCCL INFO ", thread_device);
}

void line_write(const LogState& state, LogLevel level, Subsys subsys, std::string_view text,
                const Where& where) {
    if (const LogSink sink = log_sink.load(std::memory_order_acquire)) {
        return sink(level, subsys, file_short(where.file_name()).c_str(),
                    static_cast<int>(where.line()), text);
    }
    // The version line is bare up to WARN, an ordinary line above (showVersion in NCCL's init.cc).
    const bool bare = level == LogLevel::version && state.level <= LogLevel::warn;
    const LogLevel shown = level == LogLevel::version && !bare ? LogLevel::info : level;
    std::string line = bare ? log_stamp(state, level) : log_prefix(state, shown, subsys, where);
    line += text;
    line += '\n';
    write_whole(state.fd, line);
}

LogState* state_make() {
    const Settings& given = settings();
    auto* state = new LogState();  // never destroyed: destructors of other objects may log
    std::vector<std::string> complaints;
    state->host = host_name();
    state->host.resize(std::min(state->host.find('.'), state->host.size()));
    state->level_given = !given.debug.empty();
    if (const auto level = log_level_parse(given.debug)) {
        state->level = *level;
    }
    if (!given.debug_subsys.empty()) {
        state->subsys = subsys_parse(given.debug_subsys, complaints);
    }
    if (!given.debug_timestamp_levels.empty()) {
        state->timestamp_levels = log_levels_parse(given.debug_timestamp_levels, complaints);
    }
    if (settings_origin("NCCL_DEBUG_TIMESTAMP_FORMAT") != "default") {
        state->timestamp_format = given.debug_timestamp_format;
    }
    std::string complaint;
    state->fd = log_file_open(given, *state, complaint);
    if (!complaint.empty()) {
        complaints.push_back(complaint);
    }
    // WARN lines become the last error even if they are not printed.
    log_threshold.store(std::max(state->level, LogLevel::warn), std::memory_order_relaxed);
    for (const std::string& line : complaints) {
        last_error().set(line);
        if (state->level >= LogLevel::warn) {
            line_write(*state, LogLevel::warn, Subsys::env, line, Where::current());
        }
    }
    return state;
}

// settings() may log what it found wrong once its table stands; that call comes back here, and the
// table it then asks for is already there, so neither waits for the other.
const LogState& state() {
    settings();
    static const LogState* const made = state_make();
    return *made;
}

bool level_prints(const LogState& state, LogLevel level) {
    return state.level >= level && (level != LogLevel::version || state.level_given);
}

}  // namespace

std::atomic<LogLevel> log_threshold{LogLevel::trace};

bool log_enabled(LogLevel level, Subsys subsys) {
    if (level == LogLevel::warn) {
        return true;  // printed or not, it becomes the last error
    }
    const LogState& now = state();
    return level_prints(now, level) &&
           (level == LogLevel::version || (now.subsys & static_cast<uint32_t>(subsys)) != 0);
}

void log_write(LogLevel level, Subsys subsys, std::string_view text, Where where) {
    if (level == LogLevel::warn) {
        last_error().set(text);
    }
    if (level != LogLevel::none && level_prints(state(), level)) {
        line_write(state(), level, subsys, text, where);
    }
}

void log_sink_set(LogSink sink) {
    log_sink.store(sink, std::memory_order_release);
}

void log_device_set(int dev) {
    thread_device = dev;
}

void log_warn(std::string_view text, Where where) {
    log_write(LogLevel::warn, Subsys::all, text, where);
}

const char* log_last_error() {
    return last_error().get();
}

std::string format(const char* fmt, ...) {
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    std::string text(static_cast<size_t>(std::max(0, std::vsnprintf(nullptr, 0, fmt, args))), '\0');
    std::vsnprintf(text.data(), text.size() + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}

}  // namespace weft
