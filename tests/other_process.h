// A second process of a test: the same program, running one test that is hidden from others, with a
// socket between the two. Thread-bound. Lifetime: the process is killed with the object. Failure
// rule: what does not come within a minute fails the test.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "src/base/handle.h"
#include "tests/catch.h"

namespace weft::test {

struct Letter {
    std::string text;
    Fd descriptor;
};

inline void letter_send(int socket, const std::string& text, int descriptor = -1) {
    iovec body{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        cmsghdr* const rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
    }
    REQUIRE(sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

inline Letter letter_receive(int socket) {
    char bytes[1024];
    iovec body{bytes, sizeof(bytes)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    REQUIRE(got > 0);
    Letter letter{std::string(bytes, static_cast<size_t>(got)), Fd()};
    if (const cmsghdr* const rights = CMSG_FIRSTHDR(&message); rights != nullptr) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(rights), sizeof(int));
        letter.descriptor = Fd(descriptor);
    }
    return letter;
}

class OtherProcess {
  public:
    static constexpr const char* socket_variable = "OTHER_PROCESS_SOCKET";

    // `fails`: what it reports of its end is no news.
    explicit OtherProcess(const char* test, bool fails = false) {
        int ends[2] = {};
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        socket_ = Fd(ends[0]);
        Fd theirs(ends[1]);
        const timeval patience{60, 0};
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        // Allocated before the fork, for other threads may hold the heap's locks.
        const std::string number = std::to_string(ends[1]);
        setenv(socket_variable, number.c_str(), 1);
        const char* const arguments[] = {"other", test, fails ? "-o" : nullptr, "/dev/null",
                                         nullptr};
        process_ = fork();
        REQUIRE(process_ >= 0);
        if (process_ == 0) {
            fcntl(ends[1], F_SETFD, 0);
            execv("/proc/self/exe", const_cast<char* const*>(arguments));
            _exit(127);
        }
        unsetenv(socket_variable);
    }
    ~OtherProcess() {
        if (process_ > 0) {
            kill(process_, SIGKILL);
            waitpid(process_, nullptr, 0);
        }
    }
    OtherProcess(const OtherProcess&) = delete;
    OtherProcess& operator=(const OtherProcess&) = delete;

    int socket() const { return socket_.get(); }
    pid_t id() const { return process_; }
    // How it ended, as waitpid says it.
    int end() {
        int how = -1;
        REQUIRE(waitpid(process_, &how, 0) == process_);
        process_ = 0;
        return how;
    }

    // In that process.
    static Fd own_socket() {
        const char* const number = std::getenv(socket_variable);
        REQUIRE(number != nullptr);
        return Fd(std::atoi(number));
    }

  private:
    Fd socket_;
    pid_t process_ = 0;
};

}  // namespace weft::test
