#include "transports/fabric/introductions.h"

#include <algorithm>

#include "src/base/machine.h"
#include "transports/fabric/hub.h"
#include "transports/fabric/service.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {

namespace {
constexpr size_t heard_max = 256;
constexpr size_t callers_max = 4096;  // of one listener, not yet accepted
constexpr Nanos acquaintance = 30 * nanos_per_s;
}  // namespace

Introductions::~Introductions() {
    acquaintances_end(INT64_MAX);
}

void Introductions::heard(uint8_t rail, const MessageHeader& header, std::string_view body) {
    std::lock_guard guard(heard_lock_);
    if (heard_.size() < heard_max) {
        heard_.push_back({rail, header, std::string(body)});
        waiting_.store(true);
    }
}

void Introductions::serve() {
    std::vector<Message> heard;
    {
        std::lock_guard guard(heard_lock_);
        heard.swap(heard_);
        waiting_.store(false);
    }
    std::lock_guard guard(lock_);
    acquaintances_end(clock_now());
    for (const Message& message : heard) {
        serve(message);
    }
}

void Introductions::serve(const Message& message) {
    const auto kind = static_cast<MeetKind>(message.header.word);
    switch (kind) {
        case MeetKind::ask:
            if (auto ask = ask_parse(message.body)) {
                return asked({*std::move(ask), message.rail, message.header.rail},
                             message.header.to_wire);
            }
            LOG(info, net, "rail %u: dropped a call that cannot be read", message.rail);
            return;
        case MeetKind::leave:
            return left(message);
        case MeetKind::wait:
        case MeetKind::answer:
        case MeetKind::refuse:
            const auto port = ports_.find(message.header.to_wire);
            if (port != ports_.end() && !port->second.listens) {
                auto& reply = port->second.reply;
                if (!reply || reply->kind == MeetKind::wait) {
                    reply = Reply{kind, message.body};
                }
            }
            return;
    }
}

void Introductions::asked(Caller caller, uint64_t listener) {
    if (const auto answer = answers_.find(caller.ask.port); answer != answers_.end()) {
        const std::string& address = answer->second.address;
        return tell(caller, address.empty() ? MeetKind::wait : MeetKind::answer, address);
    }
    const auto port = ports_.find(listener);
    if (port == ports_.end() || !port->second.listens) {
        return tell(caller, MeetKind::refuse,
                    "nobody listens for this handle any more: its listener was closed, or its "
                    "process began anew");
    }
    auto& callers = port->second.callers;
    const bool known = std::ranges::any_of(
        callers, [&](const Caller& other) { return other.ask.port == caller.ask.port; });
    tell(caller, MeetKind::wait, {});
    if (!known && callers.size() < callers_max) {
        callers.push_back(std::move(caller));
    }
}

void Introductions::left(const Message& message) {
    const auto port = ports_.find(message.header.to_wire);
    const auto ask = ask_parse(message.body);
    if (port != ports_.end() && ask) {
        std::erase_if(port->second.callers,
                      [&](const Caller& caller) { return caller.ask.port == ask->port; });
    }
}

uint64_t Introductions::port_open(bool listens) {
    std::lock_guard guard(lock_);
    uint64_t port = 0;
    while (port == 0 || ports_.count(port) != 0) {
        port = random_u64();
    }
    ports_[port].listens = listens;
    listened_.store(listened_.load() || listens);
    return port;
}

void Introductions::port_close(uint64_t port) {
    std::lock_guard guard(lock_);
    const auto entry = ports_.find(port);
    for (const Caller& caller : entry->second.callers) {
        tell(caller, MeetKind::refuse, "the listener was closed before it accepted");
    }
    ports_.erase(entry);
}

std::optional<Introductions::Caller> Introductions::caller_next(uint64_t port) {
    std::lock_guard guard(lock_);
    auto& callers = ports_.at(port).callers;
    if (callers.empty()) {
        return std::nullopt;
    }
    std::optional<Caller> caller(std::move(callers.front()));
    callers.pop_front();
    answers_[caller->ask.port] = {};  // what it asks meanwhile is no second call
    return caller;
}

size_t Introductions::callers_waiting(uint64_t port) {
    std::lock_guard guard(lock_);
    return ports_.at(port).callers.size();
}

