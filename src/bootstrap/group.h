// One group as one process sees it: its local members, and the tree over the group's processes on
// which everything is flooded. Each message is passed on to every neighbour but the one it came
// from, the first time it is seen; so repeating is harmless, and a new neighbour is simply told
// everything again. The tree is a heap of `fan_out` over the processes: a process connects to its
// nearest ancestor that is not gone, else to the lowest process that is not gone. Thread rule:
// thread-bound to the Net's thread; callbacks must not call back in. Lifetime: the hub's. Failure
// rule: what fails is told to the members' callbacks.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/bootstrap/control.h"
#include "src/bootstrap/links.h"
#include "src/bootstrap/net.h"
#include "src/bootstrap/wire.h"

namespace weft {

// Seen by the service thread and by the member's owner.
struct MemberGate {
    std::atomic<bool> closed{false};  // the owner is gone: no notice may reach it
};

class GroupNode {
  public:
    using Ready = std::function<void(Result<std::shared_ptr<const Roster>>)>;
    struct Options {
        Realm realm;
        std::shared_ptr<Roster> roster;
        int32_t me = 0;           // index of this process in the roster
        bool infos_known = true;  // false: members bring them, they are gathered first
        // For those: has that rank left the parent, so that it will hardly come?
        std::function<bool(int32_t)> strayed;
        std::function<void()> ended;        // ended() may have become true by time alone
        Nanos timeout = 600 * nanos_per_s;  // for getting ready
    };
    GroupNode(Net& net, ControlLinks& links, Options options);
    ~GroupNode();
    GroupNode(const GroupNode&) = delete;
    GroupNode& operator=(const GroupNode&) = delete;

    const Roster& roster() const { return *roster_; }
    const Realm& realm() const { return realm_; }
    // Every rank left or died; or no member is left here, the tree was broken, and what was under
    // way has had its time.
    bool ended() const;

    // --- members of this process
    void member_add(int32_t rank, std::string info, Ready ready);
    void member_gate(int32_t rank, std::shared_ptr<MemberGate> gate);
    void all_gather(int32_t rank, std::string blob, ControlGroup::GatherDone done);
    void announce(int32_t rank, Notice::Kind kind, const std::string& text);
    void on_notice(int32_t rank, std::function<void(const Notice&)> callback);
    void leave(int32_t rank);
    int32_t me() const { return me_; }  // this process in the roster
    bool has_member(int32_t rank) const { return members_.count(rank) != 0; }
    void rank_absent(int32_t rank) { left_put(rank, floor_, false, nullptr); }
    bool is_over(int32_t rank) const;  // left, dead, or said that it aborted or failed
    bool is_gone(int32_t rank) const {
        return dead_[static_cast<size_t>(rank)] || assumed_[static_cast<size_t>(rank)];
    }

    // --- events
    void start();  // after members were added; more may be added and it called again
    void peer_ready(Peer& peer);
    void peer_message(Peer& peer, const Message& message);
    void peer_attached(Peer& peer);
    void peer_detached(Peer& peer);
    void peer_lost(const Peer& peer, const std::string& why, bool retired);
    // False: this group does not need that process (any more).
    bool dial_failed(uint64_t nonce, const std::string& why, bool refused);
    void end();       // tells the neighbours that nothing more will come
    void shutdown();  // the hub closes: calls in flight end

  private:
    struct Member {
        Ready ready;  // empty once called
        std::shared_ptr<MemberGate> gate;
        std::function<void(const Notice&)> notice;
        size_t notices_told = 0;
        uint32_t next_sequence = 1;
        bool announced = false;
    };
    struct Gather {
        std::vector<std::optional<std::string>> blobs;
        int32_t missing = 0;
        std::map<int32_t, ControlGroup::GatherDone> done;  // by local rank
    };
    struct Reach {  // what is known about another process
        std::optional<Nanos> dialled_since;
        bool linked = false;  // was attached on both sides once
        bool gone = false;
    };

    void take(Peer& from, const BlobMessage& message);
    void take(Peer& from, const LeftMessage& message);
    void take(Peer& from, const NoticeMessage& message);

    int32_t index_of(uint64_t nonce) const;  // -1: not in the group
    PeerKey key_of(int32_t index) const;
    int32_t parent_now() const;  // -1: this process is the top
    bool is_heap_neighbour(int32_t index) const;
    std::vector<int32_t> heap_children() const;
    std::vector<int32_t> heap_neighbours() const;  // the children and the parent
    void relink();
    void reach(int32_t index, bool dial_now);
    void attach(Peer& peer, int32_t index);
    void relink_later(Nanos delay);
    void process_gone(int32_t index, const std::string& why, bool evidence);
    void death_declare(int32_t index, const std::string& why);
    std::vector<int32_t> ranks_present(int32_t index) const;

    void flood(const Message& message, const Peer* except);
    void blob_put(uint32_t sequence, int32_t rank, std::string bytes, const Peer* from);
    void blobs_send(Peer& peer);
    Gather& gather_at(uint32_t sequence);
    bool gather_finished(uint32_t sequence) const;
    void gather_finish(uint32_t sequence);
    void gathers_fail(uint32_t from_sequence, const Error& error);
    void left_put(int32_t rank, uint32_t finished, bool assumed, const Peer* from);
    uint32_t first_missing(int32_t rank) const;
    void notice_put(Notice notice, const Peer* from);
    void notices_tell(Member& member, int32_t rank);
    Error broken_error() const;
    void ready_check();
    void ready_fail(const Error& error);
    void watch_later();
    void watch();
    void strays_check();
    void linger();
    void late_report();
    std::string missing_text() const;

    Net& net_;  // both owned by the hub
    ControlLinks& links_;
    Realm realm_;
    std::shared_ptr<Roster> roster_;  // shared with the members' handles once ready
    int32_t me_;
    Nanos started_;
    Nanos timeout_;
    Nanos reported_;
    std::function<bool(int32_t)> strayed_;
    std::map<int32_t, Nanos> stray_since_;
    bool ready_ = false;
    std::map<uint64_t, int32_t> index_by_nonce_;
    std::map<int32_t, Member> members_;  // present: not left
    std::vector<bool> left_, dead_;      // by rank
    std::vector<bool> assumed_;          // by rank: left_ is only what it looks like
    size_t over_ = 0;                    // how many ranks left or died
    std::map<int32_t, Reach> reach_;
    std::set<int32_t> attached_;  // processes told of this group
    std::map<uint32_t, Gather> gathers_;
    uint32_t floor_ = 1;                 // every gather below is finished...
    std::set<uint32_t> finished_above_;  // ...and these
    uint32_t limit_ = UINT32_MAX;        // gathers from here on lack a rank that left
    int32_t limit_rank_ = -1;
    std::vector<Notice> notices_;  // in the order they were heard; the first is the cause
    bool tree_broke_ = false;
    bool lingered_ = false;
    std::function<void()> tell_ended_;
    Net::Timer relink_timer_ = 0, watch_timer_ = 0, linger_timer_ = 0;
    Nanos relink_at_ = 0;                   // of the timer, while it is set
    std::map<int32_t, Net::Timer> deaths_;  // processes whose death will be told
};

}  // namespace weft
