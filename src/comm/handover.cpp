#include "src/comm/handover.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft {

namespace {

using local::Channel;
using local::Dial;
using local::Frame;

constexpr uint32_t ask_magic = 0x57686e64;
constexpr uint8_t ask_version = 1;
constexpr size_t lines_max = 128;
constexpr Nanos line_patience = 10 * nanos_per_s;  // for what an asker says at once
constexpr Nanos retry_delay = 5 * nanos_per_ms;

enum class Verdict : uint8_t { given = 1, gone = 2, wrong_secret = 3, no_room = 4 };

std::string ask_write(const HandoverTicket& ticket) {
    return ByteWriter()
        .u32(ask_magic)
        .u8(ask_version)
        .u64(ticket.number)
        .raw(std::span<const uint8_t>(ticket.secret))
        .take();
}

Result<std::array<uint8_t, 16>> secret_read(ByteReader& reader) {
    std::array<uint8_t, 16> secret{};
    const std::string_view bytes = TRY(reader.raw(secret.size()));
    std::copy(bytes.begin(), bytes.end(), secret.begin());
    return secret;
}

// The socket is the reader's to know.
Result<HandoverTicket> ask_read(std::string_view body) {
    ByteReader reader(body);
    const uint32_t magic = TRY(reader.u32());
    const uint8_t version = TRY(reader.u8());
    HandoverTicket ticket;
    ticket.number = TRY(reader.u64());
    ticket.secret = TRY(secret_read(reader));
    TRY(reader.end());
    if (magic != ask_magic || version != ask_version) {
        return make_error(Code::remote, Scope::peer, "a question of another version");
    }
    return ticket;
}

// Takes as long for every wrong secret.
bool secret_same(const std::array<uint8_t, 16>& ours, const std::array<uint8_t, 16>& theirs) {
    unsigned differs = 0;
    for (size_t i = 0; i < ours.size(); i++) {
        differs |= static_cast<unsigned>(ours[i] ^ theirs[i]);
    }
    return differs == 0;
}

Fd duplicate(int descriptor) {
    return Fd(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
}

}  // namespace

std::string HandoverTicket::encode() const {
    return ByteWriter().text(socket).u64(number).raw(std::span<const uint8_t>(secret)).take();
}

Result<HandoverTicket> HandoverTicket::read(ByteReader& reader) {
    HandoverTicket ticket;
    ticket.socket = TRY(reader.text(local::channel_name_bytes_max));
    ticket.number = TRY(reader.u64());
    ticket.secret = TRY(secret_read(reader));
    if (!local::channel_name_good(ticket.socket)) {
        return make_error(Code::remote, Scope::peer,
                          "a peer names a socket that no rank of this version has: run one version "
                          "everywhere");
    }
    return ticket;
}

Result<HandoverTicket> HandoverTicket::decode(std::string_view text) {
    ByteReader reader(text);
    HandoverTicket ticket = TRY(read(reader));
    TRY(reader.end());
    return ticket;
}

// --- the giving side

Handover::Handover(Reactor& reactor) : reactor_(reactor), name_(local::channel_name()) {
}

Result<std::shared_ptr<Handover>> Handover::create(Reactor& reactor) {
    // Not make_shared: the constructor is private.
    std::shared_ptr<Handover> handover(new Handover(reactor));
    TRY(handover->listen());
    return handover;
}

Result<void> Handover::listen() {
    std::optional<Error> failed;
    // A child made by fork() that kept it would hide our end from those who ask.
    listener_ = private_fd([&] {
        Result<Fd> made = local::channel_listen(name_);
        if (!made.ok()) {
            failed = made.error();
            return -1;
        }
        return std::move(made).value().release();
    });
    if (failed.has_value()) {
        return *failed;
    }
    const Lock lock(mutex_);
    listener_watch_ = reactor_.add(listener_.get(), EPOLLIN, [weak = weak_from_this()](uint32_t) {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            self->accept_all();
        }
    });
    return {};
}

