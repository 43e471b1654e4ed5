// Net over TCP sockets and the Reactor.
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <unordered_map>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/base/private_fd.h"
#include "src/base/reactor.h"
#include "src/bootstrap/address.h"
#include "src/bootstrap/net.h"

namespace weft {

namespace {

constexpr size_t read_bytes = 64 << 10;
constexpr size_t unsent_bytes_max = size_t{1} << 30;
constexpr int accepts_per_event = 64;
constexpr Nanos accept_pause = 100 * nanos_per_ms;  // when descriptors ran out
constexpr Nanos flush_limit = 2 * nanos_per_s;

struct SocketName {
    sockaddr_storage storage{};
    socklen_t length = 0;
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

SocketName name_of(const NetAddress& address) {
    SocketName name;
    if (address.v6) {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&name.storage);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(address.port);
        std::memcpy(&v6->sin6_addr, address.ip.data(), 16);
        name.length = sizeof *v6;
    } else {
        auto* v4 = reinterpret_cast<sockaddr_in*>(&name.storage);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(address.port);
        std::memcpy(&v4->sin_addr, address.ip.data(), 4);
        name.length = sizeof *v4;
    }
    return name;
}

// False for families that are no IP.
bool address_of(const sockaddr* name, NetAddress& address) {
    if (name == nullptr || (name->sa_family != AF_INET && name->sa_family != AF_INET6)) {
        return false;
    }
    address.v6 = name->sa_family == AF_INET6;
    if (address.v6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(name);
        address.port = ntohs(v6->sin6_port);
        std::memcpy(address.ip.data(), &v6->sin6_addr, 16);
    } else {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(name);
        address.port = ntohs(v4->sin_port);
        std::memcpy(address.ip.data(), &v4->sin_addr, 4);
    }
    return true;
}

void option_set(int fd, int level, int option, int value) {
    if (setsockopt(fd, level, option, &value, sizeof value) != 0) {
        LOG(info, bootstrap, "socket option %d: %s", option, strerror(errno));
    }
}

// A peer host that vanished without a word is noticed after about 4 s, idle or not.
void options_set(int fd) {
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 4000);
}

PrivateFd socket_make(const NetAddress& address) {
    return private_fd([&] {
        return socket(address.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                      0);
    });
}

Error socket_error(int sys) {
    const char* why = sys == 0 ? "closed by the other side" : strerror(sys);
    return make_error(Code::remote, Scope::peer, why, sys);
}

class TcpNet final : public Net {
  public:
    explicit TcpNet(Reactor& reactor) : reactor_(reactor) {}

    void start(NetClient& client) override { client_ = &client; }
    void stop() override;
    Result<Listening> listen(const NetAddress& at) override;
    void unlisten(uint64_t id) override;
    Conn connect(const NetAddress& to) override;
    void send(Conn conn, std::string bytes) override;
    void close(Conn conn) override;

    Nanos now() const override { return reactor_.now(); }
    Timer at(Nanos when, std::function<void()> callback) override;
    void cancel(Timer timer) override;
    void post(std::function<void()> callback) override { reactor_.post(std::move(callback)); }
    bool on_thread() const override { return reactor_.on_thread(); }

    void random(std::span<uint8_t> out) override { random_bytes(out); }
    std::string host() const override { return host_name(); }
    int64_t pid() const override { return getpid(); }
    std::vector<NetInterface> interfaces() const override;
    Result<std::vector<NetAddress>> resolve(const std::string& host, uint16_t port) override;

  private:
    struct Listener {
        PrivateFd fd;
        Reactor::Id watch = 0;
    };
    struct Socket {
        PrivateFd fd;
        Reactor::Id watch = 0;
        bool connecting = false;
        bool closing = false;  // the client has closed it; the rest is being sent
        std::string unsent;
    };

    void accept_some(uint64_t id);
    Conn install(PrivateFd fd, bool connecting);
    void event(Conn conn, uint32_t events);
    bool connected(Conn conn);  // false: it failed and is gone
    void read_some(Conn conn);
    void write_some(Conn conn);
    void fail(Conn conn, int sys);
    void discard(Conn conn);

