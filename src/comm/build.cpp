#include "src/comm/build.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/base/thread.h"
#include "src/comm/board_set.h"
#include "src/comm/device_build.h"
#include "src/comm/planning.h"
#include "src/comm/probe.h"
#include "src/comm/process.h"
#include "src/plan/algo_list.h"

namespace weft {

namespace {

constexpr size_t features_limit = 1024, board_limit = 1024;

// The parts and what is only needed until the communicator is ready.
class Build : public std::enable_shared_from_this<Build> {
  public:
    explicit Build(const std::shared_ptr<Communicator>& comm) : comm_(comm) {}
    ~Build() {
        device_.release();
        device_release(std::move(parts_.clique), false);
        device_release(std::move(parts_.streamed), false);
    }
    Build(const Build&) = delete;
    Build& operator=(const Build&) = delete;

    void joined(std::unique_ptr<ControlGroup> group);

  private:
    using Addresses = std::array<std::string, wire_kind_count>;
    struct Told {
        Addresses addresses;
        std::string features;  // of the transport between hosts, where it is used
        std::string host;      // of the first rank of every host, where there are several
        std::string board;     // on devices, for other processes
    };

    Result<void> check(const Communicator& comm, const ControlGroup& group);
    void device_make(const Communicator& comm, uint64_t group);
    void device_settle(std::vector<Told> told);
    std::vector<std::string> names() const;
    void shard_make(Communicator& comm, std::vector<Told> told);
    void attach_and_tell(const std::shared_ptr<Communicator>& comm, Result<void> device);
    Result<void> device_connect(const Communicator& comm);
    Result<Told> attach(const Communicator& comm, uint64_t group);
    Result<std::string> planning_begin(const Communicator& comm);
    Result<void> planning_end(const std::vector<Told>& told);
    std::vector<uint32_t> rails_of_rank(const WireHub& hub, uint32_t rank);
    Result<void> attach_one(WireKind kind, const WireConfig& config);
    static std::string tell(const Result<Told>& attached);
    static Result<Told> told_read(const std::string& blob);
    Result<std::vector<Told>> told_read_all(const std::vector<std::string>& blobs) const;
    void told(Result<std::vector<std::string>> blobs);
    void probe(const Communicator& comm);
    void probe_watch();
    void probed(Result<std::vector<std::string>> blobs);
    void agree(Communicator& comm);
    void agreed(Result<std::vector<std::string>> blobs);
    void finish(Communicator& comm);
    bool is_several_hosts() const { return locality_.hosts.size() > 1; }
    std::vector<PeerRoute> routes(const Communicator& comm, std::vector<Told>& told);
    Result<ShardConfig> shard_config(const Communicator& comm, std::vector<Told>& told);