void Introductions::answer(const Caller& caller, uint64_t wire, const std::string& address) {
    std::lock_guard guard(lock_);
    answers_[caller.ask.port] = {wire, address};
    tell(caller, MeetKind::answer, address);
}

void Introductions::refuse(const Caller& caller, const std::string& why) {
    std::lock_guard guard(lock_);
    answers_.erase(caller.ask.port);
    tell(caller, MeetKind::refuse, why);
}

void Introductions::wire_gone(uint64_t wire) {
    std::lock_guard guard(lock_);
    std::erase_if(answers_, [&](const auto& entry) { return entry.second.wire == wire; });
}

void Introductions::ask(Rail& rail, size_t at, const std::string& endpoint, uint64_t listener,
                        Ask ask) {
    {
        std::lock_guard guard(rail.lock());
        ask.endpoint = rail.endpoint_name();
    }
    MessageHeader header;
    header.rail = static_cast<uint8_t>(at);
    header.to_wire = listener;
    header.word = static_cast<uint64_t>(MeetKind::ask);
    std::lock_guard guard(lock_);
    tell(rail, endpoint, header, ask_encode(ask));
}

void Introductions::leave(Rail& rail, size_t at, const std::string& endpoint, uint64_t listener,
                          uint64_t port) {
    MessageHeader header;
    header.rail = static_cast<uint8_t>(at);
    header.to_wire = listener;
    header.word = static_cast<uint64_t>(MeetKind::leave);
    std::lock_guard guard(lock_);
    tell(rail, endpoint, header, ask_encode({port, 0, endpoint, {}, {}}));
}

std::optional<Introductions::Reply> Introductions::reply_take(uint64_t port) {
    std::lock_guard guard(lock_);
    return std::exchange(ports_.at(port).reply, std::nullopt);
}

std::string Introductions::trouble(Rail& rail, const std::string& endpoint) {
    std::lock_guard guard(lock_);
    std::lock_guard rail_guard(rail.lock());
    const RemoteEndpoint* to = acquainted(rail, endpoint);
    if (to == nullptr) {
        return "no address handle for it";
    }
    const char* silence = silence_hint(rail.info().fabric_attr->prov_name);
    return rail.address_text(*to) + ": " + (to->trouble.empty() ? silence : to->trouble.c_str());
}

bool Introductions::absent(Rail& rail, const std::string& endpoint) {
    std::lock_guard guard(lock_);
    std::lock_guard rail_guard(rail.lock());
    const auto known = std::ranges::find_if(acquaintances_, [&](const Acquaintance& one) {
        return one.rail == &rail && one.endpoint->name == endpoint;
    });
    return known != acquaintances_.end() && known->endpoint->absent;
}

void Introductions::tell(const Caller& caller, MeetKind kind, std::string_view text) {
    MessageHeader header;
    header.rail = caller.at;
    header.to_wire = caller.ask.port;
    header.word = static_cast<uint64_t>(kind);
    tell(*hub_.rails()[caller.rail], caller.ask.endpoint, header, text);
}

void Introductions::tell(Rail& rail, const std::string& endpoint, MessageHeader header,
                         std::string_view body) {
    header.kind = MessageKind::meet;
    std::lock_guard guard(rail.lock());
    if (RemoteEndpoint* to = acquainted(rail, endpoint)) {
        rail.control(*to, header, body, no_rank);
        hub_.service().stir();  // the way there may have to be opened first
    }
}

// Null: its address is none, or there are too many; who asked asks again.
RemoteEndpoint* Introductions::acquainted(Rail& rail, const std::string& endpoint) {
    const Nanos until = clock_now() + acquaintance;
    for (Acquaintance& known : acquaintances_) {
        if (known.rail == &rail && known.endpoint->name == endpoint) {
            known.until = until;
            return known.endpoint;
        }
    }
    auto acquired = rail.endpoint_acquire(endpoint);
    if (!acquired.ok()) {
        LOG(info, net, "%s", acquired.error().what.c_str());
        return nullptr;
    }
    acquaintances_.push_back({&rail, acquired.value(), until});
    return acquired.value();
}

void Introductions::acquaintances_end(Nanos now) {
    std::erase_if(acquaintances_, [&](const Acquaintance& known) {
        if (known.until > now) {
            return false;
        }
        std::lock_guard guard(known.rail->lock());
        known.rail->endpoint_release(known.endpoint);
        return true;
    });
}

}  // namespace weft::fabric
