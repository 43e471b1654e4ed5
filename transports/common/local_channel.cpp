#include "transports/common/local_channel.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft::local {

namespace {

constexpr int backlog = 1024;
constexpr int socket_type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;

// Abstract: a zero byte first, and no name in any file system.
socklen_t abstract_address(const std::string& name, sockaddr_un* address) {
    *address = {};
    address->sun_family = AF_UNIX;
    ASSERT(name.size() < sizeof address->sun_path);
    std::memcpy(address->sun_path + 1, name.data(), name.size());
    return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

union Control {
    cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * frame_fds_max)];
};

ssize_t send_frame(int socket, const Frame& frame) {
    iovec body{const_cast<char*>(frame.body.data()), frame.body.size()};
    Control control{};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    if (!frame.fds.empty()) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * frame.fds.size());
        cmsghdr* rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * frame.fds.size());
        for (size_t i = 0; i < frame.fds.size(); i++) {
            const int fd = frame.fds[i].get();
            std::memcpy(CMSG_DATA(rights) + i * sizeof fd, &fd, sizeof fd);
        }
    }
    return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void take_descriptors(msghdr* message, Frame* frame) {
    for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            frame->fds.emplace_back(fd);
        }
    }
}

}  // namespace

Channel::Peer Channel::peer() const {
    ucred who{};
    socklen_t bytes = sizeof who;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0) {
        return {};
    }
    return {who.uid == ::geteuid(), who.pid};
}

Channel::Sent Channel::flush() {
    while (!out_.empty()) {
        if (send_frame(socket_.get(), out_.front()) >= 0) {
            out_.pop_front();
            continue;
        }
        switch (errno) {
            case EINTR:
                continue;
            case EAGAIN:
                return Sent::blocked;
            case ETOOMANYREFS:  // descriptors in flight are limited per user
            case ENOBUFS:
            case ENOMEM:
                return Sent::retry;
            default:
                return Sent::broken;
        }
    }
    return Sent::all;
}

Channel::Got Channel::receive(Frame* frame) {
    char bytes[frame_bytes_max];
    iovec body{bytes, sizeof bytes};
    Control control{};
    msghdr message{};
    message.msg_iov = &body;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t got = 0;
    do {
        got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        return Got::nothing;
    }
    *frame = {};
    if (got > 0) {
        take_descriptors(&message, frame);
    }
    if (got <= 0 || (message.msg_flags & MSG_TRUNC) != 0) {
        return Got::broken;
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return Got::cut;
    }
    frame->body.assign(bytes, static_cast<size_t>(got));
    return Got::frame;
}

std::string channel_name() {
    return format("weft-%d-%016llx", ::getpid(), static_cast<unsigned long long>(random_u64()));
}

bool channel_name_good(std::string_view name) {
    return name.starts_with("weft-") && name.size() <= channel_name_bytes_max &&
           std::ranges::all_of(name, [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-';
           });
}

Result<Fd> channel_listen(const std::string& name) {
    Fd socket(::socket(AF_UNIX, socket_type, 0));
    sockaddr_un address{};
    const socklen_t bytes = abstract_address(name, &address);
    if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
        ::listen(socket.get(), backlog) != 0) {
        const int sys = errno;
        return make_error(Code::system, Scope::process,
                          format("cannot listen for local ranks on an abstract UNIX socket: %s",
                                 std::strerror(sys)),
                          sys);
    }
    return socket;
}

Fd channel_accept(int listener) {
    return Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

Dial channel_dial(const std::string& name, Fd* socket) {
    *socket = Fd(::socket(AF_UNIX, socket_type, 0));
    sockaddr_un address{};
    const socklen_t bytes = abstract_address(name, &address);
    if (*socket && ::connect(socket->get(), reinterpret_cast<sockaddr*>(&address), bytes) == 0) {
        return Dial::connected;
    }
    // A full backlog; running out of descriptors is permanent and reported as such.
    return *socket && (errno == EAGAIN || errno == EINTR) ? Dial::busy : Dial::refused;
}

}  // namespace weft::local
