// Listeners and connections of the toy, registrations of nothing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/netplugin/toy.h"
#include "tests/netplugin/toy_mutants.h"

namespace toy {

namespace {

constexpr uint64_t handle_magic = 0x746f792d6e657421;

// Another rail would have another address; on one machine all are the loopback.
in_addr own_address() {
    const char* text = std::getenv("TOY_ADDRESS");
    in_addr address{};
    ::inet_pton(AF_INET, text != nullptr ? text : "127.0.0.1", &address);
    return address;
}

Connection* connection_make(int fd, bool sends) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto* connection = new Connection;
    connection->fd = fd;
    connection->sends = sends;
    return connection;
}

// Takes who has come, and gives the first whose greeting is complete.
int caller_ready(Listener& listener) {
    for (int fd = 0; (fd = ::accept4(listener.fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
        listener.callers.push_back({fd, 0, 0});
    }
    for (size_t i = 0; i < listener.callers.size(); i++) {
        Listener::Caller& caller = listener.callers[i];
        const ssize_t got = ::recv(caller.fd, reinterpret_cast<char*>(&caller.nonce) + caller.got,
                                   sizeof caller.nonce - caller.got, 0);
        caller.got += got > 0 ? static_cast<size_t>(got) : 0;
        if (caller.got == sizeof caller.nonce && caller.nonce == listener.nonce) {
            const int fd = caller.fd;
            listener.callers.erase(listener.callers.begin() + static_cast<ptrdiff_t>(i));
            return fd;
        }
    }
    return -1;
}

// One step of connect; the state is in the handle alone.
ncclResult_t connect_step(Handle& handle, int& fd) {
    fd = handle.fd - 1;
    if (fd < 0) {
        fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        handle.fd = fd + 1;
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = handle.port;
    address.sin_addr.s_addr = handle.address;
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
        errno != EISCONN) {
        const bool under_way = errno == EINPROGRESS || errno == EALREADY;
        fd = -1;
        return under_way ? ncclSuccess : fail(ncclRemoteError, "nobody listens there");
    }
    const ssize_t put = ::send(fd, &handle.nonce, sizeof handle.nonce, MSG_NOSIGNAL);
    return put == sizeof handle.nonce ? ncclSuccess : fail(ncclRemoteError, "no greeting");
}

}  // namespace

ncclResult_t listen(int device, void* handle, void** comm) {
    if (!device_known(device)) {
        return fail(ncclInvalidArgument, "listen: no such device");
    }
    sockaddr_in address{};
    socklen_t length = sizeof address;
    address.sin_family = AF_INET;
    address.sin_addr = own_address();
    auto* listener = new Listener;
    listener->fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (::bind(listener->fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::listen(listener->fd, 128) != 0 ||
        ::getsockname(listener->fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        delete listener;
        return fail(ncclSystemError, "listen");
    }
    std::random_device random;
    listener->nonce = (uint64_t{random()} << 32) | random();
    std::memset(handle, 0, weft::netplugin::handle_bytes);
    if (mutant("handle-overrun")) {
        std::memset(handle, 0, weft::netplugin::handle_bytes + 1);
    }
    Handle& own = *static_cast<Handle*>(handle);
    own = {handle_magic, listener->nonce, address.sin_addr.s_addr, address.sin_port, 0, 0};
    listener->seen = &own;
    *comm = mutant("listen-null") ? nullptr : listener;
    return ncclSuccess;
}

ncclResult_t connect(int device, void* handle, void** comm) {
    static Handle shared;  // what a mutant keeps for all connections
    static const auto begun = std::chrono::steady_clock::now();
    Handle& own = *static_cast<Handle*>(handle);
    *comm = nullptr;
    if (!device_known(device)) {
        return fail(ncclInvalidArgument, "connect: no such device");
    }
    const bool blank = own.magic == 0;
    if (mutant(blank ? "handle-zeros-wait" : "handle-random-wait") && own.magic != handle_magic) {
        return ncclSuccess;
    }
    if (own.magic != handle_magic) {
        return fail(ncclInvalidArgument, "connect: this handle is not one of ours");
    }
    if (mutant("connect-slow") &&
        std::chrono::steady_clock::now() < begun + std::chrono::seconds(1)) {
        return ncclSuccess;
    }
    if (mutant("connect-blocks")) {
        ::poll(nullptr, 0, -1);
    }
    if (mutant("state-in-global")) {
        shared = shared.magic == 0 ? own : shared;
    }
    int fd = -1;
    const ncclResult_t code = connect_step(mutant("state-in-global") ? shared : own, fd);
    if (code != ncclSuccess && mutant("dead-listener-wait")) {
        return ncclSuccess;
    }
    if (code == ncclSuccess && fd >= 0) {
        own.fd = 0;
        *comm = connection_make(fd, true);
    }
    return code;
}

ncclResult_t accept(void* comm, void** connection) {
    auto& listener = *static_cast<Listener*>(comm);
    *connection = nullptr;
    if (mutant("accept-blocks")) {
        ::poll(nullptr, 0, -1);
    }
    if (mutant("handle-kept") && listener.seen->magic != handle_magic) {
        return fail(ncclInternalError, "accept: the handle has changed");
    }
    const int fd = caller_ready(listener);
    if (fd >= 0) {
        *connection = connection_make(fd, false);
    }
    return ncclSuccess;
}

ncclResult_t close_listen(void* comm) {
    auto* listener = static_cast<Listener*>(comm);
    for (const Listener::Caller& caller : listener->callers) {
        ::close(caller.fd);
    }
    ::close(listener->fd);
    delete listener;
    return ncclSuccess;
}

ncclResult_t close_connection(void* comm) {
    auto* connection = static_cast<Connection*>(comm);
    if (mutant("close-busy") && !connection->queue.empty()) {
        return fail(ncclInternalError, "close: requests are under way");
    }
    static int last_closed = 0;
    if (mutant("close-order") && connection->fd > last_closed && last_closed != 0) {
        return fail(ncclInternalError, "close: not the last one opened");
    }
    last_closed = connection->fd;
    for (Request* request : connection->queue) {
        delete request;
    }
    ::close(connection->fd);
    delete connection;
    return ncclSuccess;
}

}  // namespace toy
