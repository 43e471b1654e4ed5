// Joining, as one process and one realm see it: the local ranks that wait, the way to the root (in
// this process or over one connection), the roster when it comes. Thread rule: thread-bound to the
// Net's thread; callbacks must not call back in. Failure rule: told to each waiting rank, once.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "src/bootstrap/links.h"
#include "src/bootstrap/net.h"
#include "src/bootstrap/root.h"
#include "src/bootstrap/wire.h"

namespace weft {

// One local rank that joins.
struct Joining {
    uint64_t token = 0;  // names it to cancel()
    int32_t rank = 0;
    int32_t rank_count = 0;
    std::string info;
    Nanos timeout = 0;
    std::function<void(Error)> failed;
    std::function<void(Result<std::shared_ptr<const Roster>>)> joined;  // once the roster is there
};

class Rendezvous final : private RootClient {
  public:
    // What the hub does with a roster: set up the group and pass on each rank's `joined`.
    using Complete = std::function<void(std::shared_ptr<Roster>, std::vector<Joining>)>;

    struct Options {
        Realm realm;
        uint64_t root_nonce = 0;  // 0: whoever is there (NCCL_COMM_ID)
        std::vector<NetAddress> root_addresses;
        Complete complete;
    };
    Rendezvous(Net& net, ControlLinks& links, Options options);
    ~Rendezvous() override;
    Rendezvous(const Rendezvous&) = delete;
    Rendezvous& operator=(const Rendezvous&) = delete;

    const Realm& realm() const { return realm_; }
    Root* root() { return root_.get(); }
    void root_make(bool reusable);
    bool idle() const { return waiting_.empty() && (root_ == nullptr || !root_->collecting()); }

    void add(Joining joining);
    void cancel(uint64_t token);
    void shutdown();

    bool is_root(uint64_t nonce) const { return nonce == root_nonce_; }
    void message(const Message& message);  // from the root
    void peer_ready(const Peer& peer);
    void peer_lost(const Peer& peer, const std::string& why, bool retired);
    // False: nobody waits for that process here.
    bool dial_failed(const PeerKey& key, const std::string& why);

    uint64_t meeting_listener = 0;  // the hub's, with NCCL_COMM_ID in rank 0's process

  private:
    struct Waiting {
        Joining joining;
        Net::Timer timer = 0;
        bool sent = false;
    };
    void root_send(uint64_t process_nonce, const Message& message) override;
    void root_hold(uint64_t process_nonce) override;
    void root_release(uint64_t process_nonce) override;
    void connect();
    void send_all(const std::function<void(const JoinMessage&)>& send);
    void send_to_root(const Message& message);
    Peer* root_peer();
    void take(const FailMessage& message);
    void take(const TableMessage& message);
    void table_complete();
    void fail_sent(const Error& error);
    void give_up(uint64_t token);
    std::string doing_text() const;
    void report();
    void remove(std::list<Waiting>::iterator at);

    Net& net_;  // all owned by the hub
    ControlLinks& links_;
    Realm realm_;
    uint64_t dial_nonce_;
    uint64_t root_nonce_;
    std::vector<NetAddress> addresses_;
    Complete complete_;
    std::unique_ptr<Root> root_;
    std::list<Waiting> waiting_;
    std::vector<Message> from_own_root_;  // delivered from the loop, as from a connection
    Net::Timer deliver_timer_ = 0;
    bool held_ = false;        // the connection to the root
    std::string table_;        // what came of the roster so far
    std::string missing_;      // what the root said last
    std::string unreachable_;  // why it cannot be reached
    Nanos since_ = 0;          // the first of those waiting began
    Net::Timer report_timer_ = 0;
};

}  // namespace weft
