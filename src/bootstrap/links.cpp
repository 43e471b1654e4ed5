#include "src/bootstrap/links.h"

#include <algorithm>
#include <cerrno>

#include "src/base/log.h"
#include "src/bootstrap/address.h"

namespace weft {

namespace {

constexpr Nanos handshake_limit = 5 * nanos_per_s;
constexpr Nanos connect_limit = 3 * nanos_per_s;
constexpr Nanos stagger = 250 * nanos_per_ms;  // before the next address is tried beside the first
constexpr Nanos pause_first = 50 * nanos_per_ms;
constexpr Nanos pause_last = nanos_per_s;
constexpr Nanos idle_delay = 100 * nanos_per_ms;
constexpr Nanos retire_limit = 2 * nanos_per_s;
constexpr size_t unproven_most = 1024;  // above the processes of a large job that connect at once

}  // namespace

Peer* ControlLinks::find(const PeerKey& key) {
    const auto at = peers_.find(key);
    return at == peers_.end() ? nullptr : &at->second;
}

Channel::Nonce ControlLinks::nonce_make() {
    Channel::Nonce nonce;
    net_.random(nonce);
    return nonce;
}

void ControlLinks::flush(Conn conn, Connection& connection) {
    std::string bytes = connection.channel->out();
    if (!bytes.empty()) {
        net_.send(conn, std::move(bytes));
    }
}

void ControlLinks::send(Peer& peer, const Message& message) {
    if (peer.conn == 0) {
        peer.parked.push_back(message_encode(message));
        return;
    }
    Connection& connection = connections_.at(peer.conn);
    connection.channel->send(message_encode(message));
    frames.fetch_add(1, std::memory_order_relaxed);
    flush(peer.conn, connection);
}

// --- dialling

void ControlLinks::dial(const Realm& realm, uint64_t nonce,
                        const std::vector<NetAddress>& addresses) {
    const PeerKey key{realm.id, nonce};
    if (dials_.count(key) != 0 || find(key) != nullptr) {
        return;
    }
    Dial& dial = dials_[key];
    dial.realm = realm;
    dial.addresses = addresses;
    dial_next(key);
}

void ControlLinks::dial_stop(const PeerKey& key) {
    dial_end(key, 0);
}

// Tries the next address; after the last one waits for what is under way.
void ControlLinks::dial_next(const PeerKey& key) {
    Dial& dial = dials_.at(key);
    dial.timer = 0;
    if (dial.next == dial.addresses.size() && dial.conns.empty()) {
        const std::string why =
            dial.addresses.empty() ? "it has no address" : std::exchange(dial.failures, {});
        const bool refused = dial.some_refused;
        dial.next = 0;
        dial.some_refused = false;
        dial.pause = dial.pause == 0 ? pause_first : std::min(2 * dial.pause, pause_last);
        dial.timer = net_.at(net_.now() + dial.pause, [this, key] { dial_next(key); });
        client_.dial_failed(key, why, refused);  // last: it may end the dial
        return;
    }
    if (dial.next == dial.addresses.size()) {
        return;
    }
    const NetAddress address = dial.addresses[dial.next++];
    const Conn conn = net_.connect(address);
    Connection& connection = connections_[conn];
    connection.dial = key;
    connection.address = address;
    connection.deadline = net_.at(net_.now() + connect_limit, [this, conn] {
        connections_.at(conn).deadline = 0;
        connection_drop(conn, "no answer", false);
    });
    dial.conns.push_back(conn);
    dial.timer = net_.at(net_.now() + stagger, [this, key] { dial_next(key); });
}

// One connection of the dial came to nothing.
void ControlLinks::dial_drop(const PeerKey& key, Conn conn, const std::string& why, bool refused) {
    const auto at = dials_.find(key);
    if (at == dials_.end()) {
        return;
    }
    Dial& dial = at->second;
    std::erase(dial.conns, conn);
    dial.failures += (dial.failures.empty() ? "" : ", ") + why;
    dial.some_refused = dial.some_refused || refused;
    if (dial.handshaking == conn) {
        dial.handshaking = 0;
        dial_handshake(key);
    }
    if (dial.next < dial.addresses.size() || dial.conns.empty()) {
        net_.cancel(dial.timer);
        dial_next(key);
    }
}

void ControlLinks::dial_handshake(const PeerKey& key) {
    Dial& dial = dials_.at(key);
    if (dial.handshaking != 0) {
        return;
    }
    const auto ready = std::find_if(dial.conns.begin(), dial.conns.end(),
                                    [&](Conn conn) { return connections_.at(conn).is_open; });
    if (ready == dial.conns.end()) {
        return;
    }
    const Conn conn = *ready;
    Connection& connection = connections_.at(conn);
    dial.handshaking = conn;
    connection.channel.emplace(dial.realm, nonce_make());
    net_.cancel(connection.deadline);
    connection.deadline = net_.at(net_.now() + handshake_limit, [this, conn] {
        connections_.at(conn).deadline = 0;
        connection_drop(conn, "connected, but no answer", false);
    });
    flush(conn, connection);
}

// Ends the dial: `winner` stays, every other connection of it goes, apart from one that is in the
// middle of its handshake. That one ends as a duplicate, for to break it off is what strangers do.
void ControlLinks::dial_end(const PeerKey& key, Conn winner) {
    const auto at = dials_.find(key);
    if (at == dials_.end()) {
        return;
    }
    const Dial dial = std::move(at->second);
    dials_.erase(at);
    net_.cancel(dial.timer);
    for (const Conn conn : dial.conns) {
        if (conn == winner || conn == dial.handshaking) {
            continue;
        }
        if (connections_.at(conn).is_open) {
            net_.send(conn, std::string(Channel::farewell()));
        }
        connection_close(conn);
    }
}

// --- connections

void ControlLinks::connection_close(Conn conn) {
    const auto at = connections_.find(conn);
    net_.cancel(at->second.deadline);
    if (at->second.peer) {
        open_count.fetch_sub(1, std::memory_order_relaxed);
    }
    connections_.erase(at);
    net_.close(conn);
}

void ControlLinks::stranger_count(const Connection& connection, const std::string& why) {
    strangers.fetch_add(1, std::memory_order_relaxed);
    LOG(info, bootstrap, "dropped a connection from %s: %s", to_string(connection.address).c_str(),
        why.c_str());
}

// The one way a connection ends that was not ended by us on purpose.
void ControlLinks::connection_drop(Conn conn, const std::string& why, bool refused) {
    const Connection& connection = connections_.at(conn);
    if (connection.incoming && !connection.peer) {
        --unproven_count_;
        if (!connection.channel->open() && !connection.channel->quit()) {
            stranger_count(connection, why);
        }
    }
    const auto dialled = connection.dial;
    const auto peer_key = connection.peer;
    const bool retired = connection.retired;
    const std::string named = to_string(connection.address) + ": " + why;
    connection_close(conn);
    if (peer_key) {
        const auto at = peers_.find(*peer_key);
        if (!retired && at != peers_.end() && at->second.conn == conn) {
            Peer gone = std::move(at->second);
            peers_.erase(at);
            client_.peer_lost(gone, why, false);
        }
    } else if (dialled) {
        dial_drop(*dialled, conn, named, refused);
    }
}

void ControlLinks::strangers_limit() {
    while (unproven_count_ > unproven_most && !unproven_.empty()) {
        const Conn oldest = unproven_.front();
        unproven_.pop_front();
        const auto at = connections_.find(oldest);
        if (at != connections_.end() && !at->second.peer) {
            connection_drop(oldest, "too many connections that say nothing", false);
        }
    }
    // Forget those that are proven or gone, so that the list stays as short as the limit.
    while (!unproven_.empty()) {
        const auto at = connections_.find(unproven_.front());
        if (at != connections_.end() && !at->second.peer) {
            break;
        }
        unproven_.pop_front();
    }
}

void ControlLinks::accepted(Conn conn, const NetAddress& from) {
    Connection& connection = connections_[conn];
    connection.incoming = true;
    connection.is_open = true;
    connection.address = from;
    connection.channel.emplace([this](const RealmId& id) { return client_.realm_find(id); },
                               nonce_make());
    connection.deadline = net_.at(net_.now() + handshake_limit, [this, conn] {
        connections_.at(conn).deadline = 0;
        connection_drop(conn, "it did not finish the handshake in time", false);
    });
    unproven_.push_back(conn);
    ++unproven_count_;
    strangers_limit();
}

void ControlLinks::opened(Conn conn) {
    const auto at = connections_.find(conn);
    if (at != connections_.end() && at->second.dial) {
        at->second.is_open = true;
        dial_handshake(*at->second.dial);
    }
}

void ControlLinks::closed(Conn conn, const Error& why) {
    if (connections_.count(conn) != 0) {
        connection_drop(conn, why.what, why.sys == ECONNREFUSED);
    }
}

void ControlLinks::received(Conn conn, std::string_view bytes) {
    const auto at = connections_.find(conn);
    if (at == connections_.end() || !at->second.channel) {
        return;
    }
    Channel& channel = *at->second.channel;
    const bool was_open = channel.open();
    const auto fed = channel.feed(bytes);
    if (channel.open() && !was_open) {
        channel.send(message_encode(self));
    }
    flush(conn, at->second);
    for (const std::string& message : channel.take_messages()) {
        if (!message_take(conn, message)) {
            return;  // it is closed
        }
    }
    if (!fed.ok()) {
        connection_drop(conn, fed.error().what, false);
    }
}

// --- peers

// False when the connection is closed afterwards.
bool ControlLinks::message_take(Conn conn, std::string_view bytes) {
    frames.fetch_add(1, std::memory_order_relaxed);
    auto message = message_decode(bytes);
    if (!message.ok()) {
        connection_drop(conn, message.error().what, false);
        return false;
    }
    const Connection& connection = connections_.at(conn);
    if (!connection.peer) {
        return greeting_take(conn, std::move(message).value());
    }
    const auto at = peers_.find(*connection.peer);
    if (const auto* last = std::get_if<RetireMessage>(&message.value())) {
        retire_take(conn, last->moved);
        return false;
    }
    if (at != peers_.end()) {
        client_.peer_message(at->second, std::move(message).value());
    }
    return connections_.count(conn) != 0;
}

void ControlLinks::retire_take(Conn conn, bool moved) {
    const PeerKey key = *connections_.at(conn).peer;
    connection_close(conn);
    const auto at = peers_.find(key);
    if (at == peers_.end() || at->second.conn != conn) {
        return;
    }
    if (!moved) {
        Peer gone = std::move(at->second);
        peers_.erase(at);
        client_.peer_lost(gone, "it closed an idle connection", true);
        return;
    }
    // The connection that stays is on its way here.
    at->second.conn = 0;
    at->second.moving = net_.at(net_.now() + handshake_limit, [this, key] {
        const auto lost = peers_.find(key);
        Peer gone = std::move(lost->second);
        peers_.erase(lost);
        client_.peer_lost(gone, "its other connection never came", false);
    });
}

bool ControlLinks::greeting_take(Conn conn, Message&& message) {
    const auto* process = std::get_if<ProcessInfo>(&message);
    const Connection& connection = connections_.at(conn);
    const bool wanted = process != nullptr && process->nonce != self.nonce &&
                        (!connection.dial || connection.dial->second == 0 ||
                         connection.dial->second == process->nonce);
    if (!wanted) {
        connection_drop(conn, "another process of this job answers there", false);
        return false;
    }
    peer_install(conn, *process);
    return connections_.count(conn) != 0;
}

void ControlLinks::peer_install(Conn conn, const ProcessInfo& process) {
    Connection& connection = connections_.at(conn);
    net_.cancel(connection.deadline);
    connection.deadline = 0;
    const PeerKey key{connection.channel->realm(), process.nonce};
    connection.peer = key;
    unproven_count_ -= connection.incoming ? 1 : 0;
    open_count.fetch_add(1, std::memory_order_relaxed);
    const auto dialled = std::exchange(connection.dial, std::nullopt);
    if (dialled) {
        dial_end(*dialled, conn);
    }
    const bool found = dialled && dialled->second == 0;
    Peer* peer = find(key);
    const bool is_new = peer == nullptr;
    if (is_new) {
        peer = &peer_make(conn, key, process);
    } else {
        peer_move(*peer, conn);
    }
    // Found again: somebody waits for what is at the meeting point now.
    if (is_new || found) {
        peer->at_meeting_point = peer->at_meeting_point || found;
        client_.peer_ready(*peer);
        use_changed(*peer);
    }
}

Peer& ControlLinks::peer_make(Conn conn, const PeerKey& key, const ProcessInfo& process) {
    dial_end(key, conn);  // it came to us first
    Peer& peer = peers_[key];
    peer.key = key;
    peer.process = process;
    peer.conn = conn;
    peer.was_used = !connections_.at(conn).incoming;
    return peer;
}

// A second connection to a peer: both sides keep the one that the process with the lower nonce
// made, the newer one if it made both.
void ControlLinks::peer_move(Peer& peer, Conn conn) {
    if (peer.conn == 0) {
        peer.conn = conn;
        net_.cancel(std::exchange(peer.moving, 0));
        for (const std::string& message : std::exchange(peer.parked, {})) {
            connections_.at(conn).channel->send(message);
        }
        flush(conn, connections_.at(conn));
        return;
    }
    const bool incoming = connections_.at(conn).incoming;
    const bool old_incoming = connections_.at(peer.conn).incoming;
    const bool lower_is_peer = peer.process.nonce < self.nonce;
    const bool keep_new = incoming == old_incoming || incoming == lower_is_peer;
    retire(keep_new ? std::exchange(peer.conn, conn) : conn, true);
}

// Says that this side sends nothing more on it, and closes it when the other side has read that.
void ControlLinks::retire(Conn conn, bool moved) {
    Connection& connection = connections_.at(conn);
    connection.channel->send(message_encode(RetireMessage{moved}));
    flush(conn, connection);
    connection.retired = true;
    connection.deadline = net_.at(net_.now() + retire_limit, [this, conn] {
        connections_.at(conn).deadline = 0;
        connection_close(conn);
    });
}

void ControlLinks::hold(Peer& peer) {
    ++peer.holds;
    peer.was_used = true;
}

void ControlLinks::release(Peer& peer) {
    ASSERT(peer.holds > 0);
    --peer.holds;
    use_changed(peer);
}

void ControlLinks::use_changed(Peer& peer) {
    peer.was_used = peer.was_used || !peer.local.empty();
    const bool idle = peer.local.empty() && peer.remote.empty() && peer.holds == 0;
    if (idle && peer.was_used && idle_timer_ == 0) {
        idle_timer_ = net_.at(net_.now() + idle_delay, [this] { retire_idle(); });
    }
}

void ControlLinks::retire_idle() {
    idle_timer_ = 0;
    for (auto at = peers_.begin(); at != peers_.end();) {
        const Peer& peer = at->second;
        const bool idle = peer.local.empty() && peer.remote.empty() && peer.holds == 0;
        if (idle && peer.was_used && peer.conn != 0) {
            retire(peer.conn, false);
            at = peers_.erase(at);
        } else {
            ++at;
        }
    }
}

void ControlLinks::turn_away(const PeerKey& key) {
    net_.at(net_.now(), [this, key] {
        const auto at = peers_.find(key);
        if (at != peers_.end() && at->second.conn != 0) {
            retire(at->second.conn, false);
            peers_.erase(at);
        }
    });
}

void ControlLinks::close_all() {
    dials_.clear();
    peers_.clear();
    connections_.clear();
    unproven_.clear();
    unproven_count_ = 0;
    open_count = 0;
}

}  // namespace weft
