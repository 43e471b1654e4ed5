#include "src/exec/shard.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "src/base/futex.h"
#include "src/base/machine.h"

namespace weft {

namespace {

// While something is unfinished in the background: how often to look where no descriptor can tell.
constexpr Nanos service_period = nanos_per_ms;
constexpr int wire_budget = 64;
constexpr int rounds_per_us =
    12;  // idle rounds of one shard in a microsecond, roughly; only the order matters
constexpr int64_t spin_us_default = 30;

int spin_rounds_for(const ShardConfig& config) {
    const int64_t fitting = config.ranks_on_host <= cores_usable() ? spin_us_default : 0;
    return static_cast<int>((config.spin_us >= 0 ? config.spin_us : fitting) * rounds_per_us);
}

std::vector<Links::Peer> link_peers(const ShardConfig& config) {
    std::vector<Links::Peer> peers;
    for (const PeerRoute& route : config.peers) {
        peers.push_back({route.wire, route.address});
    }
    return peers;
}

LinkConfig link_config(const ShardConfig& config) {
    LinkConfig link;
    link.rank = static_cast<uint32_t>(config.rank);
    link.rank_count = static_cast<uint32_t>(config.rank_count);
    link.eager_bytes = static_cast<uint32_t>(config.limits.eager_bytes);
    link.channels = channel_count;
    return link;
}

}  // namespace

Shard::Impl::Impl(ShardConfig from)
    : config(std::move(from)),
      links(link_config(config), link_peers(config)),
      cache(config.limits, config.rank) {
    spin_rounds = spin_rounds_for(config);
    send_seq.resize(config.peers.size());
    recv_seq.resize(config.peers.size());
    for (Wire* wire : config.wires) {
        if (wire->wait_fd() >= 0) {
            wait_fds.push_back(wire->wait_fd());
        }
        polling = polling || wire->caps().needs_polling;
    }
    coll.run = std::make_unique<Run>(context());
    if (config.reactor != nullptr) {
        gate = std::make_shared<ServiceGate>();
        gate->shard = this;
        service_fd = config.reactor->add(config.doorbell->event_fd(), 0,
                                         [held = gate](uint32_t) { held->service(); });
    }
}

Shard::Impl::~Impl() {
    closing = true;
    if (gate) {
        const std::lock_guard lock(gate->mutex);
        gate->shard = nullptr;
    }
    if (config.reactor != nullptr) {
        config.reactor->remove(service_fd);
    }
    fail(make_error(Code::aborted, Scope::communicator,
                    config.label + ": the communicator is gone"));
}

void ServiceGate::service() {
    const std::lock_guard lock(mutex);
    if (shard != nullptr) {
        shard->service();
    }
}

RunContext Shard::Impl::context() {
    return RunContext{&links, &pool, &counters, &config};
}

Result<TicketPtr> Shard::Impl::submit(std::vector<Call> calls) {
    auto ticket = std::make_shared<Ticket>();
    bool ring = false;
    {
        const std::lock_guard lock(queue_mutex);
        if (fail_cause) {
            return *fail_cause;
        }
        queue.push_back(Bundle{std::move(calls), ticket});
        ring = work_open.fetch_add(1, std::memory_order_acq_rel) > 0;
    }
    if (ring) {
        config.doorbell->ring_always();
    }
    return ticket;
}

void Shard::Impl::fail(const Error& error) {
    {
        const std::lock_guard lock(queue_mutex);
        if (!fail_cause) {
            fail_cause = error;
        }
    }
    fail_requested.store(true, std::memory_order_release);
    config.doorbell->ring_always();
    drive_mutex.lock();
    take();
    progress(clock_now());
    leave();
}

// ---- driving

void Shard::Impl::take() {
    if (service_armed) {
        service_armed = false;
        config.reactor->modify(service_fd, 0);
        config.doorbell->disarm();
    }
}

void Shard::Impl::leave() {
    const bool rest = !quiet() && config.reactor != nullptr && !closing;
    drive_mutex.unlock();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiters.load(std::memory_order_seq_cst) > 0) {
        waiters_wake();
    } else if (rest) {
        background();
    }
}

void Shard::Impl::waiters_wake() {
    handover.fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(handover, false);
}

void Shard::Impl::background() {
    if (config.reactor != nullptr) {
        config.reactor->post([held = gate] { held->service(); });
    }
}