// The last reference is gone, so no callback finds it any more.
Handover::~Handover() {
    reactor_.remove(listener_watch_);
    for (const auto& [key, line] : lines_) {
        reactor_.remove(line.watch);
        reactor_.cancel(line.limit);
    }
}

Reactor::Id Handover::later(Nanos delay, std::function<void(Handover&)> what) {
    return reactor_.at(reactor_.now() + delay, [weak = weak_from_this(), what = std::move(what)] {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            what(*self);
        }
    });
}

std::unique_ptr<Handover::Offer> Handover::offer(Fd descriptor) {
    HandoverTicket ticket;
    ticket.socket = name_;
    random_bytes(ticket.secret);
    const Lock lock(mutex_);
    ticket.number = next_offer_++;
    offers_[ticket.number] = {std::move(descriptor), ticket.secret};
    // Not make_unique: the constructor is private.
    return std::unique_ptr<Offer>(new Offer(shared_from_this(), std::move(ticket)));
}

Handover::Offer::~Offer() {
    const Lock lock(from_->mutex_);
    from_->offers_.erase(ticket_.number);
}

size_t Handover::line_count() const {
    const Lock lock(mutex_);
    return lines_.size();
}

void Handover::accept_all() {
    while (true) {
        Fd socket = local::channel_accept(listener_.get());
        if (socket) {
            line_add(std::move(socket));
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            // Out of descriptors: the listener stays readable, look again later.
            log_warn(format("cannot accept a rank of this host: %s (raise ulimit -n)",
                            std::strerror(errno)));
            reactor_.modify(listener_watch_, 0);
            later(retry_delay,
                  [](Handover& self) { self.reactor_.modify(self.listener_watch_, EPOLLIN); });
        }
        return;
    }
}

void Handover::line_add(Fd socket) {
    Channel channel(std::move(socket));
    if (!channel.peer().same_user) {
        return;
    }
    if (lines_.size() >= lines_max) {
        line_close(lines_.begin()->first);  // it has said nothing for the longest
    }
    const int key = next_line_++;
    const int fd = channel.fd();
    Line& line = lines_.emplace(key, Line{std::move(channel)}).first->second;
    line.watch = reactor_.add(fd, EPOLLIN, [weak = weak_from_this(), key](uint32_t) {
        if (const auto self = weak.lock()) {
            const Lock held(self->mutex_);
            self->line_event(key);
        }
    });
    line.limit = later(line_patience, [key](Handover& self) { self.line_close(key); });
}

void Handover::line_event(int key) {
    const auto found = lines_.find(key);
    if (found == lines_.end()) {
        return;
    }
    Frame frame;
    switch (found->second.channel.receive(&frame)) {
        case Channel::Got::nothing:
            return;
        case Channel::Got::frame:
            if (!found->second.answered) {
                line_answer(found->second, frame.body);
                line_flush(key);
                return;
            }
            [[fallthrough]];  // it talks on
        case Channel::Got::broken:
        case Channel::Got::cut:
            line_close(key);
            return;
    }
}

void Handover::line_answer(Line& line, std::string_view body) {
    line.answered = true;
    const Result<HandoverTicket> asked = ask_read(body);
    if (!asked.ok()) {
        LOG(info, init, "dropped a local connection: %s", asked.error().what.c_str());
        return;  // closed without an answer
    }
    Frame answer;
    Verdict verdict = Verdict::gone;
    const auto offered = offers_.find(asked.value().number);
    if (offered != offers_.end()) {
        verdict = Verdict::wrong_secret;
        if (secret_same(offered->second.secret, asked.value().secret)) {
            Fd copy = duplicate(offered->second.descriptor.get());
            verdict = copy ? Verdict::given : Verdict::no_room;
            if (copy) {
                answer.fds.push_back(std::move(copy));
            }
        }
    }
    if (verdict == Verdict::wrong_secret) {
        log_warn("a process of this user asked for a descriptor with a wrong secret: refused");
    }
    answer.body = ByteWriter().u8(static_cast<uint8_t>(verdict)).take();
    line.channel.queue(std::move(answer));
}