    const std::weak_ptr<Communicator> comm_;  // weak: an abort may free it at any time
    std::vector<PeerInfo> infos_;
    std::vector<WireKind> kinds_;  // by rank; the own entry is not used
    Locality locality_;
    DeviceSeat seat_;
    DeviceParts device_;  // until it is settled which way calls go
    size_t host_nics_ = 0;
    std::vector<std::vector<uint32_t>> host_rails_;  // by local rank; empty: every rank rides all
    CommParts parts_;
    bool probing_ = false;  // a thread uses the shard; service thread only
    std::shared_ptr<Planning> planning_ = std::make_shared<Planning>();  // shared with the shard
    Wire* wires_[wire_kind_count] = {};                                  // owned by parts_
};

// Every rank sees the same infos, so nobody has to be told of what is found here.
Result<void> Build::check(const Communicator& comm, const ControlGroup& group) {
    infos_ = TRY(peer_infos_decode(group.infos()));
    TRY(peers_agree(infos_));
    locality_ = locality_of(infos_, comm.rank(), settings());
    kinds_.resize(infos_.size());
    return {};
}

void Build::device_make(const Communicator& comm, uint64_t group) {
    seat_ = device_seat(infos_, locality_.hosts, comm.rank(), group);
    device_parts_make(seat_, [self = shared_from_this()](Result<DeviceParts> made) {
        const auto held = self->comm_.lock();
        if (held && held->state() == CommState::initialising) {
            if (made.ok()) {
                self->parts_.clique = std::move(made.value().clique);
                self->parts_.streamed = std::move(made.value().relay);
                self->device_ = std::move(made.value());
            }
            self->attach_and_tell(held, made.ok() ? Result<void>() : Result<void>(made.error()));
        } else if (made.ok()) {
            made.value().release();
        }
    });
}

Result<void> Build::device_connect(const Communicator& comm) {
    if (parts_.clique == nullptr) {
        return {};
    }
    return parts_.clique->connect(static_cast<uint32_t>(comm.rank()), names());
}

std::vector<std::string> Build::names() const {
    std::vector<std::string> names;
    for (size_t rank = 0; rank < infos_.size(); rank++) {
        names.push_back(peer_name(static_cast<int32_t>(rank), infos_[rank]));
    }
    return names;
}

// By boards, or by relay if a rank cannot.
void Build::device_settle(std::vector<Told> told) {
    std::vector<std::string> notes;
    for (const Told& one : told) {
        notes.push_back(one.board);
    }
    const Result<Wire*> nics =
        device_wire(seat_, kinds_, wires_[static_cast<size_t>(WireKind::fabric)]);
    board_vote({seat_, comm_, names(), std::move(notes), nics}, std::exchange(device_, {}),
               [self = shared_from_this(),
                told = std::move(told)](std::shared_ptr<DeviceStreamed> made) mutable {
                   self->parts_.streamed = std::move(made);
                   self->shard_make(*self->comm_.lock(), std::move(told));
               });
}

// The NICs nearest to this rank, by its place among the ranks of its host.
std::vector<uint32_t> Build::rails_of_rank(const WireHub& hub, uint32_t rank) {
    const auto& host = locality_.host_ranks;
    const auto local = static_cast<size_t>(
        std::lower_bound(host.begin(), host.end(), static_cast<int32_t>(rank)) - host.begin());
    const std::vector<std::string> nics = hub.nics();
    host_nics_ = nics.size();
    host_rails_ = rank_rails(settings(), static_cast<int32_t>(host.size()), nics);
    return host_rails_.empty() ? std::vector<uint32_t>() : host_rails_[local];
}

Result<void> Build::attach_one(WireKind kind, const WireConfig& config) {
    WireHub* hub = TRY(Process::get().hub(kind));
    WireConfig own = config;
    own.rails = rails_of_rank(*hub, config.rank);
    std::unique_ptr<Wire> wire = TRY(hub->attach(own));
    Process::get().hub_announce(kind, config.rank == 0);
    if (!settings().fault.empty()) {
        auto faults = TRY(fault_parse(settings().fault));
        wire = fault_wrap(std::move(wire), std::move(faults));
    }
    wires_[static_cast<size_t>(kind)] = wire.get();
    parts_.wires.push_back(std::move(wire));
    return {};
}

Result<Build::Told> Build::attach(const Communicator& comm, uint64_t group) {
    const auto rank = static_cast<size_t>(comm.rank());
    bool needed[wire_kind_count] = {};
    for (size_t peer = 0; peer < infos_.size(); peer++) {
        if (peer != rank) {
            kinds_[peer] = TRY(wire_choose(infos_[rank], infos_[peer], settings()));
            needed[static_cast<size_t>(kinds_[peer])] = true;
        }
    }
    parts_.doorbell = std::make_unique<Doorbell>(TRY(Doorbell::create()));
    WireConfig config;
    config.group = group;
    config.rank = static_cast<uint32_t>(comm.rank());
    config.rank_count = static_cast<uint32_t>(comm.rank_count());
    config.doorbell = parts_.doorbell.get();
    Told told;
    for (int kind = 0; kind < wire_kind_count; kind++) {
        if (needed[kind]) {
            TRY(attach_one(static_cast<WireKind>(kind), config));
            told.addresses[static_cast<size_t>(kind)] = wires_[kind]->address();
            const WireHub* hub = TRY(Process::get().hub(static_cast<WireKind>(kind)));
            told.features += hub->features();
        }
    }
    told.host = TRY(planning_begin(comm));
    told.board =
        device_.board != nullptr ? device_.board->boards()->memory()->note() : std::string();
    return told;
}

// What this rank can say for planning before it has heard of the others: the settings, the plans of
// files (proved by one rank for all), and of what kind its host is.
Result<std::string> Build::planning_begin(const Communicator& comm) {
    const Settings& from = settings();
    planning_->rank = comm.rank();
    planning_->explain = from.explain;
    planning_->label = comm.name();
    planning_->limits.eager_bytes = static_cast<uint64_t>(from.eager_bytes);
    planning_->limits.tile_bytes = static_cast<uint64_t>(from.tile_bytes);
    planning_->limits.algo = from.algo;
    Result<uint32_t> granted = plan::proto_list_parse(from.proto);
    if (!granted.ok()) {
        granted.error().what = "NCCL_PROTO: " + granted.error().what;
        return std::move(granted).error();
    }
    planning_->limits.granted = granted.value();
    planning_->given = TRY(given_plans_read(from.plan, comm.rank_count()));
    if (comm.rank() == 0) {
        TRY(given_plans_prove(planning_->given));
    }
    if (!is_several_hosts() || locality_.host_ranks.front() != comm.rank()) {
        return std::string();
    }
    const Wire* fabric = wires_[static_cast<size_t>(WireKind::fabric)];
    const size_t ridden = fabric == nullptr ? 0 : fabric->counters().rail_bytes.size();
    const size_t rails = host_rails_.empty() ? ridden : host_nics_;
    const topology::Host host =
        TRY(host_describe(from, static_cast<int32_t>(locality_.host_ranks.size()),
                          std::max(static_cast<int32_t>(rails), 1), host_rails_));
    return topology::host_encode(host);
}

Result<void> Build::planning_end(const std::vector<Told>& told) {
    std::vector<std::string> features;
    for (const Told& one : told) {
        features.push_back(one.features);
    }
    TRY(features_agree(features, infos_));
    if (!is_several_hosts()) {
        planning_->table.turns = locality_.turns;
        return {};
    }
    std::vector<std::string> hosts;
    for (const auto& ranks : locality_.hosts) {
        hosts.push_back(told[static_cast<size_t>(ranks.front())].host);
    }
    planning_->table = TRY(table_make(settings(), hosts, locality_.hosts, locality_.turns));
    return {};
}

// A blob of step 4 begins with 1 and holds the addresses, or with 0 and holds code and cause.
std::string Build::tell(const Result<Told>& attached) {
    ByteWriter out;
    if (!attached.ok()) {
        const Error& error = attached.error();
        return out.u8(0).u8(static_cast<uint8_t>(error.code)).text(error.what).take();
    }
    out.u8(1);
    for (const std::string& address : attached.value().addresses) {
        out.text(address);
    }
    const Told& own = attached.value();
    return out.text(own.features).text(own.board).text(own.host).take();
}

Result<Build::Told> Build::told_read(const std::string& blob) {
    ByteReader in(blob);
    if (TRY(in.u8()) == 0) {
        const uint8_t code = TRY(in.u8());
        const std::string_view what = TRY(in.text(in.left()));
        return make_error(
            static_cast<Code>(std::min(code, static_cast<uint8_t>(Code::unsupported))),
            Scope::communicator, std::string(what));
    }
    Told told;
    for (std::string& address : told.addresses) {
        address = TRY(in.text(wire_address_bytes_max));
    }
    told.features = TRY(in.text(features_limit));
    told.board = TRY(in.text(board_limit));
    told.host = TRY(in.text(in.left()));
    return told;
}

Result<std::vector<Build::Told>> Build::told_read_all(const std::vector<std::string>& blobs) const {
    std::vector<Told> all;
    for (size_t peer = 0; peer < infos_.size(); peer++) {
        Result<Told> told = told_read(blobs[peer]);
        if (!told.ok()) {
            Error error = std::move(told).error();
            error.what = peer_name(static_cast<int32_t>(peer), infos_[peer]) + ": " + error.what;
            return error;
        }
        all.push_back(std::move(told).value());
    }
    return all;
}

void Build::joined(std::unique_ptr<ControlGroup> joined) {
    const auto comm = comm_.lock();
    if (!comm) {
        return;
    }
    ControlGroup& group = comm->group_set(std::move(joined));
    if (comm->state() != CommState::initialising) {
        group.announce(Notice::Kind::aborted, comm->name() + " was aborted during init");
        comm->leave();
        return;
    }
    if (const Result<void> checked = check(*comm, group); !checked.ok()) {
        comm->fail(checked.error(), false);
        return;
    }
    group.on_notice([weak = comm_](const Notice& notice) {
        if (const auto held = weak.lock()) {
            held->notice(notice);
        }
    });
    if (comm->on_device()) {
        device_make(*comm, group.id());
    } else {
        attach_and_tell(comm, {});
    }
}

void Build::attach_and_tell(const std::shared_ptr<Communicator>& comm, Result<void> device) {
    ControlGroup& group = *comm->group();
    const Result<Told> attached =
        device.ok() ? attach(*comm, group.id()) : Result<Told>(std::move(device).error());
    group.all_gather(tell(attached),
                     [self = shared_from_this()](Result<std::vector<std::string>> blobs) {
                         self->told(std::move(blobs));
                     });
}

std::vector<PeerRoute> Build::routes(const Communicator& comm, std::vector<Told>& told) {
    std::vector<PeerRoute> routes(infos_.size());
    for (size_t peer = 0; peer < infos_.size(); peer++) {
        PeerRoute& route = routes[peer];
        route.name = peer_name(static_cast<int32_t>(peer), infos_[peer]);
        route.same_host = std::binary_search(
            locality_.host_ranks.begin(), locality_.host_ranks.end(), static_cast<int32_t>(peer));
        if (static_cast<int32_t>(peer) != comm.rank()) {
            const auto kind = static_cast<size_t>(kinds_[peer]);
            route.wire = wires_[kind];
            route.address = std::move(told[peer].addresses[kind]);
        }
    }
    return routes;
}

Result<ShardConfig> Build::shard_config(const Communicator& comm, std::vector<Told>& told) {
    const Settings& from = settings();
    ShardConfig config;
    config.peers = routes(comm, told);
    config.rank = comm.rank();
    config.rank_count = comm.rank_count();
    config.doorbell = parts_.doorbell.get();
    for (const auto& wire : parts_.wires) {
        config.wires.push_back(wire.get());
    }
    config.reactor = &Process::get().reactor();
    config.limits = planning_->limits;
    config.planner = [planning = planning_](const plan::Request& request) {
        return planning->plan(request);
    };
    config.one_host = locality_.one_host;
    config.cluster.at = TRY(plan::Cluster::of(locality_.hosts));
    config.peer_load = locality_.one_process;
    config.cores_enough = locality_.cores_enough;
    config.label = comm.name();
    config.late_report = from.late_report_s * nanos_per_s;
    config.spin_us = from.spin_us;
    // The driver may hold other shards: the consequences are drawn on the service thread.
    config.on_error = [weak = comm_](const Error& error) {
        Process::get().reactor().post([weak, error] {
            if (const auto held = weak.lock()) {
                held->fail(error, true);
            }
        });
    };
    return config;
}

void Build::told(Result<std::vector<std::string>> blobs) {
    const auto comm = comm_.lock();
    if (!comm || comm->state() != CommState::initialising) {
        return;
    }
    if (!blobs.ok()) {
        comm->fail(blobs.error(), true);
        return;
    }
    // Every rank reads the same blobs: what is wrong with them is not announced.
    Result<std::vector<Told>> all = told_read_all(blobs.value());
    Result<void> planned = all.ok() ? planning_end(all.value()) : Result<void>(all.error());
    if (planned.ok() && comm->on_device()) {
        planned = device_connect(*comm);
    }
    if (!planned.ok()) {
        comm->fail(planned.error(), false);
        return;
    }
    const bool by_boards = seat_.way == DeviceWay::board || seat_.way == DeviceWay::hosts;
    if (comm->on_device() && by_boards) {
        device_settle(std::move(all).value());
    } else {
        shard_make(*comm, std::move(all).value());
    }
}

void Build::shard_make(Communicator& comm, std::vector<Told> told) {
    Result<ShardConfig> config = shard_config(comm, told);
    if (!config.ok()) {
        comm.fail(config.error(), false);
        return;
    }
    Result<std::unique_ptr<Shard>> shard = Shard::create(std::move(config).value());
    if (!shard.ok()) {
        comm.fail(shard.error(), true);
        return;
    }
    parts_.shard = std::move(shard).value();
    if (settings().probe && comm.rank_count() > 1) {
        probe(comm);
    } else {
        agree(comm);
    }
}

// On a thread of its own, for ranks of one process share the service thread and each other's time.
void Build::probe(const Communicator& comm) {
    const ProbePairs pairs = probe_pairs(locality_.hosts, comm.rank());
    probing_ = true;
    probe_watch();
    thread_aside([self = shared_from_this(), pairs] {
        std::string samples = probe_run(*self->parts_.shard, pairs);
        Process::get().reactor().post([self, samples = std::move(samples)]() mutable {
            self->probing_ = false;
            const auto held = self->comm_.lock();
            if (held && held->state() == CommState::initialising) {
                held->group()->all_gather(
                    std::move(samples),
                    [self](Result<std::vector<std::string>> all) { self->probed(std::move(all)); });
            }
        });
    });
}

// A communicator that fails or is aborted meanwhile does not know this shard: it must end here, or
// the thread would wait for ever.
void Build::probe_watch() {
    constexpr Nanos period = 50 * nanos_per_ms;
    Reactor& reactor = Process::get().reactor();
    reactor.at(reactor.now() + period, [self = shared_from_this()] {
        if (!self->probing_) {
            return;
        }
        const auto held = self->comm_.lock();
        if (held && held->state() == CommState::initialising) {
            self->probe_watch();
        } else {
            self->parts_.shard->fail(
                make_error(Code::aborted, Scope::communicator, "init ended while probing"));
        }
    });
}

void Build::probed(Result<std::vector<std::string>> blobs) {
    const auto comm = comm_.lock();
    if (!comm || comm->state() != CommState::initialising) {
        return;
    }
    const Result<void> merged =
        blobs.ok() ? probe_merge(blobs.value(), planning_->table) : Result<void>(blobs.error());
    if (!merged.ok()) {
        comm->fail(merged.error(), true);
        return;
    }
    agree(*comm);
}

// On one host without plans of files, everything a choice depends on is compared already.
void Build::agree(Communicator& comm) {
    if (!is_several_hosts() && planning_->given.empty() && !settings().probe) {
        finish(comm);
        return;
    }
    comm.group()->all_gather(agreement_encode(*planning_),
                             [self = shared_from_this()](Result<std::vector<std::string>> others) {
                                 self->agreed(std::move(others));
                             });
}

void Build::agreed(Result<std::vector<std::string>> blobs) {
    const auto comm = comm_.lock();
    if (!comm || comm->state() != CommState::initialising) {
        return;
    }
    if (!blobs.ok()) {
        comm->fail(blobs.error(), true);
        return;
    }
    if (const auto alike = agreements_check(blobs.value(), infos_); !alike.ok()) {
        comm->fail(alike.error(), false);
        return;
    }
    finish(*comm);
}

void Build::finish(Communicator& ready) {
    Communicator* const comm = &ready;
    parts_.process_ranks = locality_.process_ranks;
    const auto& host = locality_.host_ranks;
    parts_.device = static_cast<int32_t>(std::lower_bound(host.begin(), host.end(), comm->rank()) -
                                         host.begin());
    std::string wires;
    for (const auto& wire : parts_.wires) {
        wires += (wires.empty() ? "" : "+") + wire->caps().name;
    }
    if (parts_.streamed != nullptr) {
        const auto own = static_cast<size_t>(comm->rank());
        streamed_serve({*parts_.streamed, *comm, comm_, *parts_.shard, names()[own]});
    }
    comm->ready(std::move(parts_));
    LOG(info, init, "comm %p rank %d reaches its peers via %s", static_cast<void*>(comm->handle()),
        comm->rank(), wires.empty() ? "nothing (one rank)" : wires.c_str());
    // Users' scripts parse this line.
    LOG(info, init,
        "comm %p rank %d nranks %d cudaDev %d nvmlDev %d busId 0 commId 0x%llx - Init COMPLETE",
        static_cast<void*>(comm->handle()), comm->rank(), comm->rank_count(), comm->device(),
        comm->device(), static_cast<unsigned long long>(comm->group()->id()));
}

// The whole build has one limit; the control group's own covers missing ranks, by name.
void deadline_set(const std::shared_ptr<Communicator>& comm) {
    Reactor& reactor = Process::get().reactor();
    const int64_t limit_s = settings().init_timeout_s;
    reactor.at(reactor.now() + (limit_s + 1) * nanos_per_s,
               [weak = std::weak_ptr<Communicator>(comm), limit_s] {
                   const auto held = weak.lock();
                   if (held && held->state() == CommState::initialising) {
                       held->fail(make_error(Code::timeout, Scope::communicator,
                                             format("init did not finish within "
                                                    "WEFT_INIT_TIMEOUT=%lld s",
                                                    static_cast<long long>(limit_s))),
                                  true);
                   }
               });
}

}  // namespace

std::string build_info(const gpu::KindFound& kind, int32_t device) {
    PeerInfo info = Process::get().peer_info();
    info.on_device = kind.kind == gpu::Kind::device;
    info.kind_why = kind.why;
    info.device = info.on_device ? device : 0;
    return peer_info_encode(info);
}

void build_by_id(const std::shared_ptr<Communicator>& comm, const UniqueIdBytes& id) {
    JoinRequest request;
    request.id = id;
    request.rank = comm->rank();
    request.rank_count = comm->rank_count();
    request.info = build_info(comm->kind(), comm->device());
    request.timeout = settings().init_timeout_s * nanos_per_s;
    auto build = std::make_shared<Build>(comm);  // shared: between the callbacks of its steps
    auto done = [build, weak = std::weak_ptr<Communicator>(comm)](
                    Result<std::unique_ptr<ControlGroup>> group) {
        if (group.ok()) {
            build->joined(std::move(group).value());
        } else if (const auto held = weak.lock()) {
            held->fail(group.error(), false);
        }
    };
    Result<std::function<void()>> cancel = Process::get().control().join(request, std::move(done));
    if (!cancel.ok()) {
        comm->fail(cancel.error(), false);
        return;
    }
    comm->canceller_set(std::move(cancel).value());
    deadline_set(comm);
}

void build_by_group(const std::shared_ptr<Communicator>& comm,
                    std::unique_ptr<ControlGroup> group) {
    deadline_set(comm);
    std::make_shared<Build>(comm)->joined(std::move(group));
}

}  // namespace weft
