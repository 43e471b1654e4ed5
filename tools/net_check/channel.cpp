#include "tools/net_check/channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace weft::netcheck {

namespace {

constexpr uint32_t frame_max = 1 << 20;

Error ended(const std::string& what) {
    return make_error(Code::remote, Scope::peer, "the process at the other end " + what);
}

}  // namespace

Result<void> Channel::send(const std::string& bytes) {
    const auto size = static_cast<uint32_t>(bytes.size());
    std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
    frame += bytes;
    for (size_t at = 0; at < frame.size();) {
        const ssize_t put = ::send(fd_.get(), frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR) {
            return ended(std::string("has gone: ") + std::strerror(errno));
        }
        at += put > 0 ? static_cast<size_t>(put) : 0;
    }
    return {};
}

Result<void> Channel::read_exactly(char* to, size_t bytes, Nanos deadline) {
    while (bytes != 0) {
        const Nanos left = deadline - clock_now();
        pollfd readable{fd_.get(), POLLIN, 0};
        const int ms = static_cast<int>(std::clamp<Nanos>(left / nanos_per_ms + 1, 0, 60'000));
        if (left <= 0) {
            return ended("does not answer");
        }
        if (::poll(&readable, 1, ms) <= 0) {
            continue;
        }
        const ssize_t got = ::recv(fd_.get(), to, bytes, 0);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) {
            return ended("has gone");
        }
        to += std::max<ssize_t>(got, 0);
        bytes -= static_cast<size_t>(std::max<ssize_t>(got, 0));
    }
    return {};
}

Result<std::string> Channel::receive(Nanos timeout) {
    const Nanos deadline = clock_now() + timeout;
    uint32_t size = 0;
    TRY(read_exactly(reinterpret_cast<char*>(&size), sizeof size, deadline));
    if (size > frame_max) {
        return ended("speaks another language");
    }
    std::string bytes(size, '\0');
    TRY(read_exactly(bytes.data(), size, deadline));
    return bytes;
}

Result<void> Channel::barrier() {
    TRY(send("barrier"));
    const std::string said = TRY(receive());
    if (said != "barrier") {
        return ended("is at another place of the check");
    }
    return {};
}

bool Channel::gone() const {
    pollfd hangup{fd_.get(), POLLRDHUP, 0};
    return ::poll(&hangup, 1, 0) > 0 && (hangup.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

}  // namespace weft::netcheck
