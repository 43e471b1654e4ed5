// Authenticated connections to other processes, at most one in use per realm and process: listens,
// dials (several addresses at once, until told to stop), drops strangers, settles simultaneous
// connects, closes what nobody uses. Thread rule: thread-bound to the Net's thread. Lifetime rule:
// a Peer& is valid until peer_lost() returned for it or the links are gone. Failure rule:
// nothing here fails; what went wrong is told to the client.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/bootstrap/channel.h"
#include "src/bootstrap/net.h"
#include "src/bootstrap/unique_id.h"
#include "src/bootstrap/wire.h"

namespace weft {

using PeerKey = std::pair<RealmId, uint64_t>;  // realm and process nonce

// Another process, reachable now.
struct Peer {
    PeerKey key;
    ProcessInfo process;
    // What keeps the connection open. A group is `local` once we told the peer of it, `remote` once
    // it told us.
    std::set<GroupId> local, remote;
    int holds = 0;
    bool at_meeting_point = false;  // a dial with nonce 0 found it

  private:
    friend class ControlLinks;
    Conn conn = 0;                    // 0 while the peer moves to another one
    std::vector<std::string> parked;  // messages for after that
    Net::Timer moving = 0;
    bool was_used = false;  // by this side, or asked for by it
};

class LinksClient {
  public:
    virtual ~LinksClient() = default;
    virtual const Realm* realm_find(const RealmId& id) = 0;
    // Again when it turns out to be at the meeting point.
    virtual void peer_ready(Peer& peer) = 0;
    virtual void peer_message(Peer& peer, Message&& message) = 0;
    // `retired`: the peer lives but closed a connection it had no use for.
    virtual void peer_lost(Peer& peer, const std::string& why, bool retired) = 0;
    // Every address was tried in vain. `refused`: at one of them a host said that nobody listens.
    // The next round starts by itself.
    virtual void dial_failed(const PeerKey& key, const std::string& why, bool refused) = 0;
};

class ControlLinks final : public NetClient {
  public:
    ControlLinks(Net& net, LinksClient& client) : net_(net), client_(client) {}
    ControlLinks(const ControlLinks&) = delete;
    ControlLinks& operator=(const ControlLinks&) = delete;

    ProcessInfo self;  // told to every peer; filled before the first listen

    Result<Net::Listening> listen(const NetAddress& at) { return net_.listen(at); }
    Peer* find(const PeerKey& key);
    void send(Peer& peer, const Message& message);
    // Connects to the first of the addresses where the process with that nonce answers (nonce 0:
    // whoever has the realm's secret). Does nothing if it is connected or dialling already.
    void dial(const Realm& realm, uint64_t nonce, const std::vector<NetAddress>& addresses);
    void dial_stop(const PeerKey& key);
    void hold(Peer& peer);
    void release(Peer& peer);
    void use_changed(Peer& peer);        // after a change to Peer::local or Peer::remote
    void turn_away(const PeerKey& key);  // soon: it has come to the wrong process
    void close_all();                    // without good-bye

    std::atomic<uint64_t> strangers{0}, open_count{0}, frames{0};

    void accepted(Conn conn, const NetAddress& from) override;
    void opened(Conn conn) override;
    void received(Conn conn, std::string_view bytes) override;
    void closed(Conn conn, const Error& why) override;

  private:
    struct Dial {
        Realm realm;
        std::vector<NetAddress> addresses;
        size_t next = 0;          // the address to try next
        std::vector<Conn> conns;  // connecting or connected, in the order they got there
        Conn handshaking = 0;     // one at a time, so that one process is greeted once
        std::string failures;     // of this round, one per address
        bool some_refused = false;
        Nanos pause = 0;
        Net::Timer timer = 0;  // the next address, or the next round
    };
    struct Connection {
        std::optional<Channel> channel;  // absent while a dialled one connects or waits its turn
        std::optional<PeerKey> dial;     // the Dial it belongs to; absent when accepted
        std::optional<PeerKey> peer;     // set once ready
        NetAddress address;
        Net::Timer deadline = 0;
        bool is_open = false;
        bool incoming = false;
        bool retired = false;  // we said that we will not send on it again
    };

    void dial_next(const PeerKey& key);
    void dial_drop(const PeerKey& key, Conn conn, const std::string& why, bool refused);
    void dial_handshake(const PeerKey& key);
    void dial_end(const PeerKey& key, Conn winner);
    void connection_drop(Conn conn, const std::string& why, bool refused);
    void connection_close(Conn conn);
    void flush(Conn conn, Connection& connection);
    void stranger_count(const Connection& connection, const std::string& why);
    void strangers_limit();
    bool message_take(Conn conn, std::string_view bytes);
    bool greeting_take(Conn conn, Message&& message);
    void peer_install(Conn conn, const ProcessInfo& process);
    Peer& peer_make(Conn conn, const PeerKey& key, const ProcessInfo& process);
    void peer_move(Peer& peer, Conn conn);
    void retire_take(Conn conn, bool moved);
    void retire(Conn conn, bool moved);
    void retire_idle();
    Channel::Nonce nonce_make();

    Net& net_;             // owned by the hub
    LinksClient& client_;  // owned by the hub
    std::map<Conn, Connection> connections_;
    std::map<PeerKey, Dial> dials_;
    std::map<PeerKey, Peer> peers_;
    std::deque<Conn> unproven_;  // accepted ones, oldest first; some may be gone or proven
    size_t unproven_count_ = 0;
    Net::Timer idle_timer_ = 0;
};

}  // namespace weft