// What was sent stays readable after the line is closed.
void Handover::line_flush(int key) {
    const auto found = lines_.find(key);
    if (found == lines_.end()) {
        return;
    }
    switch (found->second.channel.flush()) {
        case Channel::Sent::all:
        case Channel::Sent::broken:
            line_close(key);
            return;
        case Channel::Sent::blocked:
        case Channel::Sent::retry:
            later(retry_delay, [key](Handover& self) { self.line_flush(key); });
            return;
    }
}

void Handover::line_close(int key) {
    auto node = lines_.extract(key);
    if (!node.empty()) {
        reactor_.remove(node.mapped().watch);
        reactor_.cancel(node.mapped().limit);
    }
}

// --- the asking side

namespace {

Error ask_failed(const HandoverTicket& ticket, const std::string& why, Code code = Code::remote) {
    return make_error(
        code, Scope::peer,
        format("cannot get descriptor %llu from the process behind %s on this host: %s",
               static_cast<unsigned long long>(ticket.number), ticket.socket.c_str(), why.c_str()));
}

// False: the time is over.
bool wait_until(int socket, Nanos limit) {
    const Nanos left = limit - clock_now();
    if (left <= 0) {
        return false;
    }
    pollfd look{socket, POLLIN, 0};  // of -1, a pause
    ::poll(&look, 1, static_cast<int>(std::min<Nanos>(left / nanos_per_ms + 1, 60'000)));
    return true;
}

Result<Fd> dial(const HandoverTicket& ticket, Nanos deadline) {
    while (true) {
        Fd socket;
        switch (local::channel_dial(ticket.socket, &socket)) {
            case Dial::connected:
                return socket;
            case Dial::refused:
                return ask_failed(ticket, "it ended, or is in another network namespace");
            case Dial::busy:
                break;
        }
        wait_until(-1, std::min(deadline, clock_now() + retry_delay));
        if (clock_now() >= deadline) {
            return ask_failed(ticket, "too many ask it at once", Code::timeout);
        }
    }
}

Result<Frame> answer_await(const HandoverTicket& ticket, Channel& channel, Nanos deadline) {
    Frame frame;
    while (true) {
        switch (channel.receive(&frame)) {
            case Channel::Got::frame:
                return frame;
            case Channel::Got::cut:
                return ask_failed(ticket, "no room for one more descriptor: raise ulimit -n",
                                  Code::system);
            case Channel::Got::broken:
                return ask_failed(ticket, "it ended, or refused this process without a word");
            case Channel::Got::nothing:
                break;
        }
        if (!wait_until(channel.fd(), deadline)) {
            return ask_failed(ticket, "it does not answer (is it stopped?)", Code::timeout);
        }
    }
}

}  // namespace

Result<Fd> handover_ask(const HandoverTicket& ticket, Nanos deadline) {
    Fd socket = TRY(dial(ticket, deadline));
    Channel channel(std::move(socket));
    if (!channel.peer().same_user) {
        return ask_failed(ticket, "it belongs to another user");
    }
    channel.queue({ask_write(ticket), {}});
    if (channel.flush() != Channel::Sent::all) {
        return ask_failed(ticket, "it ended");
    }
    Frame answer = TRY(answer_await(ticket, channel, deadline));
    ByteReader reader(answer.body);
    const auto verdict = static_cast<Verdict>(TRY(reader.u8()));
    switch (verdict) {
        case Verdict::given:
            if (answer.fds.size() == 1) {
                return std::move(answer.fds.front());
            }
            break;
        case Verdict::gone:
            return ask_failed(ticket, "it was taken back: its communicator is ending");
        case Verdict::wrong_secret:
            return ask_failed(ticket, "the secret is not the one it gave");
        case Verdict::no_room:
            return ask_failed(ticket, "it has no room for one more descriptor: raise ulimit -n",
                              Code::system);
    }
    return ask_failed(ticket, "it answers what no rank of this version does");
}

}  // namespace weft
