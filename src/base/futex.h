// futex(2) on a 32-bit word, with a timeout; private (one process) or shared (a memfd page).
// Thread rule: reentrant. A wake without a waiter costs one system call; callers keep a waiter
// count to avoid it.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

#include "src/base/clock.h"

namespace weft {

// Returns on a wake, when *word != expected, on timeout or on a signal. timeout < 0: for ever.
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t expected, Nanos timeout, bool shared) {
    timespec ts{};
    ts.tv_sec = timeout / nanos_per_s;
    ts.tv_nsec = timeout % nanos_per_s;
    syscall(SYS_futex, &word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, expected,
            timeout < 0 ? nullptr : &ts, nullptr, 0);
}

inline void futex_wake_all(std::atomic<uint32_t>& word, bool shared) {
    syscall(SYS_futex, &word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr,
            0);
}

}  // namespace weft
