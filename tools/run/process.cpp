#include "tools/run/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "src/base/log.h"

namespace weft::run {

namespace {

// Children report over a pipe, one line each: 'p' pid, 'n' note, 'e' error.
void report(int fd, char kind, const std::string& text) {
    const std::string line = kind + text + '\n';
    (void)!::write(fd, line.data(), line.size());
}

std::string text_of(const std::string& reports, char kind) {
    for (size_t at = 0; at < reports.size();) {
        const size_t end = reports.find('\n', at);
        if (reports[at] == kind) {
            return reports.substr(at + 1, end - at - 1);
        }
        at = end == std::string::npos ? reports.size() : end + 1;
    }
    return {};
}

std::string read_all(int fd) {
    std::string text;
    char buffer[512];
    for (;;) {
        const ssize_t got = ::read(fd, buffer, sizeof buffer);
        if (got > 0) {
            text.append(buffer, static_cast<size_t>(got));
        } else if (got == 0 || errno != EINTR) {
            return text;
        }
    }
}

bool write_file(const char* path, const std::string& text) {
    Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
    return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// In a user namespace of its own the user stays who they are: files keep their owner, and what a
// rank execs has no rights it did not have outside.
bool map_user(uid_t uid, gid_t gid) {
    const std::string user = std::to_string(uid);
    const std::string group = std::to_string(gid);
    return write_file("/proc/self/setgroups", "deny") &&
           write_file("/proc/self/uid_map", user + " " + user + " 1") &&
           write_file("/proc/self/gid_map", group + " " + group + " 1");
}

std::string enter(const Home& home) {
    const uid_t uid = ::getuid();
    const gid_t gid = ::getgid();
    if (home.join != 0 && ::setns(home.join_pidfd, home.join) != 0) {
        return sys_text("joining namespaces", errno);
    }
    if (home.make != 0 && ::unshare(home.make) != 0) {
        return sys_text("making namespaces", errno);
    }
    if ((home.make & CLONE_NEWUSER) != 0 && !map_user(uid, gid)) {
        return sys_text("mapping the user into a namespace", errno);
    }
    return {};
}

// Asks for SIGKILL on the launcher's death, after every change of rights (they clear the request),
// and looks whether it died before the request was made.
void follow(int launcher_pidfd) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pollfd ended{launcher_pidfd, POLLIN, 0};
    if (::poll(&ended, 1, 0) != 0) {
        ::_exit(127);
    }
}

[[noreturn]] void child_run(const ChildBody& body, int fd, int launcher_pidfd) {
    follow(launcher_pidfd);
    report(fd, 'e', body(Ready(fd)));
    ::_exit(127);
}

// A PID namespace takes in only processes cloned after joining it. So a process in between joins
// and clones a brother (CLONE_PARENT): the launcher stays the parent of everything it supervises.
[[noreturn]] void brother_run(const Home& home, const ChildBody& body, int fd, int launcher_pidfd) {
    const std::string failed = enter(home);
    if (!failed.empty()) {
        report(fd, 'e', failed);
        ::_exit(127);
    }
    follow(launcher_pidfd);
    const long pid = ::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        child_run(body, fd, launcher_pidfd);
    }
    report(fd, pid < 0 ? 'e' : 'p', pid < 0 ? sys_text("clone", errno) : std::to_string(pid));
    ::_exit(0);
}

[[noreturn]] void first_run(const Home& home, const ChildBody& body, int fd, int launcher_pidfd) {
    if (((home.join | home.make) & CLONE_NEWPID) != 0) {
        brother_run(home, body, fd, launcher_pidfd);
    }
    const std::string failed = enter(home);
    if (!failed.empty()) {
        report(fd, 'e', failed);
        ::_exit(127);
    }
    child_run(body, fd, launcher_pidfd);
}

Error system_error(const std::string& what, int error) {
    return make_error(Code::system, Scope::call, sys_text(what, error), error);
}

Fd pidfd_of(pid_t pid) {
    return Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

}  // namespace

std::string sys_text(const std::string& what, int error) {
    return what + ": " + std::strerror(error);
}

void Ready::done(const std::string& note, int input) const {
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(input < 0 ? null : input, 0);
    ::dup2(null, 1);
    ::dup2(null, 2);
    ::setsid();
    report(fd_, 'n', note);
    ::close_range(3, ~0U, 0);
}

Result<Process> spawn(const Home& home, const ChildBody& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return system_error("pipe", errno);
    }
    Fd reports(ends[0]);
    Fd child_end(ends[1]);
    Fd launcher = pidfd_of(::getpid());
    if (!launcher) {
        return system_error("pidfd_open (Linux 5.8 or newer is needed)", errno);
    }
    Process process;
    const pid_t first = ::fork();
    if (first == 0) {
        first_run(home, body, child_end.get(), launcher.get());
    }
    if (first < 0) {
        return system_error("fork", errno);
    }
    child_end.reset();
    const std::string said = read_all(reports.get());
    const std::string brother = text_of(said, 'p');
    const std::string failed = text_of(said, 'e');
    process.pid = brother.empty() ? first : static_cast<pid_t>(std::atol(brother.c_str()));
    if (!brother.empty()) {
        reap(first);
    }
    if (!failed.empty()) {
        reap(process.pid);
        return make_error(Code::system, Scope::call, failed);
    }
    process.pidfd = pidfd_of(process.pid);
    process.note = text_of(said, 'n');
    return process;
}

int reap(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

}  // namespace weft::run
