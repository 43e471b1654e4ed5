#include "tools/net_check/board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace weft::netcheck {

namespace {

Board* board = nullptr;
Nanos call_limit = 0;

std::atomic<Call>& slot() {
    thread_local const size_t mine = board->slots_used.fetch_add(1) % board_slots;
    return board->now[mine];
}

// How long this thread has waited for a core so far: other programs' doing, not the plugin's. 0
// where the kernel does not count it.
Nanos starved() {
    thread_local const Fd counts(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
    char text[96];
    const ssize_t bytes = ::pread(counts.get(), text, sizeof text - 1, 0);
    long long waited = 0;
    text[std::max<ssize_t>(bytes, 0)] = '\0';
    return std::sscanf(text, "%*u %lld", &waited) == 1 ? waited : 0;
}

// As of a moment shortly before a call: isend and test are called too often to look every time.
struct Starved {
    Nanos at = 0;
    Nanos before = 0;
};
thread_local Starved noted;

Error memory_error(const char* what) {
    return make_error(Code::system, Scope::process,
                      std::string(what) + " of the call board: " + std::strerror(errno), errno);
}

}  // namespace

const char* call_name(Call call) {
    static constexpr const char* names[] = {
        "nothing",  "dlopen",     "init",      "devices",   "getProperties", "listen",
        "connect",  "accept",     "regMr",     "deregMr",   "isend",         "irecv",
        "iflush",   "test",       "closeSend", "closeRecv", "closeListen",   "makeVDevice",
        "finalize", "setNetAttr", "dlclose",
    };
    return names[static_cast<size_t>(call)];
}

bool call_must_not_block(Call call) {
    switch (call) {
        case Call::listen:
        case Call::connect:
        case Call::accept:
        case Call::isend:
        case Call::irecv:
        case Call::iflush:
        case Call::test:
            return true;
        default:
            return false;
    }
}

Result<Fd> board_make() {
    Fd fd(::memfd_create("weft-net-check", 0));  // the child inherits it
    if (!fd || ::ftruncate(fd.get(), sizeof(Board)) != 0) {
        return memory_error("memfd_create");
    }
    return fd;
}

Result<Board*> board_map(int fd) {
    void* at = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return memory_error("mmap");
    }
    return static_cast<Board*>(at);  // zeros are its first state
}

std::string board_text(const Board& seen) {
    std::string text;
    for (const std::atomic<Call>& one : seen.now) {
        const Call call = one.load();
        if (call != Call::none && call <= Call::unload) {
            text.append(text.empty() ? "in " : " and ").append(call_name(call));
        }
    }
    return text.empty() ? "outside the plugin" : text;
}

bool board_idle(const Board& seen) {
    return std::all_of(seen.now.begin(), seen.now.end(),
                       [](const std::atomic<Call>& one) { return one == Call::none; });
}

void board_use(Board* own, Nanos limit) {
    board = own;
    call_limit = limit;
}

CallNote::CallNote(Call call) : call_(call), begin_(call_limit != 0 ? clock_now() : 0) {
    slot().store(call);
    if (call_limit != 0 && begin_ - noted.at > call_limit / 8) {
        noted = {begin_, starved()};
    }
}

CallNote::~CallNote() {
    slot().store(Call::none);
    if (call_limit == 0) {
        return;
    }
    Nanos took = clock_now() - begin_;
    took -= took > call_limit ? starved() - noted.before : 0;
    Call none = Call::none;
    if (call_must_not_block(call_) && took > call_limit &&
        board->late_call.compare_exchange_strong(none, call_)) {
        board->late_ms = took / nanos_per_ms;
    }
}

}  // namespace weft::netcheck
