// The sockets' side: dialling, accepting, moving frames. What the frames say is in pairing.cpp.
#include "transports/shm/exchange.h"

#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "transports/shm/frames.h"

namespace weft::shm {

namespace {

constexpr Nanos retry_delay = 5 * nanos_per_ms;
constexpr int frames_per_event = 64;   // others get their turn on the service thread
constexpr size_t strangers_max = 128;  // connections that have not said their name
constexpr Nanos parting_limit = 100 * nanos_per_ms;

std::array<uint8_t, 16> random_nonce() {
    std::array<uint8_t, 16> nonce{};
    random_bytes(nonce);
    return nonce;
}

}  // namespace

Exchange::Exchange(Reactor& reactor, bool cma)
    : reactor_(reactor), cma_(cma), nonce_(random_nonce()), name_(local::channel_name()) {
}

Exchange::~Exchange() = default;

Result<std::shared_ptr<Exchange>> Exchange::create(Reactor& reactor, bool cma) {
    // Not make_shared: the constructor is private.
    std::shared_ptr<Exchange> exchange(new Exchange(reactor, cma));
    TRY(exchange->listen());
    return exchange;
}

Result<void> Exchange::listen() {
    listener_ = TRY(local::channel_listen(name_));
    const Lock lock(mutex_);
    listener_watch_ = reactor_.add(listener_.get(), EPOLLIN, [weak = weak_from_this()](uint32_t) {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            self->accept_all();
        }
    });
    return {};
}

// Leaves the reactor without the lock held, for a callback that runs now may want it.
void Exchange::close() {
    std::vector<Reactor::Id> watches{listener_watch_};
    {
        const Lock lock(mutex_);
        closed_ = true;
        const Nanos limit = clock_now() + parting_limit;
        for (auto& [key, line] : lines_) {
            watches.push_back(line.watch);
            // The closures in the queue keep peers from taking this for a death.
            pollfd writable{line.channel.fd(), POLLOUT, 0};
            while (line.channel.flush() == Channel::Sent::blocked && clock_now() < limit) {
                ::poll(&writable, 1, 10);
            }
        }
    }
    for (const Reactor::Id watch : watches) {
        reactor_.remove(watch);
    }
    const Lock lock(mutex_);
    lines_.clear();
    remotes_.clear();
    listener_.reset();
}

void Exchange::later(void (Exchange::*what)()) {
    reactor_.at(reactor_.now() + retry_delay, [weak = weak_from_this(), what] {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            if (!self->closed_) {
                (self.get()->*what)();
            }
        }
    });
}

void Exchange::send(Remote& remote, Frame frame) {
    if (remote.channel < 0) {
        remote.waiting.push_back(std::move(frame));
        return;
    }
    lines_.at(remote.channel).channel.queue(std::move(frame));
    line_flush(remote.channel);
}

// Never closes a line: only the reactor's own callback may, and it will see the same error.
void Exchange::line_flush(int key) {
    Line& line = lines_.at(key);
    const Channel::Sent sent = line.channel.flush();
    const bool blocked = sent == Channel::Sent::blocked;
    if (blocked != line.blocked) {
        line.blocked = blocked;
        reactor_.modify(line.watch, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    if (sent == Channel::Sent::retry) {
        later(&Exchange::flush_waiting);
    }
}

void Exchange::flush_waiting() {
    for (const auto& [key, line] : lines_) {
        line_flush(key);
    }
}

void Exchange::dial(Remote& remote) {
    Fd socket;
    switch (local::channel_dial(remote.name, &socket)) {
        case local::Dial::busy:
            later(&Exchange::dial_waiting);
            return;
        case local::Dial::refused:
            remote_lost(remote.name,
                        "cannot be reached on this host (it ended, or it is in "
                        "another network namespace)");
            return;
        case local::Dial::connected:
            break;
    }
    const int key = line_add(std::move(socket), remote.name);
    if (key < 0) {
        remote_lost(remote.name, "belongs to another user");
        return;
    }
    lines_.at(key).channel.queue({frame_greet(name_), {}});
    remote.channel = key;
    remote.pid = lines_.at(key).pid;
    for (Frame& frame : std::exchange(remote.waiting, {})) {
        lines_.at(key).channel.queue(std::move(frame));
    }
    line_flush(key);
}

void Exchange::dial_waiting() {
    std::vector<std::string> names;  // dial() may drop a remote
    for (const auto& [name, remote] : remotes_) {
        if (remote.channel < 0) {
            names.push_back(name);
        }
    }
    for (const std::string& name : names) {
        dial(remotes_.at(name));
    }
}

int Exchange::line_add(Fd socket, const std::string& remote) {
    Channel channel(std::move(socket));
    const Channel::Peer peer = channel.peer();
    if (!peer.same_user) {
        return -1;
    }
    const int key = next_line_++;
    const int fd = channel.fd();
    Line& line =
        lines_.emplace(key, Line{std::move(channel), 0, remote, peer.pid, false}).first->second;
    line.watch = reactor_.add(fd, EPOLLIN, [weak = weak_from_this(), key](uint32_t) {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            self->line_event(key);
        }
    });
    return key;
}

void Exchange::accept_all() {
    while (!closed_) {
        Fd socket = local::channel_accept(listener_.get());
        if (!socket) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                // Out of descriptors: the listener stays readable, look again later.
                log_warn(format("cannot accept a local rank: %s (raise ulimit -n)",
                                std::strerror(errno)));
                reactor_.modify(listener_watch_, 0);
                later(&Exchange::accept_again);
            }
            return;
        }
        line_add(std::move(socket), "");
        strangers_drop();
    }
}