    Reactor& reactor_;             // owned by the process object
    NetClient* client_ = nullptr;  // owned by the hub
    std::unordered_map<uint64_t, Listener> listeners_;
    std::unordered_map<Conn, Socket> sockets_;
    std::set<Timer> timers_;
    uint64_t next_id_ = 1;
};

void TcpNet::stop() {
    for (const auto& [id, listener] : listeners_) {
        reactor_.remove(listener.watch);
    }
    listeners_.clear();
    for (const auto& [id, socket] : sockets_) {
        reactor_.remove(socket.watch);
    }
    sockets_.clear();
    for (const Timer timer : timers_) {
        reactor_.cancel(timer);
    }
    timers_.clear();
}

Net::Timer TcpNet::at(Nanos when, std::function<void()> callback) {
    // The id is known only after the call, and the callback runs only after this one returned.
    const auto id = std::make_shared<Timer>();  // shared by this call and the callback
    *id = reactor_.at(when, [this, id, callback = std::move(callback)] {
        timers_.erase(*id);
        callback();
    });
    timers_.insert(*id);
    return *id;
}

void TcpNet::cancel(Timer timer) {
    if (timer != 0 && timers_.erase(timer) != 0) {
        reactor_.cancel(timer);
    }
}

Result<Net::Listening> TcpNet::listen(const NetAddress& at) {
    const auto failed = [&] {
        const int sys = errno;
        return make_error(Code::system, Scope::process,
                          format("cannot listen on %s: %s", to_string(at).c_str(), strerror(sys)),
                          sys);
    };
    PrivateFd fd = socket_make(at);
    if (!fd) {
        return failed();
    }
    option_set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (at.v6) {
        option_set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    SocketName name = name_of(at);
    constexpr int backlog = 4096;
    if (bind(fd.get(), name.get(), name.length) != 0 || ::listen(fd.get(), backlog) != 0 ||
        getsockname(fd.get(), name.get(), &name.length) != 0) {
        return failed();
    }
    Listening listening{next_id_++, at};
    address_of(name.get(), listening.at);
    Listener& listener = listeners_[listening.id];
    listener.fd = std::move(fd);
    listener.watch = reactor_.add(listener.fd.get(), EPOLLIN,
                                  [this, id = listening.id](uint32_t) { accept_some(id); });
    return listening;
}

void TcpNet::unlisten(uint64_t id) {
    const auto at = listeners_.find(id);
    if (at != listeners_.end()) {
        reactor_.remove(at->second.watch);
        listeners_.erase(at);
    }
}

void TcpNet::accept_some(uint64_t id) {
    for (int i = 0; i < accepts_per_event; ++i) {
        const auto at = listeners_.find(id);
        if (at == listeners_.end()) {
            return;
        }
        SocketName name;
        name.length = sizeof name.storage;
        PrivateFd fd = private_fd([&] {
            return accept4(at->second.fd.get(), name.get(), &name.length,
                           SOCK_NONBLOCK | SOCK_CLOEXEC);
        });
        if (!fd) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                LOG(info, bootstrap, "cannot accept a connection: %s", strerror(errno));
                reactor_.modify(at->second.watch, 0);
                this->at(now() + accept_pause, [this, id] {
                    const auto again = listeners_.find(id);
                    if (again != listeners_.end()) {
                        reactor_.modify(again->second.watch, EPOLLIN);
                    }
                });
            }
            return;
        }
        NetAddress from;
        address_of(name.get(), from);
        client_->accepted(install(std::move(fd), false), from);
    }
}

Conn TcpNet::install(PrivateFd fd, bool connecting) {
    options_set(fd.get());
    const Conn conn = next_id_++;
    Socket& socket = sockets_[conn];
    socket.fd = std::move(fd);
    socket.connecting = connecting;
    socket.watch = reactor_.add(socket.fd.get(), connecting ? EPOLLOUT : EPOLLIN,
                                [this, conn](uint32_t events) { event(conn, events); });
    return conn;
}

Conn TcpNet::connect(const NetAddress& to) {
    PrivateFd fd = socket_make(to);
    SocketName name = name_of(to);
    if (fd) {
        options_set(fd.get());  // before connecting: they bound it too
    }
    if (fd && (::connect(fd.get(), name.get(), name.length) == 0 || errno == EINPROGRESS)) {
        return install(std::move(fd), true);
    }
    const Conn conn = next_id_++;
    sockets_[conn].connecting = true;
    at(now(), [this, conn, sys = errno] { fail(conn, sys); });
    return conn;
}

void TcpNet::event(Conn conn, uint32_t events) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end()) {
        return;
    }
    if (at->second.connecting && !connected(conn)) {
        return;
    }
    if ((events & EPOLLOUT) != 0) {
        write_some(conn);
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        read_some(conn);
    }
}