void Shard::Impl::service() {
    if (!drive_mutex.try_lock()) {
        return;  // whoever drives hands over when it leaves
    }
    take();
    const Nanos begin = clock_now();
    Nanos now = begin;
    while (progress(now) && now - begin < nanos_per_ms) {
        now = clock_now();
    }
    bool soon = false;
    if (!quiet() && !closing) {
        idle_report(now);
        snapshot();
        config.doorbell->arm(SleepMode::on_eventfd);
        config.reactor->modify(service_fd, EPOLLIN);
        service_armed = true;
        soon = progress(now);
        if (!timer_set.exchange(true)) {
            config.reactor->at(now + service_period, [held = gate, flag = &timer_set] {
                const std::lock_guard lock(held->mutex);
                if (held->shard != nullptr) {
                    flag->store(false);
                    held->shard->service();
                }
            });
        }
    }
    drive_mutex.unlock();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (waiters.load(std::memory_order_seq_cst) > 0) {
        waiters_wake();
    }
    if (soon) {
        background();
    }
}

bool Shard::Impl::wires_armed() {
    for (Wire* wire : config.wires) {
        if (!wire->arm()) {
            return false;
        }
    }
    return true;
}

// Lateness is reported, never fatal: ranks legitimately arrive minutes late.
bool Shard::Impl::idle_report(Nanos now) {
    if (config.late_report <= 0 || now - last_move < config.late_report ||
        now - last_report < config.late_report) {
        return false;
    }
    last_report = now;
    counters.late_reports++;
    std::string what = coll.active
                           ? format("%s #%u waits for %s", args_text(coll.run->args()).c_str(),
                                    op_seq, coll.run->waiting_for().c_str())
                           : std::string();
    for (const auto& slot : pairs) {
        if (slot->active) {
            what += format("%ssend/recv #%u waits for %s", what.empty() ? "" : "; ",
                           slot->run->seq(), slot->run->waiting_for().c_str());
            break;
        }
    }
    if (what.empty()) {
        what = "connecting";
    }
    LOG(warn, coll, "%s: no progress for %lld s: %s", config.label.c_str(),
        static_cast<long long>((now - last_move) / nanos_per_s), what.c_str());
    return true;
}

bool Shard::Impl::progress(Nanos now) {
    if (fail_requested.load(std::memory_order_acquire) && !broken) {
        const std::lock_guard lock(queue_mutex);
        broken_soon = *fail_cause;
    }
    bool moved = false;
    if (!broken && !broken_soon) {
        moved = !bundle && bundle_begin();
        moved = links.progress(*this, now, wire_budget) > 0 || moved;
        if (bundle && !broken_soon) {
            moved = bundle_advance() || moved;
        }
    }
    if (broken_soon && !broken) {
        const bool own = !fail_requested.load(std::memory_order_acquire);
        break_down(*broken_soon, own);
        moved = true;
    }
    if (moved) {
        last_move = now;
    }
    return moved;
}

Shard::Counters Shard::Impl::counters_now() const {
    Counters now;
    now.ops = counters;
    const LinkCounters& link = links.counters();
    now.ops.grants = link.grants;
    now.ops.again = link.again;
    now.ops.duplicates_dropped = link.duplicates_dropped;
    now.ops.stale_dropped += link.stale_dropped;
    for (const Wire* wire : config.wires) {
        now.wires.emplace_back(wire->caps().name, wire->counters());
    }
    return now;
}

void Shard::Impl::snapshot() {
    const std::lock_guard lock(kept_mutex);
    kept = counters_now();
}

Shard::Counters Shard::Impl::counters_read() {
    if (drive_mutex.try_lock()) {
        snapshot();
        leave();
    }
    const std::lock_guard lock(kept_mutex);
    return kept;
}

// ---- bundles

bool Shard::Impl::bundle_begin() {
    if (work_open.load(std::memory_order_acquire) == 0) {
        return false;
    }
    {
        const std::lock_guard lock(queue_mutex);
        if (queue.empty()) {
            return false;
        }
        bundle = std::move(queue.front());
        queue.pop_front();
    }
    next_call = 0;
    coll_program = nullptr;
    self_pairs_copy();
    for (const Call& call : bundle->calls) {
        if (call.coll != Coll::send_recv || call.root == config.rank) {
            continue;
        }
        const auto peer = static_cast<uint32_t>(call.root);
        const uint32_t seq = call.is_send ? send_seq[peer]++ : recv_seq[peer]++;
        pair_starts.push_back(PairStart{call, seq});
        const Result<void> prepared = links.prepare(peer);
        if (!prepared.ok()) {
            broken_soon = prepared.error();
        }
    }
    return true;
}

