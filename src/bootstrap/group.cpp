#include "src/bootstrap/group.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft {

namespace {

constexpr Nanos report_every = 10 * nanos_per_s;
constexpr Nanos linger_limit = 30 * nanos_per_s;
constexpr Nanos watch_every = nanos_per_s;
constexpr Nanos stray_limit = 2 * nanos_per_s;  // for an info that overtook nobody
constexpr uint32_t gathers_ahead_most = 4096;   // how far a peer may be ahead of us

const char* verb(Notice::Kind kind) {
    switch (kind) {
        case Notice::Kind::died:
            return "died";
        case Notice::Kind::aborted:
            return "aborted";
        case Notice::Kind::failed:
            return "failed";
    }
    return "?";
}

}  // namespace

GroupNode::GroupNode(Net& net, ControlLinks& links, Options options)
    : net_(net),
      links_(links),
      realm_(std::move(options.realm)),
      roster_(std::move(options.roster)),
      me_(options.me),
      started_(net.now()),
      timeout_(options.timeout),
      reported_(started_),
      strayed_(std::move(options.strayed)),
      tell_ended_(std::move(options.ended)) {
    const size_t ranks = roster_->process_of.size();
    left_.resize(ranks);
    dead_.resize(ranks);
    assumed_.resize(ranks);
    for (size_t i = 0; i < roster_->processes.size(); ++i) {
        index_by_nonce_[roster_->processes[i].nonce] = static_cast<int32_t>(i);
    }
    if (!options.infos_known) {
        floor_ = 0;  // gather 0 brings the infos
    }
}

GroupNode::~GroupNode() {
    net_.cancel(relink_timer_);
    net_.cancel(watch_timer_);
    net_.cancel(linger_timer_);
    for (const auto& [index, timer] : deaths_) {
        net_.cancel(timer);
    }
}

bool GroupNode::ended() const {
    return members_.empty() && (over_ == left_.size() || lingered_);
}

// --- flooding

void GroupNode::flood(const Message& message, const Peer* except) {
    const bool is_blob = std::holds_alternative<BlobMessage>(message);
    for (const int32_t index : attached_) {
        Peer* peer = links_.find(key_of(index));
        // Blobs wait until the other side can keep them; the rest is short and may be ignored.
        if (peer != nullptr && peer != except &&
            (!is_blob || peer->remote.count(roster_->group) != 0)) {
            links_.send(*peer, message);
        }
    }
}

void GroupNode::peer_message(Peer& peer, const Message& message) {
    if (const auto* blob = std::get_if<BlobMessage>(&message)) {
        take(peer, *blob);
    } else if (const auto* left = std::get_if<LeftMessage>(&message)) {
        take(peer, *left);
    } else if (const auto* notice = std::get_if<NoticeMessage>(&message)) {
        take(peer, *notice);
    }
}

void GroupNode::take(Peer& from, const BlobMessage& message) {
    const auto rank = static_cast<size_t>(message.rank);
    const bool known = rank < left_.size() && roster_->process_of[rank] != me_;
    if (known && message.sequence - floor_ < gathers_ahead_most) {
        blob_put(message.sequence, message.rank, message.bytes, &from);
    }
}

void GroupNode::take(Peer& from, const LeftMessage& message) {
    const auto rank = static_cast<size_t>(message.rank);
    if (rank < left_.size() && roster_->process_of[rank] != me_) {
        left_put(message.rank, message.finished, message.assumed, &from);
    }
}

void GroupNode::take(Peer& from, const NoticeMessage& message) {
    if (static_cast<size_t>(message.notice.rank) < left_.size()) {
        notice_put(message.notice, &from);
    }
}

// --- all-gather

bool GroupNode::gather_finished(uint32_t sequence) const {
    return sequence < floor_ || finished_above_.count(sequence) != 0;
}

GroupNode::Gather& GroupNode::gather_at(uint32_t sequence) {
    Gather& gather = gathers_[sequence];
    if (gather.blobs.empty()) {
        gather.blobs.resize(left_.size());
        gather.missing = static_cast<int32_t>(left_.size());
    }
    return gather;
}

