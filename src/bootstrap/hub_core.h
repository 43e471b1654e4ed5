// The part of the hub that lives on the service thread: owns the links, the rendezvous of every
// realm and the groups, and passes events between them. Thread rule: thread-bound to the Net's
// thread, apart from post() and call(). Lifetime: shared by the hub and the groups' handles, which
// may outlive it; once closed, everything but post() is a programmer error.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "src/bootstrap/control.h"
#include "src/bootstrap/group.h"
#include "src/bootstrap/join.h"
#include "src/bootstrap/links.h"
#include "src/bootstrap/net.h"
#include "src/bootstrap/root.h"
#include "src/bootstrap/unique_id.h"

namespace weft {

// What a joining call was found to mean, before the service thread sees it.
struct JoinPlan {
    Realm realm;
    uint64_t root_nonce = 0;
    std::vector<NetAddress> root_addresses;
    bool by_comm_id = false;
};

class HubCore final : public LinksClient, public std::enable_shared_from_this<HubCore> {
  public:
    using GroupFound = std::function<void(GroupNode&)>;

    HubCore(std::unique_ptr<Net> net, Settings settings);

    Net& net() { return *net_; }
    const Settings& settings() const { return settings_; }

    // Runs `work` on the service thread, in order. False: the hub is closed, it will not run.
    bool post(std::function<void()> work);
    // The same, and waits for it, unless this is the service thread: then it is only posted (runs
    // at once when `inline_here`).
    bool call(const std::function<void()>& work, bool inline_here);
    void close();  // the last thing that runs

    Result<UniqueIdBytes> unique_id_make();
    Result<JoinPlan> join_plan(const JoinRequest& request);  // any thread
    void join(const JoinPlan& plan, Joining joining);
    void join_cancel(const RealmId& realm, uint64_t token);
    // Nothing happens if the group is over.
    void with_group(GroupId group, const GroupFound& work);
    struct Derive {
        GroupId parent = 0;
        int32_t rank = 0;
        std::vector<int32_t> members;
        uint64_t tag = 0;
        std::string info;
        GroupNode::Ready done;
    };
    void derive(Derive request);

    ControlHub::Counters counters() const;

    const Realm* realm_find(const RealmId& id) override;
    void peer_ready(Peer& peer) override;
    void peer_message(Peer& peer, Message&& message) override;
    void peer_lost(Peer& peer, const std::string& why, bool retired) override;
    void dial_failed(const PeerKey& key, const std::string& why, bool refused) override;

  private:
    Result<void> endpoint_open();
    Rendezvous& rendezvous_at(const Realm& realm, uint64_t root_nonce,
                              std::vector<NetAddress> addresses);
    Result<void> meeting_open(Rendezvous& rendezvous, const std::vector<NetAddress>& addresses);
    void roster_complete(const Realm& realm, const std::shared_ptr<Roster>& roster,
                         std::vector<Joining> joined);
    GroupNode* node_at(GroupId group);
    GroupNode& child_at(const GroupNode& parent, const Derive& request);
    void joining_message(Peer& peer, const Message& message);
    void sweep();

    std::unique_ptr<Net> net_;
    const Settings settings_;
    ControlLinks links_;
    bool endpoint_is_open_ = false;
    bool warned_no_secret_ = false;
    std::map<RealmId, std::unique_ptr<Rendezvous>> rendezvous_;
    std::map<GroupId, std::unique_ptr<GroupNode>> nodes_;
    std::mutex mutex_;
    bool closed_ = false;
};

}  // namespace weft