// A Send to oneself meets the Recv from oneself of the same group, in order (the border checked
// that they pair up).
void Shard::Impl::self_pairs_copy() {
    std::vector<const Call*> sends;
    size_t used = 0;
    for (const Call& call : bundle->calls) {
        if (call.coll == Coll::send_recv && call.root == config.rank && call.is_send) {
            sends.push_back(&call);
        }
    }
    for (const Call& call : bundle->calls) {
        if (call.coll == Coll::send_recv && call.root == config.rank && !call.is_send &&
            used < sends.size()) {
            const Call& from = *sends[used++];
            const uint64_t bytes =
                std::min(call.count * size_of(call.type), from.count * size_of(from.type));
            if (bytes > 0 && call.recv != from.send) {
                copy_bytes(call.recv, from.send, bytes);
                counters.copied_bytes += bytes;
            }
        }
    }
}

plan::Request Shard::Impl::request_for(const Call& call) const {
    plan::Request request;
    request.coll = call.coll;
    request.rank_count = config.rank_count;
    request.root = call.root;
    request.count = call.count;
    request.elem_bytes = static_cast<uint32_t>(size_of(call.type));
    request.one_host = config.one_host;
    // A peer's raw input cannot be loaded where every rank scales its own first.
    request.peer_load = config.peer_load && call.op != RedOp::pre_mul_sum &&
                        !(call.op == RedOp::avg && is_float(call.type));
    return request;
}

bool Shard::Impl::collective_begin() {
    const auto& calls = bundle->calls;
    while (next_call < calls.size() && calls[next_call].coll == Coll::send_recv) {
        next_call++;
    }
    if (next_call == calls.size()) {
        return false;
    }
    if (coll_program == nullptr) {
        Result<const Program*> program = cache.get(request_for(calls[next_call]));
        if (!program.ok()) {
            broken_soon = program.error();
            return false;
        }
        coll_program = program.value();
        for (const int32_t peer : coll_program->peers) {
            const Result<void> prepared = links.prepare(static_cast<uint32_t>(peer));
            if (!prepared.ok()) {
                broken_soon = prepared.error();
                return false;
            }
        }
    }
    for (const int32_t peer : coll_program->peers) {
        if (!links.up(static_cast<uint32_t>(peer))) {
            return false;
        }
    }
    op_seq++;
    const Result<void> begun = run_begin(coll, coll_program, calls[next_call], op_seq);
    if (!begun.ok()) {
        broken_soon = begun.error();
    }
    coll_program = nullptr;
    next_call++;
    return true;
}

Result<const Program*> Shard::Impl::pair_program(const Call& call) {
    const uint64_t bytes = call.count * size_of(call.type);
    const plan::Choice choice = TRY(plan::choose_pair(bytes, config.limits));
    const plan::RankPlan part = plan::pair_plan(call.is_send, config.rank, call.root);
    pair_programs.push_back(std::make_unique<Program>(TRY(program_build(choice, part, bytes, 1))));
    return static_cast<const Program*>(pair_programs.back().get());
}

bool Shard::Impl::pairs_begin() {
    bool moved = false;
    for (size_t i = 0; i < pair_starts.size() && !broken_soon;) {
        const PairStart start = pair_starts[i];
        if (!links.up(static_cast<uint32_t>(start.call.root))) {
            i++;
            continue;
        }
        pair_starts.erase(pair_starts.begin() + static_cast<std::ptrdiff_t>(i));
        Result<const Program*> program = pair_program(start.call);
        const Result<void> begun =
            program.ok() ? run_begin(slot_take(), program.value(), start.call, start.seq)
                         : Result<void>(program.error());
        if (!begun.ok()) {
            broken_soon = begun.error();
        } else {
            pairs_active++;
        }
        moved = true;
    }
    return moved;
}

Shard::Impl::Slot& Shard::Impl::slot_take() {
    for (const auto& slot : pairs) {
        if (!slot->active) {
            return *slot;
        }
    }
    pairs.push_back(std::make_unique<Slot>());
    pairs.back()->run = std::make_unique<Run>(context());
    return *pairs.back();
}

