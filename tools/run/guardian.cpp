#include "tools/run/guardian.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace weft::run {

namespace {

std::string guard(const Ready& ready, int groups_fd) {
    ::prctl(PR_SET_PDEATHSIG, 0);
    ready.done("", groups_fd);
    std::vector<pid_t> groups;
    for (pid_t group = 0; ::read(0, &group, sizeof group) == sizeof group;) {
        groups.push_back(group);
    }
    for (const pid_t group : groups) {
        ::kill(-group, SIGKILL);
    }
    ::_exit(0);
}

}  // namespace

Guardian::Guardian(Process process, Fd groups)
    : process_(std::move(process)), groups_(std::move(groups)) {
}

Guardian::Guardian(Guardian&& other) noexcept
    : process_(std::exchange(other.process_, Process{})), groups_(std::move(other.groups_)) {
}

Result<Guardian> Guardian::start() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return make_error(Code::system, Scope::call, sys_text("pipe", errno));
    }
    const Fd read_end(ends[0]);
    Fd write_end(ends[1]);
    Process process =
        TRY(spawn(Home{}, [&](const Ready& ready) { return guard(ready, read_end.get()); }));
    return Guardian(std::move(process), std::move(write_end));
}

void Guardian::add(pid_t group) const {
    (void)!::write(groups_.get(), &group, sizeof group);
}

Guardian::~Guardian() {
    if (process_.pid > 0) {
        ::kill(process_.pid, SIGKILL);
        reap(process_.pid);
    }
}

}  // namespace weft::run
