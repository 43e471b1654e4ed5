#include "src/bootstrap/join.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/bootstrap/address.h"

namespace weft {

namespace {

constexpr Nanos report_every = 10 * nanos_per_s;

}  // namespace

Rendezvous::Rendezvous(Net& net, ControlLinks& links, Options options)
    : net_(net),
      links_(links),
      realm_(std::move(options.realm)),
      dial_nonce_(options.root_nonce),
      root_nonce_(options.root_nonce),
      addresses_(std::move(options.root_addresses)),
      complete_(std::move(options.complete)) {
}

Rendezvous::~Rendezvous() {
    net_.cancel(report_timer_);
    net_.cancel(deliver_timer_);
    for (const Waiting& one : waiting_) {
        net_.cancel(one.timer);
    }
}

void Rendezvous::root_make(bool reusable) {
    root_ = std::make_unique<Root>(net_, static_cast<RootClient&>(*this), reusable);
    root_nonce_ = links_.self.nonce;
    links_.dial_stop({realm_.id, dial_nonce_});
}

void Rendezvous::root_send(uint64_t process_nonce, const Message& message) {
    if (Peer* peer = links_.find({realm_.id, process_nonce})) {
        links_.send(*peer, message);
    } else if (process_nonce == links_.self.nonce) {
        from_own_root_.push_back(message);
        if (deliver_timer_ == 0) {
            deliver_timer_ = net_.at(net_.now(), [this] {
                deliver_timer_ = 0;
                for (const Message& one : std::exchange(from_own_root_, {})) {
                    this->message(one);
                }
            });
        }
    }
}

void Rendezvous::root_hold(uint64_t process_nonce) {
    if (Peer* peer = links_.find({realm_.id, process_nonce})) {
        links_.hold(*peer);
    }
}

void Rendezvous::root_release(uint64_t process_nonce) {
    if (Peer* peer = links_.find({realm_.id, process_nonce})) {
        links_.release(*peer);
    }
}

void Rendezvous::add(Joining joining) {
    if (waiting_.empty()) {
        since_ = net_.now();
        report_timer_ = net_.at(since_ + report_every, [this] { report(); });
    }
    Waiting& one = waiting_.emplace_back();
    one.timer =
        net_.at(net_.now() + joining.timeout, [this, token = joining.token] { give_up(token); });
    one.joining = std::move(joining);
    connect();
}

Peer* Rendezvous::root_peer() {
    return root_nonce_ == 0 ? nullptr : links_.find({realm_.id, root_nonce_});
}

void Rendezvous::send_all(const std::function<void(const JoinMessage&)>& send) {
    for (Waiting& one : waiting_) {
        if (!std::exchange(one.sent, true)) {
            send({one.joining.rank, one.joining.rank_count, one.joining.info});
        }
    }
}

void Rendezvous::connect() {
    if (waiting_.empty()) {
        return;
    }
    if (root_ != nullptr) {
        send_all([this](const JoinMessage& join) { root_->join(links_.self, join); });
    } else if (Peer* peer = root_peer()) {
        if (!std::exchange(held_, true)) {
            links_.hold(*peer);
        }
        send_all([&](const JoinMessage& join) { links_.send(*peer, join); });
    } else {
        links_.dial(realm_, dial_nonce_, addresses_);
    }
}

void Rendezvous::peer_ready(const Peer& peer) {
    if (dial_nonce_ == 0 && root_ == nullptr && peer.at_meeting_point) {
        root_nonce_ = peer.process.nonce;
    }
    if (peer.process.nonce == root_nonce_) {
        unreachable_.clear();
        connect();
    }
}

void Rendezvous::peer_lost(const Peer& peer, const std::string& why, bool retired) {
    if (peer.process.nonce != root_nonce_ || root_ != nullptr) {
        return;
    }
    held_ = false;
    table_.clear();
    root_nonce_ = dial_nonce_;
    // At an agreed address the process of an earlier run may still answer. Only one whose rank 0
    // has joined says who is missing; with any other nothing is lost but the way.
    const bool stranger = dial_nonce_ == 0 && missing_.empty();
    if (retired || stranger) {
        for (Waiting& one : waiting_) {
            one.sent = one.sent && !stranger;
        }
        connect();
        return;
    }
    fail_sent(make_error(
        Code::remote, Scope::communicator,
        format("lost the root of the communicator (host %s, pid %lld): %s",
               peer.process.host.c_str(), static_cast<long long>(peer.process.pid), why.c_str())));
}

bool Rendezvous::dial_failed(const PeerKey& key, const std::string& why) {
    if (waiting_.empty() || key.second != dial_nonce_ || root_ != nullptr) {
        return false;
    }
    unreachable_ = why;
    return true;
}

void Rendezvous::message(const Message& message) {
    if (const auto* fail = std::get_if<FailMessage>(&message)) {
        take(*fail);
    } else if (const auto* table = std::get_if<TableMessage>(&message)) {
        take(*table);
    } else if (const auto* waiting = std::get_if<WaitingMessage>(&message)) {
        missing_ = waiting->text;
    }
}

void Rendezvous::take(const FailMessage& message) {
    fail_sent(make_error(message.code, Scope::communicator, message.text));
}

void Rendezvous::take(const TableMessage& message) {
    int32_t ranks = 0;
    for (const Waiting& one : waiting_) {
        ranks = std::max(ranks, one.sent ? one.joining.rank_count : 0);
    }
    if (message.total > roster_bytes_max(ranks) || message.offset != table_.size() ||
        message.bytes.size() > message.total - message.offset) {
        table_.clear();
        fail_sent(make_error(Code::internal, Scope::communicator, "the root sent a broken roster"));
        return;
    }
    table_ += message.bytes;
    if (table_.size() == message.total) {
        table_complete();
    }
}

void Rendezvous::table_complete() {
    auto decoded = roster_decode(std::exchange(table_, {}));
    if (!decoded.ok()) {
        fail_sent(decoded.error());
        return;
    }
    const auto roster = std::make_shared<Roster>(std::move(decoded).value());
    std::vector<Joining> joined;
    std::vector<bool> taken(roster->process_of.size());
    for (auto at = waiting_.begin(); at != waiting_.end();) {
        const auto next = std::next(at);
        const auto rank = static_cast<size_t>(at->joining.rank);
        if (at->sent && rank < taken.size() && !taken[rank] &&
            roster->processes[static_cast<size_t>(roster->process_of[rank])].nonce ==
                links_.self.nonce) {
            taken[rank] = true;
            joined.push_back(std::move(at->joining));
            remove(at);
        }
        at = next;
    }
    complete_(roster, std::move(joined));
}

void Rendezvous::remove(std::list<Waiting>::iterator at) {
    net_.cancel(at->timer);
    waiting_.erase(at);
    if (!waiting_.empty()) {
        return;
    }
    net_.cancel(std::exchange(report_timer_, 0));
    missing_.clear();
    if (std::exchange(held_, false)) {
        links_.release(*root_peer());
    }
}

void Rendezvous::fail_sent(const Error& error) {
    for (auto at = waiting_.begin(); at != waiting_.end();) {
        const auto next = std::next(at);
        if (at->sent) {
            const auto failed = std::move(at->joining.failed);
            remove(at);
            failed(error);
        }
        at = next;
    }
}

void Rendezvous::send_to_root(const Message& message) {
    if (root_ != nullptr) {
        root_->cancel(links_.self.nonce, std::get<CancelMessage>(message));
    } else if (Peer* peer = root_peer()) {
        links_.send(*peer, message);
    }
}

std::string Rendezvous::doing_text() const {
    if (!missing_.empty()) {
        return format("waiting for %s", missing_.c_str());
    }
    if (held_ || root_ != nullptr) {
        return "waiting for other ranks";
    }
    std::string text = "no way to the root of the communicator at";
    for (const NetAddress& address : addresses_) {
        text.append(" ").append(to_string(address));
    }
    if (!unreachable_.empty()) {
        text.append(" (").append(unreachable_).append(")");
    }
    return text;
}

void Rendezvous::give_up(uint64_t token) {
    const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const Waiting& one) { return one.joining.token == token; });
    at->timer = 0;
    const std::string text = format("gave up after %lld s: ",
                                    static_cast<long long>(at->joining.timeout / nanos_per_s)) +
                             doing_text();
    if (at->sent) {
        send_to_root(CancelMessage{at->joining.rank, Code::timeout, text});
    }
    const bool reached = held_ || root_ != nullptr;
    const auto failed = std::move(at->joining.failed);
    remove(at);
    failed(make_error(Code::timeout, Scope::communicator,
                      text + (reached ? ""
                                      : "; check that the root's process lives and is reachable "
                                        "(NCCL_SOCKET_IFNAME chooses the network)")));
}

void Rendezvous::cancel(uint64_t token) {
    const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const Waiting& one) { return one.joining.token == token; });
    if (at == waiting_.end()) {
        return;
    }
    if (at->sent) {
        send_to_root(CancelMessage{at->joining.rank, Code::aborted, "aborted"});
    }
    remove(at);
}

// The root reports missing ranks; who cannot reach it reports that.
void Rendezvous::report() {
    report_timer_ = net_.at(net_.now() + report_every, [this] { report(); });
    if (root_ == nullptr && !held_) {
        log_warn(doing_text() +
                 format(" (%lld s so far)",
                        static_cast<long long>((net_.now() - since_) / nanos_per_s)));
    }
}

void Rendezvous::shutdown() {
    held_ = false;
    const Error error =
        make_error(Code::aborted, Scope::process, "the control endpoint was closed");
    while (!waiting_.empty()) {
        const auto failed = std::move(waiting_.front().joining.failed);
        remove(waiting_.begin());
        failed(error);
    }
}

}  // namespace weft
