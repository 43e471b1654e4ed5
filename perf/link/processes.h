// Two processes of one benchmark: a pipe to agree over, the time, and the only way to stop.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft::bench {

[[noreturn]] inline void stop(const std::string& what) {
    std::fprintf(stderr, "weft-bench: %s\n", what.c_str());
    std::_Exit(1);
}

template <class T>
T must(Result<T> result) {
    if (!result.ok()) {
        stop(result.error().what);
    }
    return std::move(result).value();
}

// What the sides say to each other apart from the wire.
struct Pipes {
    int end[2];
    Pipes() {
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end) != 0) {
            stop("no socket pair");
        }
    }
};

// One side's end. The other process must not keep it open, or nobody hears of its end.
inline std::string swap(int end, const std::string& mine) {
    char buffer[512];
    if (::write(end, mine.data(), mine.size()) < 0) {
        stop("the other side is gone");
    }
    const ssize_t got = ::read(end, buffer, sizeof buffer);
    if (got <= 0) {
        stop("the other side is gone");
    }
    return {buffer, static_cast<size_t>(got)};
}

inline double now_us() {
    return static_cast<double>(clock_now()) / 1e3;
}

}  // namespace weft::bench
