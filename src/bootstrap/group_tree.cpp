// The tree half of GroupNode: who is a neighbour, who is gone, and what that means.
#include <algorithm>

#include "src/base/log.h"
#include "src/bootstrap/group.h"

namespace weft {

namespace {

constexpr int32_t fan_out = 4;
constexpr Nanos child_grace = nanos_per_s;             // a child connects first, then we try
constexpr Nanos heal_delay = 300 * nanos_per_ms;       // at the end of a job everybody goes at once
constexpr Nanos death_heal_delay = 50 * nanos_per_ms;  // well within the grace
constexpr Nanos death_grace = 200 * nanos_per_ms;      // for what was said before the death
constexpr Nanos refused_limit = 2 * nanos_per_s;       // nobody listens there: the process is gone
constexpr Nanos unreachable_limit = 12 * nanos_per_s;  // no answer of any kind

}  // namespace

int32_t GroupNode::index_of(uint64_t nonce) const {
    const auto at = index_by_nonce_.find(nonce);
    return at == index_by_nonce_.end() ? -1 : at->second;
}

PeerKey GroupNode::key_of(int32_t index) const {
    return {realm_.id, roster_->processes[static_cast<size_t>(index)].nonce};
}

int32_t GroupNode::parent_now() const {
    const auto is_gone = [&](int32_t index) {
        const auto at = reach_.find(index);
        return at != reach_.end() && at->second.gone;
    };
    for (int32_t index = me_; index > 0;) {
        index = (index - 1) / fan_out;
        if (!is_gone(index)) {
            return index;
        }
    }
    for (int32_t index = 0; index < me_; ++index) {
        if (!is_gone(index)) {
            return index;
        }
    }
    return -1;
}

std::vector<int32_t> GroupNode::heap_children() const {
    std::vector<int32_t> children;
    const auto count = static_cast<int64_t>(roster_->processes.size());
    for (int64_t child = int64_t{fan_out} * me_ + 1; child <= int64_t{fan_out} * (me_ + 1);
         ++child) {
        if (child < count) {
            children.push_back(static_cast<int32_t>(child));
        }
    }
    return children;
}

std::vector<int32_t> GroupNode::heap_neighbours() const {
    std::vector<int32_t> neighbours = heap_children();
    if (me_ > 0) {
        neighbours.push_back((me_ - 1) / fan_out);
    }
    return neighbours;
}

bool GroupNode::is_heap_neighbour(int32_t index) const {
    return (me_ > 0 && index == (me_ - 1) / fan_out) || (index > 0 && (index - 1) / fan_out == me_);
}

void GroupNode::start() {
    for (const auto& [nonce, index] : index_by_nonce_) {
        Peer* peer = index == me_ ? nullptr : links_.find({realm_.id, nonce});
        if (peer != nullptr && peer->remote.count(roster_->group) != 0) {
            attach(*peer, index);  // it was here before us
        }
    }
    relink();
    if (watch_timer_ == 0 && !ready_) {
        watch_later();
    }
    ready_check();
}

void GroupNode::relink() {
    const int32_t parent = parent_now();
    if (parent >= 0) {
        reach(parent, true);
    }
    const bool grace_over = net_.now() >= started_ + child_grace;
    bool waiting = false;
    for (const int32_t child : heap_children()) {
        if (!reach_[child].gone) {
            reach(child, grace_over);
            waiting = waiting || attached_.count(child) == 0;
        }
    }
    if (waiting && !grace_over) {
        relink_later(child_grace);
    }
}

void GroupNode::relink_later(Nanos delay) {
    const Nanos when = net_.now() + delay;
    if (relink_timer_ != 0 && relink_at_ <= when) {
        return;
    }
    net_.cancel(relink_timer_);
    relink_at_ = when;
    relink_timer_ = net_.at(when, [this] {
        relink_timer_ = 0;
        relink();
    });
}

void GroupNode::reach(int32_t index, bool dial_now) {
    if (attached_.count(index) != 0) {
        return;
    }
    if (Peer* peer = links_.find(key_of(index))) {
        attach(*peer, index);
    } else if (dial_now) {
        const ProcessInfo& process = roster_->processes[static_cast<size_t>(index)];
        Reach& reach = reach_[index];
        reach.dialled_since = reach.dialled_since.value_or(net_.now());
        links_.dial(realm_, process.nonce, process.addresses);
    }
}

// Tells a neighbour that this process is in the group, and everything that may have passed it by.
void GroupNode::attach(Peer& peer, int32_t index) {
    attached_.insert(index);
    Reach& reach = reach_[index];
    reach.dialled_since.reset();
    reach.gone = false;
    reach.linked = reach.linked || peer.remote.count(roster_->group) != 0;
    if (!peer.local.insert(roster_->group).second) {
        return;
    }
    links_.send(peer, AttachMessage{roster_->group});
    for (size_t rank = 0; rank < left_.size(); ++rank) {
        if (left_[rank]) {
            const uint32_t finished =
                static_cast<int32_t>(rank) == limit_rank_ ? limit_ : UINT32_MAX;
            links_.send(peer, LeftMessage{roster_->group, static_cast<int32_t>(rank), finished,
                                          assumed_[rank]});
        }
    }
    for (const Notice& notice : notices_) {
        links_.send(peer, NoticeMessage{roster_->group, notice});
    }
    blobs_send(peer);
    links_.use_changed(peer);
}

void GroupNode::peer_ready(Peer& peer) {
    const int32_t index = index_of(peer.process.nonce);
    if (index >= 0 && (is_heap_neighbour(index) || index == parent_now())) {
        attach(peer, index);
    }
}

void GroupNode::peer_attached(Peer& peer) {
    const int32_t index = index_of(peer.process.nonce);
    if (index < 0) {
        return;
    }
    attach(peer, index);
    blobs_send(peer);
    ready_check();
}

void GroupNode::peer_lost(const Peer& peer, const std::string& why, bool retired) {
    const int32_t index = index_of(peer.process.nonce);
    if (index < 0) {
        return;
    }
    attached_.erase(index);
    if (retired) {
        relink_later(heal_delay);
        return;
    }
    const bool was_attached = peer.remote.count(roster_->group) != 0;
    if (was_attached || is_heap_neighbour(index) || index == parent_now()) {
        process_gone(index, why, was_attached || (is_heap_neighbour(index) && !ready_));
    }
}

// The peer has no member any more and stops passing things on.
void GroupNode::peer_detached(Peer& peer) {
    const int32_t index = index_of(peer.process.nonce);
    if (index >= 0 && attached_.erase(index) != 0) {
        peer.local.erase(roster_->group);
        process_gone(index, "it stopped serving the group", false);
    }
}

bool GroupNode::dial_failed(uint64_t nonce, const std::string& why, bool refused) {
    const int32_t index = index_of(nonce);
    const bool wanted = index >= 0 && (is_heap_neighbour(index) || index == parent_now());
    if (!wanted || reach_[index].gone || attached_.count(index) != 0) {
        return false;
    }
    Reach& reach = reach_[index];
    const Nanos now = net_.now();
    reach.dialled_since = reach.dialled_since.value_or(now);
    if (now - *reach.dialled_since < (refused ? refused_limit : unreachable_limit)) {
        return true;
    }
    process_gone(index, "it cannot be reached from host " + net_.host() + " at " + why,
                 is_heap_neighbour(index) && !ready_);
    return false;
}

// A process is out of reach for good. Without `evidence` that it was in the group to the end it may
// have left in order by a way we were not on: then nobody is alarmed, and what needs it still
// fails.
void GroupNode::process_gone(int32_t index, const std::string& why, bool evidence) {
    if (reach_[index].gone) {
        return;
    }
    reach_[index].gone = true;
    tree_broke_ = true;
    if (evidence && !ranks_present(index).empty()) {
        // What the process said last may still come, from it or from others it told: a rank that
        // failed and went is to be heard of as failed first.
        deaths_[index] = net_.at(net_.now() + death_grace, [this, index, why] {
            deaths_.erase(index);
            death_declare(index, why);
        });
        relink_later(death_heal_delay);
        return;
    }
    for (const int32_t rank : ranks_present(index)) {
        left_put(rank, first_missing(rank), true, nullptr);
    }
    relink_later(heal_delay);
}

void GroupNode::death_declare(int32_t index, const std::string& why) {
    const ProcessInfo& process = roster_->processes[static_cast<size_t>(index)];
    for (const int32_t rank : ranks_present(index)) {
        notice_put({Notice::Kind::died, rank,
                    rank_name(rank, process) + " died: its control connection ended: " + why},
                   nullptr);
    }
    tell_ended_();
}

// Those of a process that neither left nor died, as far as is known here.
std::vector<int32_t> GroupNode::ranks_present(int32_t index) const {
    std::vector<int32_t> ranks;
    for (size_t at = 0; at < left_.size(); ++at) {
        if (roster_->process_of[at] == index && !left_[at] && !dead_[at]) {
            ranks.push_back(static_cast<int32_t>(at));
        }
    }
    return ranks;
}

}  // namespace weft