void Exchange::accept_again() {
    reactor_.modify(listener_watch_, EPOLLIN);
}

// Those who connect and say nothing must not use up our descriptors.
void Exchange::strangers_drop() {
    const auto strange = [](const auto& entry) { return entry.second.remote.empty(); };
    if (static_cast<size_t>(std::count_if(lines_.begin(), lines_.end(), strange)) > strangers_max) {
        line_close(std::find_if(lines_.begin(), lines_.end(), strange)->first, "said nothing");
    }
}

void Exchange::line_event(int key) {
    for (int i = 0; i < frames_per_event; i++) {
        if (closed_ || !lines_.contains(key)) {
            return;
        }
        Frame frame;
        switch (lines_.at(key).channel.receive(&frame)) {
            case Channel::Got::nothing:
                line_flush(key);
                return;
            case Channel::Got::broken:
                line_close(key, "ended");
                return;
            case Channel::Got::cut:
                line_close(key,
                           "sent descriptors for which this process has no room (raise "
                           "ulimit -n)");
                return;
            case Channel::Got::frame:
                break;
        }
        const Result<void> taken = frame_take(key, std::move(frame));
        if (!taken.ok()) {
            LOG(info, shm, "shm: dropped a local connection: %s", taken.error().what.c_str());
            line_close(key, "sent what no rank of this version sends");
            return;
        }
    }
}

// On the service thread only. The last line to a hub is the hub.
void Exchange::line_close(int key, const char* how) {
    auto node = lines_.extract(key);
    if (node.empty()) {
        return;
    }
    reactor_.remove(node.mapped().watch);
    const std::string name = node.mapped().remote;
    const auto remote = remotes_.find(name);
    if (remote == remotes_.end()) {
        return;
    }
    const auto other = std::find_if(lines_.begin(), lines_.end(),
                                    [&](const auto& entry) { return entry.second.remote == name; });
    if (other == lines_.end()) {
        remote_lost(name, how);
    } else if (remote->second.channel == key) {
        remote->second.channel = other->first;
    }
}

Result<void> Exchange::greet_take(int key, ByteReader& body) {
    const std::string name = TRY(greet_read(body));
    Line& line = lines_.at(key);
    if (!line.remote.empty()) {
        return make_error(Code::remote, Scope::peer, "a second greeting");
    }
    line.remote = name;
    Remote& remote = remotes_[name];
    remote.name = name;
    remote.pid = line.pid;
    if (remote.channel < 0) {
        remote.channel = key;
        for (Frame& frame : std::exchange(remote.waiting, {})) {
            line.channel.queue(std::move(frame));
        }
        line_flush(key);
    }
    return {};
}

Result<void> Exchange::frame_take(int key, Frame frame) {
    ByteReader body(frame.body);
    const auto type = static_cast<FrameType>(TRY(body.u8()));
    if (type == FrameType::greet) {
        return greet_take(key, body);
    }
    const auto remote = remotes_.find(lines_.at(key).remote);
    if (remote == remotes_.end()) {
        return make_error(Code::remote, Scope::peer, "a frame before the greeting");
    }
    return dispatch(remote->second, type, body, std::move(frame.fds));
}

}  // namespace weft::shm
