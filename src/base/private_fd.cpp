#include "src/base/private_fd.h"

#include <pthread.h>

#include <bit>
#include <cstdint>
#include <mutex>

namespace weft {

namespace {

// One bit per descriptor. Never destroyed: a handler may run while the process exits.
struct PrivateFds {
    std::mutex mutex;  // also held across fork(), so that bits and descriptors agree in the child
    uint64_t words[private_fd_count_max / 64] = {};

    static bool fits(int fd) { return fd >= 0 && fd < private_fd_count_max; }
    static uint64_t bit(int fd) { return uint64_t{1} << (fd % 64); }
    bool is_marked(int fd) const { return fits(fd) && (words[fd / 64] & bit(fd)) != 0; }
    void mark(int fd) {
        if (fits(fd)) {
            words[fd / 64] |= bit(fd);
        }
    }
    void close_all() {
        for (int at = 0; at < private_fd_count_max / 64; at++) {
            for (uint64_t& word = words[at]; word != 0; word &= word - 1) {
                ::close(at * 64 + std::countr_zero(word));
            }
        }
    }
};

PrivateFds& private_fds() {
    static auto* const fds = [] {
        auto* made = new PrivateFds;
        pthread_atfork([] { private_fds().mutex.lock(); }, [] { private_fds().mutex.unlock(); },
                       [] {
                           private_fds().close_all();
                           private_fds().mutex.unlock();
                       });
        return made;
    }();
    return *fds;
}

}  // namespace

void PrivateFdTraits::close(int fd) noexcept {
    PrivateFds& fds = private_fds();
    const std::lock_guard lock(fds.mutex);
    if (fds.is_marked(fd)) {
        fds.words[fd / 64] &= ~PrivateFds::bit(fd);
    } else if (PrivateFds::fits(fd)) {
        return;  // this is a child, where the number may mean something else by now
    }
    ::close(fd);
}

PrivateFd private_fd(const std::function<int()>& open) {
    PrivateFds& fds = private_fds();
    const std::lock_guard lock(fds.mutex);
    const int fd = open();
    fds.mark(fd);
    return PrivateFd(fd);
}

}  // namespace weft