bool TcpNet::connected(Conn conn) {
    Socket& socket = sockets_.at(conn);
    int sys = 0;
    socklen_t length = sizeof sys;
    getsockopt(socket.fd.get(), SOL_SOCKET, SO_ERROR, &sys, &length);
    if (sys != 0) {
        fail(conn, sys);
        return false;
    }
    socket.connecting = false;
    reactor_.modify(socket.watch, EPOLLIN);
    client_->opened(conn);
    return sockets_.count(conn) != 0;
}

void TcpNet::read_some(Conn conn) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end()) {
        return;
    }
    char bytes[read_bytes];
    const ssize_t got = recv(at->second.fd.get(), bytes, sizeof bytes, 0);
    if (got > 0) {
        if (!at->second.closing) {
            client_->received(conn, {bytes, static_cast<size_t>(got)});
        }
    } else if (got == 0) {
        fail(conn, 0);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(conn, errno);
    }
}

void TcpNet::write_some(Conn conn) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end() || at->second.connecting) {
        return;
    }
    Socket& socket = at->second;
    size_t sent = 0;
    while (sent < socket.unsent.size()) {
        const ssize_t done = ::send(socket.fd.get(), socket.unsent.data() + sent,
                                    socket.unsent.size() - sent, MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR) {
            break;  // full, or broken: then reading will say how
        }
        sent += static_cast<size_t>(std::max<ssize_t>(done, 0));
    }
    const bool broken = sent < socket.unsent.size() && errno != EAGAIN;
    socket.unsent.erase(0, broken ? socket.unsent.npos : sent);
    reactor_.modify(socket.watch, socket.unsent.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT);
    if (socket.closing && socket.unsent.empty()) {
        discard(conn);
    }
}

void TcpNet::send(Conn conn, std::string bytes) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end() || at->second.closing) {
        return;
    }
    Socket& socket = at->second;
    const bool idle = socket.unsent.empty();
    if (socket.unsent.size() + bytes.size() > unsent_bytes_max) {
        this->at(now(), [this, conn] { fail(conn, ENOBUFS); });
        return;
    }
    socket.unsent.append(bytes);
    if (idle) {
        write_some(conn);
    }
}

void TcpNet::close(Conn conn) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end()) {
        return;
    }
    if (at->second.connecting || at->second.unsent.empty()) {
        discard(conn);
        return;
    }
    at->second.closing = true;
    this->at(now() + flush_limit, [this, conn] { discard(conn); });
}

void TcpNet::fail(Conn conn, int sys) {
    const auto at = sockets_.find(conn);
    if (at == sockets_.end()) {
        return;
    }
    const bool told = at->second.closing;
    discard(conn);
    if (!told) {
        client_->closed(conn, socket_error(sys));
    }
}

void TcpNet::discard(Conn conn) {
    const auto at = sockets_.find(conn);
    if (at != sockets_.end()) {
        if (at->second.watch != 0) {
            reactor_.remove(at->second.watch);
        }
        sockets_.erase(at);
    }
}

std::vector<NetInterface> TcpNet::interfaces() const {
    std::vector<NetInterface> found;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) {
        return found;
    }
    for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
        NetInterface interface;
        if (!address_of(one->ifa_addr, interface.address)) {
            continue;
        }
        interface.address.port = 0;
        interface.name = one->ifa_name;
        interface.up = (one->ifa_flags & IFF_UP) != 0;
        interface.loopback = (one->ifa_flags & IFF_LOOPBACK) != 0;
        found.push_back(interface);
    }
    freeifaddrs(list);
    return found;
}

Result<std::vector<NetAddress>> TcpNet::resolve(const std::string& host, uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    const int failure = getaddrinfo(host.c_str(), nullptr, &hints, &list);
    if (failure != 0) {
        return make_error(Code::system, Scope::call,
                          format("cannot find host %s: %s", host.c_str(), gai_strerror(failure)));
    }
    std::vector<NetAddress> addresses;
    for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
        NetAddress address;
        if (address_of(one->ai_addr, address)) {
            address.port = port;
            addresses.push_back(address);
        }
    }
    freeaddrinfo(list);
    return addresses;
}

}  // namespace

std::unique_ptr<Net> net_tcp_make(Reactor& reactor) {
    return std::make_unique<TcpNet>(reactor);
}

}  // namespace weft
