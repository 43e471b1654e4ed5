#include "src/bootstrap/hub.h"

#include <algorithm>
#include <atomic>

#include "src/base/log.h"
#include "src/bootstrap/hub_core.h"

namespace weft {

namespace {

// A rank's handle on its group: facts that never change, and orders to the service thread.
class Member final : public ControlGroup {
  public:
    Member(std::shared_ptr<HubCore> core, std::shared_ptr<const Roster> roster, int32_t rank)
        : core_(std::move(core)), roster_(std::move(roster)), rank_(rank) {}
    ~Member() override {
        gate_->closed = true;
        core_->call(
            [core = core_.get(), group = id(), rank = rank_] { leave_now(*core, group, rank); },
            false);
    }
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    const std::shared_ptr<MemberGate>& gate() const { return gate_; }

    int32_t rank() const override { return rank_; }
    int32_t rank_count() const override { return static_cast<int32_t>(roster_->infos.size()); }
    uint64_t id() const override { return roster_->group; }
    const std::vector<std::string>& infos() const override { return roster_->infos; }

    void all_gather(std::string blob, GatherDone done) override;
    void announce(Notice::Kind kind, std::string text) override;
    void on_notice(std::function<void(const Notice&)> callback) override;
    void derive(std::vector<int32_t> members, uint64_t tag, std::string info,
                DeriveDone done) override;
    void leave() override;

  private:
    static void leave_now(HubCore& core, GroupId group, int32_t rank) {
        core.with_group(group, [rank](GroupNode& node) { node.leave(rank); });
    }

    std::shared_ptr<HubCore> core_;         // shared: the handle may outlive the hub
    std::shared_ptr<const Roster> roster_;  // shared by all handles and the group
    int32_t rank_;
    std::shared_ptr<MemberGate> gate_ = std::make_shared<MemberGate>();  // shared with the group
};

Error closed_error() {
    return make_error(Code::aborted, Scope::process, "the control endpoint was closed");
}

// What hands a rank its group when the roster is ready.
GroupNode::Ready handle_maker(const std::shared_ptr<HubCore>& core, int32_t rank,
                              ControlGroup::DeriveDone done) {
    return [core = core.get(), rank, done = std::move(done)](auto roster) {
        if (!roster.ok()) {
            done(roster.error());
            return;
        }
        auto member = std::make_unique<Member>(core->shared_from_this(), roster.value(), rank);
        core->with_group(member->id(),
                         [&](GroupNode& node) { node.member_gate(rank, member->gate()); });
        done(std::unique_ptr<ControlGroup>(std::move(member)));
    };
}

void Member::all_gather(std::string blob, GatherDone done) {
    // Shared: whichever of the two ways ends the call.
    const auto shared = std::make_shared<GatherDone>(std::move(done));
    if (blob.size() > blob_bytes_max) {
        blob.clear();
        core_->post([shared] {
            (*shared)(make_error(Code::internal, Scope::call, "a blob is longer than 64 KiB"));
        });
        return;
    }
    const auto work = [core = core_.get(), group = id(), rank = rank_, shared,
                       blob = std::move(blob)]() mutable {
        bool found = false;
        core->with_group(group, [&](GroupNode& node) {
            found = true;
            node.all_gather(rank, std::move(blob), *shared);
        });
        if (!found) {
            (*shared)(make_error(Code::aborted, Scope::communicator, "the group is over"));
        }
    };
    if (!core_->post(work)) {
        (*shared)(closed_error());
    }
}

void Member::announce(Notice::Kind kind, std::string text) {
    core_->post([core = core_.get(), group = id(), rank = rank_, kind, text = std::move(text)] {
        core->with_group(group, [&](GroupNode& node) { node.announce(rank, kind, text); });
    });
}

void Member::on_notice(std::function<void(const Notice&)> callback) {
    core_->post([core = core_.get(), group = id(), rank = rank_, callback = std::move(callback)] {
        core->with_group(group, [&](GroupNode& node) { node.on_notice(rank, callback); });
    });
}

void Member::derive(std::vector<int32_t> members, uint64_t tag, std::string info, DeriveDone done) {
    const auto own = std::find(members.begin(), members.end(), rank_);
    const auto child_rank = static_cast<int32_t>(own - members.begin());
    HubCore::Derive request;
    request.parent = id();
    request.rank = rank_;
    request.members = std::move(members);
    request.tag = tag;
    request.info = std::move(info);
    request.done = handle_maker(core_, child_rank, done);
    if (!core_->post(
            [core = core_.get(), request = std::move(request)] { core->derive(request); })) {
        done(closed_error());
    }
}

void Member::leave() {
    core_->post(
        [core = core_.get(), group = id(), rank = rank_] { leave_now(*core, group, rank); });
}

// `done` or the canceller, whichever is first.
struct JoinTicket {
    std::atomic<bool> over{false};
};

class Hub final : public ControlHub {
  public:
    Hub(std::unique_ptr<Net> net, const Settings& settings)
        : core_(std::make_shared<HubCore>(std::move(net), settings)) {}
    ~Hub() override { core_->close(); }
    Hub(const Hub&) = delete;
    Hub& operator=(const Hub&) = delete;

    Result<UniqueIdBytes> unique_id_make() override {
        Result<UniqueIdBytes> made = closed_error();
        core_->call([&] { made = core_->unique_id_make(); }, true);
        return made;
    }
    Result<std::function<void()>> join(JoinRequest request, JoinDone done) override;
    Counters counters() const override { return core_->counters(); }

  private:
    std::shared_ptr<HubCore> core_;  // shared with the groups' handles
    std::atomic<uint64_t> next_token_{1};
};

Result<std::function<void()>> Hub::join(JoinRequest request, JoinDone done) {
    const JoinPlan plan = TRY(core_->join_plan(request));
    const auto ticket = std::make_shared<JoinTicket>();  // shared by the call and its canceller
    const auto once = [ticket,
                       done = std::move(done)](Result<std::unique_ptr<ControlGroup>> result) {
        if (!ticket->over.exchange(true)) {
            done(std::move(result));
        }
    };
    Joining joining;
    joining.token = next_token_++;
    joining.rank = request.rank;
    joining.rank_count = request.rank_count;
    joining.info = std::move(request.info);
    joining.timeout = request.timeout;
    joining.failed = [core = core_.get(), once](Error error) {
        once(std::move(error));
        core->post([] {});  // what is idle now is swept up after it
    };
    joining.joined = handle_maker(core_, request.rank, once);
    const uint64_t token = joining.token;
    core_->post(
        [core = core_.get(), plan, joining = std::move(joining)] { core->join(plan, joining); });
    return std::function<void()>([core = core_, ticket, token, realm = plan.realm.id] {
        if (!ticket->over.exchange(true)) {
            core->post([core = core.get(), realm, token] { core->join_cancel(realm, token); });
        }
    });
}

}  // namespace

std::unique_ptr<ControlHub> control_hub_on(std::unique_ptr<Net> net, const Settings& settings) {
    return std::make_unique<Hub>(std::move(net), settings);
}

std::unique_ptr<ControlHub> control_hub_make(Reactor& reactor, const Settings& settings) {
    return control_hub_on(net_tcp_make(reactor), settings);
}

}  // namespace weft
