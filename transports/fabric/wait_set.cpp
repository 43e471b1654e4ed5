#include "transports/fabric/wait_set.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

#include "src/base/log.h"

namespace weft::fabric {

namespace {
// One that is there already is all the same: a rail that is opened again often gets the number of
// its old descriptor, and whoever watched meanwhile has added it.
bool epoll_add(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
}
}  // namespace

Result<void> WaitSet::add(int fd, const char* name) {
    std::lock_guard guard(lock_);
    const bool first = rails_.empty();
    rails_.push_back(fd);
    if (first && fd >= 0) {
        epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
    } else if (!epoll_ && fd < 0) {
        return {};
    }
    if (fd < 0) {
        return make_error(Code::unsupported, Scope::process,
                          format("rail %s cannot wake a sleeper and the others can: leave it out "
                                 "of WEFT_RAILS",
                                 name));
    }
    if (!epoll_ || (watched_ && !epoll_add(epoll_.get(), fd))) {
        return make_error(Code::system, Scope::process,
                          "no epoll descriptor for the rails: raise `ulimit -n`", errno);
    }
    return {};
}

// Closing took the old one out of the set; a new one may have its number.
void WaitSet::replace(int closed, int fd) {
    std::lock_guard guard(lock_);
    const auto rail = closed < 0 ? rails_.end() : std::find(rails_.begin(), rails_.end(), closed);
    if (rail == rails_.end()) {
        return;
    }
    if (fd < 0) {
        rails_.erase(rail);
        return;
    }
    *rail = fd;
    if (watched_ && !epoll_add(epoll_.get(), fd)) {
        log_warn(
            format("a rail that was opened again cannot wake sleepers: epoll error %d", errno));
    }
}

void WaitSet::watch_locked() {
    for (const int fd : watched_ ? std::vector<int>() : rails_) {
        epoll_add(epoll_.get(), fd);
    }
    watched_ = true;
}

void WaitSet::sleeper_add() {
    std::lock_guard guard(lock_);
    ++sleepers_;
    watch_locked();
}

void WaitSet::sleeper_remove() {
    std::lock_guard guard(lock_);
    --sleepers_;
}

void WaitSet::watch() {
    std::lock_guard guard(lock_);
    watch_locked();
}

bool WaitSet::leave() {
    std::lock_guard guard(lock_);
    if (sleepers_ != 0) {
        return false;
    }
    for (const int fd : watched_ ? rails_ : std::vector<int>()) {
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    }
    watched_ = false;
    return true;
}

}  // namespace weft::fabric
