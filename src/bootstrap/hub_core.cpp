#include "src/bootstrap/hub_core.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/base/sha256.h"
#include "src/bootstrap/address.h"

namespace weft {

namespace {

// How many groups a peer may name before we know them: children of one communicator in the making.
constexpr size_t early_groups_most = 65536;

std::string derived(const std::string& key, std::string_view role, std::string_view text) {
    return std::string(digest_view(hmac_sha256(key, std::string(role).append(text))));
}

GroupId id_of(const std::string& digest) {
    GroupId id = 0;
    std::memcpy(&id, digest.data(), sizeof id);
    return id;
}

std::string root_group_key(const Realm& realm, GroupId group) {
    return derived(realm.secret, "group", ByteWriter().u64(group).view());
}

}  // namespace

HubCore::HubCore(std::unique_ptr<Net> net, Settings settings)
    : net_(std::move(net)), settings_(std::move(settings)), links_(*net_, *this) {
    net_->start(links_);
}

bool HubCore::post(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (closed_) {
        return false;
    }
    net_->post([self = shared_from_this(), work = std::move(work)] {
        work();
        self->sweep();
    });
    return true;
}

bool HubCore::call(const std::function<void()>& work, bool inline_here) {
    if (net_->on_thread()) {
        if (inline_here) {
            work();
            return true;
        }
        return post(work);
    }
    struct {
        std::mutex mutex;
        std::condition_variable changed;
        bool done = false;
    } waiting;
    const bool accepted = post([&] {
        work();
        const std::lock_guard lock(waiting.mutex);
        waiting.done = true;
        waiting.changed.notify_one();
    });
    std::unique_lock lock(waiting.mutex);
    waiting.changed.wait(lock, [&] { return waiting.done || !accepted; });
    return accepted;
}

void HubCore::close() {
    const auto work = [this] {
        net_->stop();
        links_.close_all();
        for (const auto& [id, rendezvous] : rendezvous_) {
            rendezvous->shutdown();
        }
        for (const auto& [id, node] : nodes_) {
            node->shutdown();
        }
        rendezvous_.clear();
        nodes_.clear();
    };
    call(
        [&] {
            {
                const std::lock_guard lock(mutex_);
                closed_ = true;
            }
            work();
        },
        true);
}

// --- identity and ways in

Result<void> HubCore::endpoint_open() {
    if (endpoint_is_open_) {
        return {};
    }
    const auto addresses = TRY(interfaces_choose(net_->interfaces(), settings_.socket_ifname,
                                                 settings_.socket_family, process_addresses_max));
    std::vector<NetAddress> open;
    std::optional<Error> failure;
    for (const NetAddress& address : addresses) {
        const auto listening = links_.listen(address);
        if (listening.ok()) {
            open.push_back(listening.value().at);
        } else {
            failure = listening.error();
        }
    }
    if (open.empty()) {
        return *failure;
    }
    links_.self.host = net_->host().substr(0, 255);
    links_.self.pid = net_->pid();
    links_.self.addresses = std::move(open);
    while (links_.self.nonce == 0) {
        std::array<uint8_t, 8> random;
        net_->random(random);
        std::memcpy(&links_.self.nonce, random.data(), random.size());
    }
    endpoint_is_open_ = true;
    return {};
}

Rendezvous& HubCore::rendezvous_at(const Realm& realm, uint64_t root_nonce,
                                   std::vector<NetAddress> addresses) {
    auto& slot = rendezvous_[realm.id];
    if (slot == nullptr) {
        Rendezvous::Options options{realm, root_nonce, std::move(addresses), {}};
        options.complete = [this, realm](const std::shared_ptr<Roster>& roster,
                                         std::vector<Joining> joined) {
            roster_complete(realm, roster, std::move(joined));
        };
        slot = std::make_unique<Rendezvous>(*net_, links_, std::move(options));
    }
    return *slot;
}

Result<UniqueIdBytes> HubCore::unique_id_make() {
    UniqueId id;
    id.by_comm_id = !settings_.comm_id.empty();
    if (id.by_comm_id) {
        TRY(host_port_parse(settings_.comm_id));
        return unique_id_encode(id);
    }
    TRY(endpoint_open());
    std::array<uint8_t, 32> secret;
    net_->random(secret);
    id.secret.assign(secret.begin(), secret.end());
    id.process_nonce = links_.self.nonce;
    id.addresses = links_.self.addresses;
    rendezvous_at(realm_of_secret(id.secret), id.process_nonce, {}).root_make(false);
    return unique_id_encode(id);
}

Result<JoinPlan> HubCore::join_plan(const JoinRequest& request) {
    if (request.rank_count < 1 || request.rank_count > rank_count_max || request.rank < 0 ||
        request.rank >= request.rank_count) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("rank %d of %d ranks is out of range", request.rank, request.rank_count));
    }
    if (request.info.size() > info_bytes_max) {
        return make_error(Code::internal, Scope::call, "a rank's info is longer than 8 KiB");
    }
    JoinPlan plan;
    plan.by_comm_id = !settings_.comm_id.empty();
    if (plan.by_comm_id) {
        const HostPort at = TRY(host_port_parse(settings_.comm_id));
        const auto literal = address_parse(at.host, at.port);
        plan.root_addresses =
            literal.ok() ? std::vector{literal.value()} : TRY(net_->resolve(at.host, at.port));
        plan.realm = realm_of_comm_id(TRY(comm_id_secret(settings_)));
        return plan;
    }
    const UniqueId id = TRY(unique_id_decode(request.id));
    if (id.by_comm_id) {
        return make_error(Code::invalid_usage, Scope::call,
                          "the unique id was made with NCCL_COMM_ID set; set the same value in "
                          "this process");
    }
    plan.realm = realm_of_secret(id.secret);
    plan.root_nonce = id.process_nonce;
    plan.root_addresses = id.addresses;
    return plan;
}