Result<void> Shard::Impl::run_begin(Slot& slot, const Program* program, const Call& call,
                                    uint32_t seq) {
    slot.id = ++next_run_id;
    slot.active = true;
    counters.ops++;
    TRY(slot.run->start(program, call, slot.id, seq));
    early_replay(*slot.run);
    return {};
}

bool Shard::Impl::bundle_advance() {
    bool moved = !pair_starts.empty() && pairs_begin();
    if (pairs_active > 0) {
        for (const auto& slot : pairs) {
            if (!slot->active || broken_soon) {
                continue;
            }
            Result<bool> step = slot->run->advance();
            if (!step.ok()) {
                broken_soon = step.error();
            } else if (slot->run->finished()) {
                slot->run->close();
                slot->active = false;
                pairs_active--;
                moved = true;
            } else {
                moved = moved || step.value();
            }
        }
    }
    while (!broken_soon && (coll.active || collective_begin())) {
        Result<bool> step = coll.run->advance();
        if (!step.ok()) {
            broken_soon = step.error();
            break;
        }
        moved = moved || step.value();
        if (!coll.run->finished()) {
            break;
        }
        coll.run->close();
        coll.active = false;
        moved = true;
    }
    if (!broken_soon && !coll.active && next_call == bundle->calls.size() && pairs_active == 0 &&
        pair_starts.empty()) {
        bundle_finish();
        moved = true;
    }
    return moved;
}

void Shard::Impl::bundle_finish() {
    const TicketPtr ticket = std::move(bundle->ticket);
    bundle.reset();
    pair_programs.clear();
    ticket_finish(*ticket, nullptr);
}

void Shard::Impl::ticket_finish(Ticket& ticket, const Error* error) {
    if (error != nullptr) {
        ticket.error_ = *error;
    }
    ticket.state_.store(error != nullptr ? Ticket::State::failed : Ticket::State::done,
                        std::memory_order_seq_cst);
    work_open.fetch_sub(1, std::memory_order_acq_rel);
    if (waiters.load(std::memory_order_seq_cst) > 0) {
        waiters_wake();
    }
}

// ---- facts

bool Shard::Impl::future(const MsgHeader& header, uint32_t peer) const {
    if (header.channel < channel_pair_data) {
        return static_cast<int32_t>(header.seq - op_seq) > 0;
    }
    const uint32_t next = header.channel == channel_pair_grant ? send_seq[peer] : recv_seq[peer];
    if (static_cast<int32_t>(header.seq - next) >= 0) {
        return true;
    }
    return std::any_of(pair_starts.begin(), pair_starts.end(), [&](const PairStart& start) {
        return static_cast<uint32_t>(start.call.root) == peer && start.seq == header.seq &&
               start.call.is_send == (header.channel == channel_pair_grant);
    });
}

void Shard::Impl::on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) {
    counters.messages++;
    if (coll.active && coll.run->wants(header, slot.peer)) {
        deliver(*coll.run, header, payload, slot);
        return;
    }
    for (const auto& pair : pairs) {
        if (pair->active && pair->run->wants(header, slot.peer)) {
            deliver(*pair->run, header, payload, slot);
            return;
        }
    }
    if (future(header, slot.peer)) {
        early.push_back(Early{header, payload, slot});
        return;
    }
    counters.stale_dropped++;
    links.slot_release(slot);
}

void Shard::Impl::deliver(Run& run, const MsgHeader& header, const std::byte* payload,
                          SlotRef slot) {
    const Args theirs{header.args, header.root};
    if (theirs == run.args()) {
        run.on_message(header, payload, slot);
        return;
    }
    if (!broken_soon) {
        broken_soon =
            make_error(Code::invalid_usage, Scope::communicator,
                       format("%s calls %s where %s calls %s (%s %u): call the same operations "
                              "with the same arguments "
                              "in the same order on all ranks",
                              config.label.c_str(), args_text(run.args()).c_str(),
                              config.peers[slot.peer].name.c_str(), args_text(theirs).c_str(),
                              run.is_pair() ? "pair" : "operation", header.seq));
    }
    links.slot_release(slot);
}