void GroupNode::blob_put(uint32_t sequence, int32_t rank, std::string bytes, const Peer* from) {
    if (gather_finished(sequence) || sequence >= limit_ || !notices_.empty()) {
        return;
    }
    Gather& gather = gather_at(sequence);
    auto& slot = gather.blobs[static_cast<size_t>(rank)];
    if (slot) {
        return;
    }
    flood(BlobMessage{roster_->group, sequence, rank, bytes}, from);
    slot = std::move(bytes);
    if (--gather.missing == 0) {
        gather_finish(sequence);
    }
}

void GroupNode::blobs_send(Peer& peer) {
    if (peer.remote.count(roster_->group) == 0) {
        return;
    }
    for (const auto& [sequence, gather] : gathers_) {
        for (size_t rank = 0; rank < gather.blobs.size(); ++rank) {
            if (gather.blobs[rank]) {
                links_.send(peer, BlobMessage{roster_->group, sequence, static_cast<int32_t>(rank),
                                              *gather.blobs[rank]});
            }
        }
    }
}

void GroupNode::gather_finish(uint32_t sequence) {
    Gather gather = std::move(gathers_.at(sequence));
    gathers_.erase(sequence);
    finished_above_.insert(sequence);
    while (finished_above_.erase(floor_) != 0) {
        ++floor_;
    }
    std::vector<std::string> blobs;
    blobs.reserve(gather.blobs.size());
    for (auto& blob : gather.blobs) {
        blobs.push_back(std::move(*blob));
    }
    if (sequence == 0) {
        roster_->infos = std::move(blobs);
        ready_check();
        return;
    }
    for (const auto& [rank, done] : gather.done) {
        done(blobs);
    }
}

void GroupNode::gathers_fail(uint32_t from_sequence, const Error& error) {
    const auto first = gathers_.lower_bound(from_sequence);
    for (auto at = first; at != gathers_.end(); ++at) {
        for (const auto& [rank, done] : at->second.done) {
            done(error);
        }
    }
    gathers_.erase(first, gathers_.end());
}

// The first all-gather for which nothing came from a rank.
uint32_t GroupNode::first_missing(int32_t rank) const {
    uint32_t sequence = floor_;
    const auto has_blob = [&] {
        const auto gather = gathers_.find(sequence);
        return gather != gathers_.end() && gather->second.blobs[static_cast<size_t>(rank)];
    };
    while (finished_above_.count(sequence) != 0 || has_blob()) {
        ++sequence;
    }
    return sequence;
}

void GroupNode::all_gather(int32_t rank, std::string blob, ControlGroup::GatherDone done) {
    const auto member = members_.find(rank);
    if (member == members_.end()) {
        done(make_error(Code::aborted, Scope::communicator, "this rank has left the group"));
        return;
    }
    const uint32_t sequence = member->second.next_sequence++;
    if (!notices_.empty() || sequence >= limit_) {
        done(broken_error());
        return;
    }
    gather_at(sequence).done[rank] = std::move(done);
    blob_put(sequence, rank, std::move(blob), nullptr);
}

// --- leaving, notices

Error GroupNode::broken_error() const {
    if (!notices_.empty()) {
        const Notice& first = notices_.front();
        const bool aborted = first.kind == Notice::Kind::aborted;
        return make_error(aborted ? Code::aborted : Code::remote, Scope::communicator, first.text);
    }
    const auto& process =
        roster_
            ->processes[static_cast<size_t>(roster_->process_of[static_cast<size_t>(limit_rank_)])];
    return make_error(Code::remote, Scope::communicator,
                      rank_name(limit_rank_, process) +
                          " left the group before this collective call was complete");
}

void GroupNode::left_put(int32_t rank, uint32_t finished, bool assumed, const Peer* from) {
    const auto at = static_cast<size_t>(rank);
    if (left_[at]) {
        return;
    }
    left_[at] = true;
    assumed_[at] = assumed;
    over_ += dead_[at] ? 0 : 1;
    flood(LeftMessage{roster_->group, rank, finished, assumed}, from);
    if (finished < limit_) {
        limit_ = finished;
        limit_rank_ = rank;
        gathers_fail(limit_, broken_error());
        if (limit_ == 0) {
            ready_fail(broken_error());  // it left before the infos were complete
        }
    }
}