// Rank 0's process is the one that the address of NCCL_COMM_ID belongs to.
Result<void> HubCore::meeting_open(Rendezvous& rendezvous,
                                   const std::vector<NetAddress>& addresses) {
    std::optional<Error> failure;
    for (const NetAddress& address : addresses) {
        const auto listening = links_.listen(address);
        if (listening.ok()) {
            rendezvous.meeting_listener = listening.value().id;
            rendezvous.root_make(true);
            return {};
        }
        failure = listening.error();
    }
    const int sys = failure ? failure->sys : 0;
    const char* fix = sys == EADDRINUSE ? "another process has that port; choose a free one"
                      : sys == EADDRNOTAVAIL
                          ? "the address is not on this host; it must be one of rank 0's host"
                          : "it must name an address of rank 0's host";
    return make_error(Code::system, Scope::call,
                      format("NCCL_COMM_ID=%s: %s: %s", settings_.comm_id.c_str(),
                             failure ? failure->what.c_str() : "no address", fix),
                      sys);
}

// --- joining

void HubCore::join(const JoinPlan& plan, Joining joining) {
    const auto open = endpoint_open();
    if (!open.ok()) {
        joining.failed(open.error());
        return;
    }
    if (plan.by_comm_id && settings_.secret.empty() && settings_.secret_file.empty() &&
        !std::exchange(warned_no_secret_, true)) {
        log_warn(
            "NCCL_COMM_ID without a secret: anyone who reaches that port can join; set "
            "WEFT_SECRET_FILE or WEFT_SECRET to the same value on all ranks");
    }
    Rendezvous& rendezvous = rendezvous_at(plan.realm, plan.root_nonce, plan.root_addresses);
    if (plan.by_comm_id && joining.rank == 0 && rendezvous.root() == nullptr) {
        const auto meeting = meeting_open(rendezvous, plan.root_addresses);
        if (!meeting.ok()) {
            joining.failed(meeting.error());
            return;
        }
    }
    rendezvous.add(std::move(joining));
}

void HubCore::join_cancel(const RealmId& realm, uint64_t token) {
    const auto at = rendezvous_.find(realm);
    if (at != rendezvous_.end()) {
        at->second->cancel(token);
    }
}

void HubCore::roster_complete(const Realm& realm, const std::shared_ptr<Roster>& roster,
                              std::vector<Joining> joined) {
    roster->key = root_group_key(realm, roster->group);
    GroupNode::Options options;
    options.realm = realm;
    options.roster = roster;
    options.ended = [this] { post([] {}); };
    const auto& processes = roster->processes;
    const auto own = std::find_if(processes.begin(), processes.end(), [&](const ProcessInfo& one) {
        return one.nonce == links_.self.nonce;
    });
    if (own == processes.end()) {
        return;
    }
    options.me = static_cast<int32_t>(own - processes.begin());
    options.timeout = settings_.init_timeout_s * nanos_per_s;
    for (const Joining& one : joined) {
        options.timeout = std::min(options.timeout, one.timeout);
    }
    auto& node = nodes_[roster->group];
    node = std::make_unique<GroupNode>(*net_, links_, std::move(options));
    for (Joining& one : joined) {
        node->member_add(one.rank, {}, std::move(one.joined));
    }
    // A rank that was cancelled on the way here is in the roster, and never will be.
    for (size_t rank = 0; rank < roster->process_of.size(); ++rank) {
        const auto number = static_cast<int32_t>(rank);
        if (roster->process_of[rank] == node->me() && !node->has_member(number)) {
            node->rank_absent(number);
        }
    }
    node->start();
}

