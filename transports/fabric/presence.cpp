#include "transports/fabric/presence.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string>

namespace weft::fabric {

namespace {

// libfabric 1.17 to 2.5, prov/shm: "fi_shm://PROCESS:DOMAIN:ENDPOINT", and a file of shared memory
// with the same name behind the scheme.
constexpr std::string_view shm_scheme = "fi_shm://";

// The process that the name says has that file mapped, so the number means the same here as there.
bool maps_hold(pid_t process, std::string_view file) {
    std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.ends_with(file)) {
            return true;
        }
    }
    return false;
}

}  // namespace

Fd process_watch(std::string_view provider, std::string_view endpoint) {
    endpoint = endpoint.substr(0, endpoint.find('\0'));
    if (provider != "shm" || !endpoint.starts_with(shm_scheme)) {
        return {};
    }
    const std::string_view file = endpoint.substr(shm_scheme.size());
    pid_t process = 0;
    const auto read = std::from_chars(file.data(), file.data() + file.size(), process);
    if (read.ec != std::errc() || process <= 0 || !maps_hold(process, "/" + std::string(file))) {
        return {};
    }
    return Fd(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
}

bool process_ended(const Fd& watch) {
    pollfd ended{watch.get(), POLLIN, 0};
    return ::poll(&ended, 1, 0) == 1 && (ended.revents & POLLIN) != 0;
}

Knock::Knock(const fi_info& rail, std::string_view endpoint) {
    sockaddr_in to{};
    const bool sockets = std::string_view(rail.fabric_attr->prov_name).starts_with("tcp") &&
                         rail.addr_format == FI_SOCKADDR_IN && rail.src_addr != nullptr &&
                         rail.src_addrlen == sizeof to && endpoint.size() >= sizeof to;
    if (!sockets) {
        return;
    }
    std::memcpy(&to, endpoint.data(), sizeof to);
    sockaddr_in from{};
    std::memcpy(&from, rail.src_addr, sizeof from);
    from.sin_port = 0;
    socket_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (to.sin_family != AF_INET || !socket_ ||
        ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
        socket_.reset();
        return;
    }
    const int rc = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
    refused_ = rc != 0 && errno == ECONNREFUSED;
    if (rc == 0 || errno != EINPROGRESS) {
        socket_.reset();
    }
}

bool Knock::refused() {
    pollfd writable{socket_.get(), POLLOUT, 0};
    if (socket_ && ::poll(&writable, 1, 0) == 1) {
        int error = 0;
        socklen_t bytes = sizeof error;
        ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &bytes);
        refused_ = error == ECONNREFUSED;
        socket_.reset();
    }
    return refused_;
}

}  // namespace weft::fabric
