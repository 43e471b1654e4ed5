#include "tools/net_check/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/log.h"

namespace weft::netcheck {

namespace {

constexpr Nanos grace = 2 * nanos_per_s;
constexpr int parking = 64;  // above every descriptor a child gets

Error system_error(const char* what) {
    return make_error(Code::system, Scope::process, std::string(what) + ": " + std::strerror(errno),
                      errno);
}

struct Ends {
    Fd first;
    Fd second;
};

Result<Ends> pipe_make() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) {
        return system_error("pipe");
    }
    return Ends{Fd(fds[0]), Fd(fds[1])};
}

Result<Ends> pair_make() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return system_error("socketpair");
    }
    return Ends{Fd(fds[0]), Fd(fds[1])};
}

// Between fork and exec: only system calls.
[[noreturn]] void child_exec(const char* task, const char* plugin, const int (&fds)[3],
                             bool verbose, pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) {
        ::_exit(127);
    }
    int parked[3];
    for (int i = 0; i < 3; i++) {
        parked[i] = ::fcntl(fds[i], F_DUPFD, parking);
    }
    for (int i = 0; i < 3; i++) {
        ::dup2(parked[i], child_channel_fd + i);
    }
    if (!verbose) {
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, 2);
    }
    ::dup2(2, 1);  // the table is the supervisor's
    ::close_range(child_board_fd + 1, ~0U, 0);
    const char* argv[] = {"weft-net-check", "--child", task, plugin, nullptr};
    ::execv("/proc/self/exe", const_cast<char**>(argv));
    ::_exit(127);
}

std::string read_all(int fd) {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(fd, buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<size_t>(got));
    }
    return text;
}

}  // namespace

Result<Half> Half::start(const Task& task, int channel_fd, bool verbose) {
    Half half;
    half.task_ = task;
    const Check* check = task_find(task.check);
    half.may_be_killed_ = check != nullptr && check->kills && task.rank == 1;
    half.board_fd_ = TRY(board_make());
    half.board_ = TRY(board_map(half.board_fd_.get()));
    Ends report = TRY(pipe_make());
    const std::string packed = task_pack(task);
    const int fds[3] = {channel_fd, report.second.get(), half.board_fd_.get()};
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
        child_exec(packed.c_str(), task.plugin.c_str(), fds, verbose, parent);
    }
    if (pid < 0) {
        return system_error("fork");
    }
    half.pid_ = pid;
    half.report_ = std::move(report.first);
    half.pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!half.pidfd_) {
        return system_error("pidfd_open (Linux 5.3 or newer is needed)");
    }
    return half;
}

Half::~Half() {
    if (board_ != nullptr && board_fd_) {  // not moved from
        if (pid_ > 0 && !ended_) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
        ::munmap(board_, sizeof(Board));
    }
}

void Half::kill() {
    late_ = true;
    ::kill(pid_, SIGKILL);
}

void Half::look() {
    int status = 0;
    if (ended_ || ::waitpid(pid_, &status, late_ ? 0 : WNOHANG) != pid_) {
        return;
    }
    ended_ = true;
    verdict_ = judged(status);
}

Verdict Half::judged(int status) const {
    const std::string said = read_all(report_.get());
    const bool spoke = !said.empty();
    const Verdict verdict = spoke ? verdict_unpack(said) : Verdict{};
    if (spoke && verdict.state != State::ok) {
        return verdict;
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && may_be_killed_ && !spoke && !late_) {
        return {};
    }
    const std::string ended = ending(status, spoke);
    if (late_ && !spoke && board_idle(*board_)) {  // it waits for the other, who knows why
        return {State::gone, ended, clock_now()};
    }
    // What the other says of one that crashed it may say before the crash is seen here.
    const bool crashed = WIFSIGNALED(status) && !late_;
    return ended.empty() ? verdict : Verdict{State::failed, ended, crashed ? 0 : clock_now()};
}

// What is wrong with how the process ended, or empty.
std::string Half::ending(int status, bool spoke) const {
    const std::string where = spoke ? "after the check" : board_text(*board_);
    if (late_) {
        return spoke ? "does not end after the check, " + board_text(*board_) : "hangs " + where;
    }
    if (WIFSIGNALED(status)) {
        return std::string("crashes (") + ::strsignal(WTERMSIG(status)) + ") " + where;
    }
    if (!spoke || WEXITSTATUS(status) != 0) {
        return format("ends with status %d ", WEXITSTATUS(status)) + where;
    }
    const Call late = board_->late_call;
    return late == Call::none
               ? ""
               : format("%s took %lld ms: it may not block (limit %lld ms)", call_name(late),
                        static_cast<long long>(board_->late_ms.load()),
                        static_cast<long long>(task_.limits.call / nanos_per_ms));
}

Result<void> halves_wait(std::vector<Half>& halves, Nanos deadline) {
    for (;;) {
        std::vector<pollfd> fds;
        for (Half& half : halves) {
            half.look();
            if (!half.ended()) {
                fds.push_back({half.fd(), POLLIN, 0});
            } else if (half.verdict().state == State::failed) {
                deadline = std::min(deadline, clock_now() + grace);
            }
        }
        if (fds.empty()) {
            return {};
        }
        const Nanos left = deadline - clock_now();
        if (left <= 0) {
            for (Half& half : halves) {
                if (!half.ended()) {
                    half.kill();
                }
            }
            continue;
        }
        const int ms = static_cast<int>(std::min<Nanos>(left / nanos_per_ms + 1, 1000));
        if (::poll(fds.data(), fds.size(), ms) < 0 && errno != EINTR) {
            return system_error("poll");
        }
    }
}

Result<Verdict> check_here(const Task& task, Nanos deadline, bool verbose) {
    std::vector<Half> halves;
    {
        const Ends channel = TRY(pair_make());
        for (const int rank : {0, 1}) {
            Task own = task;
            own.rank = rank;
            Half half = TRY(
                Half::start(own, rank == 0 ? channel.first.get() : channel.second.get(), verbose));
            halves.push_back(std::move(half));
        }
    }
    TRY(halves_wait(halves, clock_now() + deadline));
    return verdict_of_both(halves[0].verdict(), halves[1].verdict());
}

Result<Verdict> versions_ask(const Task& task, Nanos deadline, bool verbose) {
    const Ends channel = TRY(pair_make());
    std::vector<Half> halves;
    Half half = TRY(Half::start(task, channel.first.get(), verbose));
    halves.push_back(std::move(half));
    TRY(halves_wait(halves, clock_now() + deadline));
    return halves[0].verdict();
}

}  // namespace weft::netcheck
