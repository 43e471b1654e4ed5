#include "tools/run/meeting.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/log.h"
#include "tools/run/process.h"

namespace weft::run {

namespace {

constexpr Nanos wait_ns = 60 * nanos_per_s;
constexpr int retry_us = 20'000;

Error system_error(const std::string& what) {
    return make_error(Code::system, Scope::call, sys_text(what, errno), errno);
}

struct Name {
    sockaddr_un address{};
    socklen_t size = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

// Abstract: gone with its owner, and private to the network namespace. The user is part of it, and
// checked on both sides besides.
Name name_of(const std::string& job) {
    Name name;
    name.address.sun_family = AF_UNIX;
    const std::string text = "weft-run." + std::to_string(::getuid()) + "." +
                             std::to_string(std::hash<std::string>{}(job));
    std::memcpy(name.address.sun_path + 1, text.data(), text.size());
    name.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    return name;
}

bool same_user(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::getuid();
}

[[noreturn]] void tell_others(int listener, const std::string& text, int count) {
    ::setsid();
    ::dup2(listener, 0);
    ::close_range(1, ~0U, 0);
    const Nanos end = clock_now() + wait_ns;
    for (int told = 0; told < count;) {
        pollfd waiting{0, POLLIN, 0};
        const Nanos left = end - clock_now();
        if (left <= 0 || ::poll(&waiting, 1, static_cast<int>(left / nanos_per_ms) + 1) <= 0) {
            break;
        }
        const Fd peer(::accept(0, nullptr, nullptr));
        if (peer && same_user(peer.get())) {
            told += ::send(peer.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0;
        }
    }
    ::_exit(0);
}

// Twice forked, so that the program we become has no child it knows nothing about.
void leave_behind(int listener, const std::string& text, int count) {
    const pid_t middle = ::fork();
    if (middle == 0) {
        if (::fork() == 0) {
            tell_others(listener, text, count);
        }
        ::_exit(0);
    }
    reap(middle);
}

}  // namespace

Result<std::string> port_free() {
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (!fd || ::bind(fd.get(), generic, size) != 0 ||
        ::getsockname(fd.get(), generic, &size) != 0) {
        return system_error("finding a free port");
    }
    return std::to_string(ntohs(address.sin_port));
}

Result<std::string> secret_make() {
    unsigned char bytes[32];
    if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
        return system_error("getrandom");
    }
    std::string text;
    for (const unsigned char byte : bytes) {
        text += format("%02x", byte);
    }
    return text;
}

Result<Appointment> appointment_give(const std::string& job, int rank_count) {
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Name name = name_of(job);
    if (!listener || ::bind(listener.get(), name.get(), name.size) != 0 ||
        ::listen(listener.get(), rank_count) != 0) {
        return system_error("meeting the other ranks of this machine");
    }
    Appointment made;
    made.port = TRY(port_free());
    made.secret = TRY(secret_make());
    leave_behind(listener.get(), made.port + " " + made.secret + "\n", rank_count - 1);
    return made;
}

Result<Appointment> appointment_get(const std::string& job) {
    const Name name = name_of(job);
    for (const Nanos end = clock_now() + wait_ns; clock_now() < end; ::usleep(retry_us)) {
        const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(fd.get(), name.get(), name.size) != 0 || !same_user(fd.get())) {
            continue;
        }
        char text[256] = "";
        const ssize_t size = ::recv(fd.get(), text, sizeof text - 1, MSG_WAITALL);
        const std::string line(text, static_cast<size_t>(std::max<ssize_t>(size, 0)));
        const size_t space = line.find(' ');
        if (space != std::string::npos && line.back() == '\n') {
            return Appointment{line.substr(0, space),
                               line.substr(space + 1, line.size() - space - 2)};
        }
    }
    return make_error(Code::timeout, Scope::process,
                      "rank 0 did not come within 60 s to agree on an address; set NCCL_COMM_ID");
}

}  // namespace weft::run