void GroupNode::leave(int32_t rank) {
    const auto member = members_.find(rank);
    if (member == members_.end()) {
        return;
    }
    const Error error = make_error(Code::aborted, Scope::communicator, "this rank left the group");
    for (auto& [sequence, gather] : gathers_) {
        const auto own = gather.done.find(rank);
        if (own != gather.done.end()) {
            const auto done = std::move(own->second);
            gather.done.erase(own);
            done(error);
        }
    }
    members_.erase(member);
    left_put(rank, floor_, false, nullptr);
    if (members_.empty() && linger_timer_ == 0) {
        linger_timer_ = net_.at(net_.now() + linger_limit, [this] { linger(); });
    }
}

void GroupNode::announce(int32_t rank, Notice::Kind kind, const std::string& text) {
    const auto member = members_.find(rank);
    if (member == members_.end() || std::exchange(member->second.announced, true)) {
        return;
    }
    const ProcessInfo& process = roster_->processes[static_cast<size_t>(me_)];
    notice_put({kind, rank, rank_name(rank, process) + " " + verb(kind) + ": " + text}, nullptr);
}

void GroupNode::on_notice(int32_t rank, std::function<void(const Notice&)> callback) {
    const auto member = members_.find(rank);
    if (member != members_.end()) {
        member->second.notice = std::move(callback);
        notices_tell(member->second, rank);
    }
}

void GroupNode::notices_tell(Member& member, int32_t rank) {
    while (member.notice && member.notices_told < notices_.size()) {
        const Notice& notice = notices_[member.notices_told++];
        const bool own = notice.rank == rank && notice.kind != Notice::Kind::died;
        if (!own && !(member.gate && member.gate->closed)) {
            member.notice(notice);
        }
    }
}

void GroupNode::notice_put(Notice notice, const Peer* from) {
    const auto at = static_cast<size_t>(notice.rank);
    const bool died = notice.kind == Notice::Kind::died;
    const bool known = std::any_of(notices_.begin(), notices_.end(), [&](const Notice& other) {
        return other.rank == notice.rank && other.kind == notice.kind;
    });
    if (known || (died && left_[at] && !assumed_[at])) {
        return;
    }
    if (died) {
        dead_[at] = true;
        over_ += left_[at] ? 0 : 1;
    }
    flood(NoticeMessage{roster_->group, notice}, from);
    LOG(info, bootstrap, "group %llx: %s", static_cast<unsigned long long>(roster_->group),
        notice.text.c_str());
    notices_.push_back(std::move(notice));
    gathers_fail(0, broken_error());
    if (!ready_) {
        ready_fail(broken_error());
    }
    for (auto& [rank, member] : members_) {
        notices_tell(member, rank);
    }
}

// --- getting ready

void GroupNode::member_add(int32_t rank, std::string info, Ready ready) {
    if (!notices_.empty() || limit_ == 0) {
        left_put(rank, floor_, false, nullptr);
        ready(broken_error());
        return;
    }
    members_[rank].ready = std::move(ready);
    if (floor_ == 0) {
        blob_put(0, rank, std::move(info), nullptr);
    }
}

void GroupNode::member_gate(int32_t rank, std::shared_ptr<MemberGate> gate) {
    const auto member = members_.find(rank);
    if (member != members_.end()) {
        member->second.gate = std::move(gate);
    }
}

// Ready when the infos are there and every neighbour is attached: from then on a connection that
// ends without a LeftMessage is a death.
void GroupNode::ready_check() {
    if (ready_ || floor_ == 0) {
        return;
    }
    for (const int32_t index : heap_neighbours()) {
        if (!reach_[index].linked) {
            return;
        }
    }
    ready_ = true;
    for (auto& [rank, member] : members_) {
        if (const Ready ready = std::exchange(member.ready, nullptr)) {
            ready(std::shared_ptr<const Roster>(roster_));
        }
    }
}