void Shard::Impl::early_replay(Run& run) {
    for (size_t i = 0; i < early.size();) {
        if (!run.wants(early[i].header, early[i].slot.peer)) {
            i++;
            continue;
        }
        const Early message = early[i];
        early[i] = early.back();
        early.pop_back();
        deliver(run, message.header, message.payload, message.slot);
    }
}

void Shard::Impl::on_grant_filled(uint64_t cookie) {
    const auto id = static_cast<uint32_t>(cookie >> 32);
    if (coll.active && coll.id == id) {
        coll.run->on_grant_filled(static_cast<uint32_t>(cookie));
        return;
    }
    for (const auto& slot : pairs) {
        if (slot->active && slot->id == id) {
            slot->run->on_grant_filled(static_cast<uint32_t>(cookie));
            return;
        }
    }
}

void Shard::Impl::on_put_delivered(uint64_t cookie) {
    const auto id = static_cast<uint32_t>(cookie >> 32);
    if (coll.active && coll.id == id) {
        coll.run->on_put_delivered(static_cast<uint32_t>(cookie));
        return;
    }
    for (const auto& slot : pairs) {
        if (slot->active && slot->id == id) {
            slot->run->on_put_delivered(static_cast<uint32_t>(cookie));
            return;
        }
    }
}

void Shard::Impl::on_link_failure(uint32_t peer, Error error) {
    if (!broken_soon) {
        error.what = format("%s: the link to %s failed: %s", config.label.c_str(),
                            config.peers[peer].name.c_str(), error.what.c_str());
        error.scope = Scope::communicator;
        broken_soon = std::move(error);
    }
}

// Ends everything with the first cause; afterwards no peer reaches user memory.
void Shard::Impl::break_down(Error error, bool own) {
    broken = error;
    {
        const std::lock_guard lock(queue_mutex);
        if (!fail_cause) {
            fail_cause = error;
        }
        fail_requested.store(true, std::memory_order_release);
    }
    if (coll.active) {
        coll.run->close();
        coll.active = false;
    }
    for (const auto& slot : pairs) {
        if (slot->active) {
            slot->run->close();
            slot->active = false;
        }
    }
    pairs_active = 0;
    pair_starts.clear();
    early.clear();
    std::vector<TicketPtr> tickets;
    if (bundle) {
        tickets.push_back(std::move(bundle->ticket));
        bundle.reset();
    }
    {
        const std::lock_guard lock(queue_mutex);
        for (Bundle& waiting : queue) {
            tickets.push_back(std::move(waiting.ticket));
        }
        queue.clear();
    }
    for (const TicketPtr& ticket : tickets) {
        ticket_finish(*ticket, &error);
    }
    if (own && config.on_error) {
        config.on_error(error);
    }
}

// ---- the public face

Shard::Shard(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {
}
Shard::~Shard() = default;

Result<std::unique_ptr<Shard>> Shard::create(ShardConfig config) {
    ASSERT(config.doorbell != nullptr &&
           config.peers.size() == static_cast<size_t>(config.rank_count));
    for (const Wire* wire : config.wires) {
        const size_t most = sizeof(MsgHeader) + config.limits.eager_bytes + sizeof(GrantBody);
        if (wire->caps().inline_bytes < most) {
            return make_error(
                Code::invalid_argument, Scope::communicator,
                format("WEFT_EAGER_BYTES=%llu is more than %s carries in one message: use at most "
                       "%zu",
                       static_cast<unsigned long long>(config.limits.eager_bytes),
                       wire->caps().name.c_str(),
                       wire->caps().inline_bytes - sizeof(MsgHeader) - sizeof(GrantBody)));
        }
    }
    return std::unique_ptr<Shard>(new Shard(std::make_unique<Impl>(std::move(config))));
}

Result<TicketPtr> Shard::submit(std::vector<Call> calls) {
    return impl_->submit(std::move(calls));
}
void Shard::background() {
    impl_->background();
}
bool Shard::poke() {
    if (!impl_->drive_mutex.try_lock()) {
        return false;
    }
    impl_->take();
    const bool moved = impl_->progress(clock_now());
    impl_->leave();
    return moved;
}
void Shard::fail(const Error& error) {
    impl_->fail(error);
}
bool Shard::quiet() const {
    return impl_->quiet();
}
Shard::Counters Shard::counters() const {
    return impl_->counters_read();
}
const ShardConfig& Shard::config() const {
    return impl_->config;
}

}  // namespace weft