// --- groups

GroupNode* HubCore::node_at(GroupId group) {
    const auto at = nodes_.find(group);
    return at == nodes_.end() ? nullptr : at->second.get();
}

void HubCore::with_group(GroupId group, const GroupFound& work) {
    if (GroupNode* node = node_at(group)) {
        work(*node);
    }
}

GroupNode& HubCore::child_at(const GroupNode& parent, const Derive& request) {
    const Roster& from = parent.roster();
    ByteWriter text;
    text.u64(request.tag);
    for (const int32_t rank : request.members) {
        text.i32(rank);
    }
    const GroupId id = id_of(derived(from.key, "child", text.view()));
    if (GroupNode* node = node_at(id)) {
        return *node;
    }
    const auto roster = std::make_shared<Roster>();
    roster->group = id;
    roster->key = derived(from.key, "child key", text.view());
    roster->infos.resize(request.members.size());
    std::map<int32_t, int32_t> index_of;  // in the parent's roster -> in the child's
    for (const int32_t rank : request.members) {
        const int32_t process = from.process_of[static_cast<size_t>(rank)];
        const auto next = static_cast<int32_t>(index_of.size());
        const auto [at, is_new] = index_of.emplace(process, next);
        if (is_new) {
            roster->processes.push_back(from.processes[static_cast<size_t>(process)]);
        }
        roster->process_of.push_back(at->second);
    }
    GroupNode::Options options;
    options.realm = parent.realm();
    options.roster = roster;
    options.me = index_of.at(parent.me());
    options.infos_known = false;
    options.ended = [this] { post([] {}); };
    options.strayed = [this, id = request.parent, members = request.members](int32_t rank) {
        const GroupNode* node = node_at(id);
        return node == nullptr || node->is_over(members[static_cast<size_t>(rank)]);
    };
    options.timeout = settings_.init_timeout_s * nanos_per_s;
    auto& node = nodes_[id];
    node = std::make_unique<GroupNode>(*net_, links_, std::move(options));
    return *node;
}

void HubCore::derive(Derive request) {
    const GroupNode* parent = node_at(request.parent);
    if (parent == nullptr || !parent->has_member(request.rank)) {
        request.done(
            make_error(Code::aborted, Scope::communicator, "this rank has left the group"));
        return;
    }
    const auto rank_count = static_cast<int32_t>(parent->roster().process_of.size());
    int32_t own = -1;
    std::vector<bool> seen(static_cast<size_t>(rank_count));
    for (size_t i = 0; i < request.members.size(); ++i) {
        const int32_t rank = request.members[i];
        if (rank < 0 || rank >= rank_count || seen[static_cast<size_t>(rank)]) {
            request.done(make_error(Code::invalid_argument, Scope::call,
                                    format("rank %d is no member, or twice one", rank)));
            return;
        }
        if (parent->is_gone(rank)) {
            request.done(make_error(Code::remote, Scope::communicator,
                                    format("rank %d, a member of the new group, is gone", rank)));
            return;
        }
        seen[static_cast<size_t>(rank)] = true;
        own = rank == request.rank ? static_cast<int32_t>(i) : own;
    }
    if (own < 0 || request.info.size() > info_bytes_max) {
        request.done(make_error(Code::invalid_argument, Scope::call,
                                "a new group must hold its caller, with at most 8 KiB of info"));
        return;
    }
    GroupNode& child = child_at(*parent, request);
    if (child.has_member(own)) {
        request.done(make_error(Code::invalid_usage, Scope::call,
                                "two groups of the same members and tag at a time"));
        return;
    }
    child.member_add(own, std::move(request.info), std::move(request.done));
    child.start();
}

ControlHub::Counters HubCore::counters() const {
    ControlHub::Counters counters;
    counters.strangers_dropped = links_.strangers.load(std::memory_order_relaxed);
    counters.connections = links_.open_count.load(std::memory_order_relaxed);
    counters.frames = links_.frames.load(std::memory_order_relaxed);
    return counters;
}