void GroupNode::ready_fail(const Error& error) {
    std::vector<int32_t> waiting;
    for (auto& [rank, member] : members_) {
        if (const Ready ready = std::exchange(member.ready, nullptr)) {
            waiting.push_back(rank);
            ready(error);
        }
    }
    for (const int32_t rank : waiting) {
        leave(rank);  // it has no handle to leave by
    }
}

std::string GroupNode::missing_text() const {
    std::vector<int32_t> missing;
    const auto infos = gathers_.find(0);
    for (size_t rank = 0; rank < left_.size(); ++rank) {
        const int32_t index = roster_->process_of[rank];
        const bool info_missing =
            floor_ == 0 && (infos == gathers_.end() || !infos->second.blobs[rank]);
        if (info_missing ||
            (floor_ != 0 && is_heap_neighbour(index) && attached_.count(index) == 0)) {
            missing.push_back(static_cast<int32_t>(rank));
        }
    }
    return "ranks " + ranks_text(missing) + format(" of %zu", left_.size());
}

void GroupNode::watch_later() {
    watch_timer_ = net_.at(net_.now() + watch_every, [this] { watch(); });
}

void GroupNode::watch() {
    watch_timer_ = 0;
    if (ready_) {
        return;
    }
    if (floor_ == 0 && strayed_) {
        strays_check();
    }
    if (!members_.empty()) {
        late_report();
    }
    if (floor_ == 0 || !members_.empty()) {
        watch_later();
    }
}

// A rank that left the parent without a word here most likely never called: its info would have
// come at about the same time.
void GroupNode::strays_check() {
    const Nanos now = net_.now();
    for (size_t at = 0; at < left_.size(); ++at) {
        const auto rank = static_cast<int32_t>(at);
        if (left_[at] || roster_->process_of[at] == me_ || first_missing(rank) != 0 ||
            !strayed_(rank)) {
            continue;
        }
        if (now - stray_since_.emplace(rank, now).first->second >= stray_limit) {
            left_put(rank, 0, true, nullptr);
        }
    }
}

void GroupNode::late_report() {
    const Nanos waited = net_.now() - started_;
    const auto seconds = static_cast<long long>(waited / nanos_per_s);
    if (waited >= timeout_) {
        ready_fail(make_error(
            Code::timeout, Scope::communicator,
            format("gave up after %lld s waiting for %s", seconds, missing_text().c_str())));
        return;
    }
    const bool speaker = floor_ != 0 || me_ == 0;  // all miss the same infos: one says so
    if (speaker && net_.now() - reported_ >= report_every) {
        reported_ = net_.now();
        log_warn(format("waiting for %s to set up a communicator (%lld s so far)",
                        missing_text().c_str(), seconds));
    }
}

// Without members this process only passes on what others say. In a broken tree it may wait in vain
// for word of the rest, so it does not stay for ever.
void GroupNode::linger() {
    linger_timer_ = 0;
    if (tree_broke_ || !ready_) {
        lingered_ = true;
        tell_ended_();
    } else {
        linger_timer_ = net_.at(net_.now() + linger_limit, [this] { linger(); });
    }
}

bool GroupNode::is_over(int32_t rank) const {
    const auto at = static_cast<size_t>(rank);
    return left_[at] || dead_[at] ||
           std::any_of(notices_.begin(), notices_.end(),
                       [&](const Notice& notice) { return notice.rank == rank; });
}

void GroupNode::shutdown() {
    const Error error =
        make_error(Code::aborted, Scope::process, "the control endpoint was closed");
    gathers_fail(0, error);
    for (auto& [rank, member] : members_) {
        if (const Ready ready = std::exchange(member.ready, nullptr)) {
            ready(error);
        }
    }
}

void GroupNode::end() {
    for (const int32_t index : attached_) {
        if (Peer* peer = links_.find(key_of(index))) {
            links_.send(*peer, DetachMessage{roster_->group});
            peer->local.erase(roster_->group);
            peer->remote.erase(roster_->group);
            links_.use_changed(*peer);
        }
    }
    attached_.clear();
}

}  // namespace weft