// --- events

const Realm* HubCore::realm_find(const RealmId& id) {
    const auto at = rendezvous_.find(id);
    return at == rendezvous_.end() ? nullptr : &at->second->realm();
}

void HubCore::peer_ready(Peer& peer) {
    const auto at = rendezvous_.find(peer.key.first);
    if (at != rendezvous_.end()) {
        at->second->peer_ready(peer);
    }
    for (const auto& [id, node] : nodes_) {
        if (node->realm().id == peer.key.first) {
            node->peer_ready(peer);
        }
    }
}

void HubCore::joining_message(Peer& peer, const Message& message) {
    const auto at = rendezvous_.find(peer.key.first);
    Root* root = at == rendezvous_.end() ? nullptr : at->second->root();
    if (const auto* join = std::get_if<JoinMessage>(&message)) {
        if (root != nullptr) {
            root->join(peer.process, *join);
        } else {
            links_.turn_away(peer.key);  // the meeting is over; the next one may be elsewhere
        }
    } else if (const auto* cancel = std::get_if<CancelMessage>(&message)) {
        if (root != nullptr) {
            root->cancel(peer.process.nonce, *cancel);
        }
    } else if (at != rendezvous_.end() && at->second->is_root(peer.process.nonce)) {
        at->second->message(message);
    }
}

void HubCore::peer_message(Peer& peer, Message&& message) {
    GroupId group = 0;
    if (const auto* attach = std::get_if<AttachMessage>(&message)) {
        if (peer.remote.size() < early_groups_most) {
            peer.remote.insert(attach->group);
        }
        if (GroupNode* node = node_at(attach->group)) {
            node->peer_attached(peer);
        }
    } else if (const auto* detach = std::get_if<DetachMessage>(&message)) {
        peer.remote.erase(detach->group);
        if (GroupNode* node = node_at(detach->group)) {
            node->peer_detached(peer);
        }
        links_.use_changed(peer);
    } else if (const auto* blob = std::get_if<BlobMessage>(&message)) {
        group = blob->group;
    } else if (const auto* left = std::get_if<LeftMessage>(&message)) {
        group = left->group;
    } else if (const auto* notice = std::get_if<NoticeMessage>(&message)) {
        group = notice->group;
    } else {
        joining_message(peer, message);
    }
    if (GroupNode* node = node_at(group)) {
        node->peer_message(peer, message);
    }
    sweep();
}

void HubCore::peer_lost(Peer& peer, const std::string& why, bool retired) {
    const auto at = rendezvous_.find(peer.key.first);
    if (at != rendezvous_.end()) {
        if (at->second->root() != nullptr && !retired) {
            at->second->root()->process_lost(peer.process.nonce, why);
        }
        at->second->peer_lost(peer, why, retired);
    }
    for (const auto& [id, node] : nodes_) {
        if (node->realm().id == peer.key.first) {
            node->peer_lost(peer, why, retired);
        }
    }
    sweep();
}

void HubCore::dial_failed(const PeerKey& key, const std::string& why, bool refused) {
    const auto at = rendezvous_.find(key.first);
    bool wanted = at != rendezvous_.end() && at->second->dial_failed(key, why);
    for (const auto& [id, node] : nodes_) {
        if (node->realm().id == key.first) {
            wanted = node->dial_failed(key.second, why, refused) || wanted;
        }
    }
    if (!wanted) {
        links_.dial_stop(key);
    }
    sweep();
}

// Ends groups in which nothing can happen any more, then realms without groups. The root of a
// unique id stays: its ranks may come at any time.
void HubCore::sweep() {
    for (auto at = nodes_.begin(); at != nodes_.end();) {
        if (at->second->ended()) {
            at->second->end();
            at = nodes_.erase(at);
        } else {
            ++at;
        }
    }
    for (auto at = rendezvous_.begin(); at != rendezvous_.end();) {
        Rendezvous& one = *at->second;
        // A failed round keeps its port, too: a rank that comes late must hear why.
        const bool lasting =
            one.root() != nullptr && (one.meeting_listener == 0 || one.root()->failed());
        const bool has_groups = std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) {
            return entry.second->realm().id == one.realm().id;
        });
        if (lasting || has_groups || !one.idle()) {
            ++at;
            continue;
        }
        net_->unlisten(one.meeting_listener);
        at = rendezvous_.erase(at);
    }
}

}  // namespace weft
