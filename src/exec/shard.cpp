#include "src/exec/shard.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "src/base/futex.h"
#include "src/base/machine.h"
#include "transports/memory.h"

namespace weft {

namespace {

// While something is unfinished in the background: how often to look where no descriptor can tell.
constexpr Nanos service_period = nanos_per_ms;
constexpr int wire_budget = 64;
// A send or receive that has waited so long tells its other side what it is.
constexpr Nanos say_after = nanos_per_s;
constexpr int rounds_per_us =
    12;  // idle rounds of one shard in a microsecond, roughly; only the order matters
// Several times what waking a sleeper takes (50 us on a virtual machine): were it less, two ranks
// that once slept would go on waking each other in every operation.
constexpr int64_t spin_us_default = 250;

int spin_rounds_for(const ShardConfig& config) {
    const int64_t fitting = config.cores_enough ? spin_us_default : 0;
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
      cache(config.planner ? config.planner : plan::planner_by_rule(config.limits, config.rank)) {
    spin_rounds = spin_rounds_for(config);
    limits_on_device = config.limits;
    limits_on_device.eager_bytes = 0;
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

Result<void> Shard::Impl::on_device_check(const Call& call) const {
    if (!call.on_device) {
        return {};
    }
    const void* const at = call.is_send ? call.send : call.recv;
    const uint64_t bytes = call.count * size_of(call.type);
    const auto known = known_find(at, bytes);
    if (call.coll != Coll::send_recv || call.root == config.rank || !known ||
        known->kind == MemoryKind::host) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%s: %llu bytes at %p cannot be moved as memory of a GPU: it takes a send or "
                   "receive with another rank, and memory that was named as a GPU's",
                   config.label.c_str(), static_cast<unsigned long long>(bytes), at));
    }
    const PeerRoute& peer = config.peers[static_cast<size_t>(call.root)];
    if (!peer.wire->caps().device_memory) {
        return make_error(
            Code::unsupported, Scope::call,
            format("%s: %s is reached via %s, which does not reach memory of GPUs",
                   config.label.c_str(), peer.name.c_str(), peer.wire->caps().name.c_str()));
    }
    return {};
}

Result<TicketPtr> Shard::Impl::submit(std::vector<Call> calls, bool apart) {
    for (const Call& call : calls) {
        ASSERT(!apart || call.coll == Coll::send_recv);
        TRY(on_device_check(call));
    }
    auto ticket = std::make_shared<Ticket>();
    bool ring = false;
    {
        const std::lock_guard lock(queue_mutex);
        if (fail_cause) {
            return *fail_cause;
        }
        queue.push_back(Bundle{std::move(calls), ticket, apart});
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
        soon = progress_all(now);
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

void Shard::Impl::arguments_say(Nanos now) {
    if (now - last_move < say_after) {
        return;
    }
    for (const auto& slot : pairs) {
        if (slot->active) {
            slot->run->arguments_say();
        }
    }
}

// Lateness is reported, never fatal: ranks legitimately arrive minutes late.
bool Shard::Impl::idle_report(Nanos now) {
    arguments_say(now);
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

bool Shard::Impl::bundles_progress(Nanos now) {
    bool moved = bundle_open ? bundle_join() : bundle_begin();
    // What has just begun sends before it listens; later only news can move it.
    if (advance_due) {
        moved = bundle_progress() || moved;
    }
    if (!broken_soon && links.progress(*this, now, wire_budget) > 0) {
        if (!lost_link) {
            bundle_progress();
        }
        moved = true;
    }
    return moved;
}

// Peers are still heard: a message of theirs may say what is wrong.
bool Shard::Impl::lost_link_progress(Nanos now) {
    const bool moved = links.progress(*this, now, wire_budget) > 0;
    if (!broken_soon && now >= lost_link->cause_from) {
        broken_soon = std::move(lost_link->error);
    }
    return moved;
}

bool Shard::Impl::progress(Nanos now) {
    if (fail_requested.load(std::memory_order_acquire) && !broken) {
        const std::lock_guard lock(queue_mutex);
        broken_soon = *fail_cause;
    }
    bool moved = false;
    if (!broken && !broken_soon) {
        moved = lost_link ? lost_link_progress(now) : bundles_progress(now);
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
    now.ops.copied_bytes += link.copied_bytes;
    now.ops.again = link.again;
    now.ops.duplicates_dropped = link.duplicates_dropped;
    now.ops.stale_dropped += link.stale_dropped;
    for (const Wire* wire : config.wires) {
        now.wires.emplace_back(wire->caps().name, wire->counters());
    }
    for (uint32_t peer = 0; peer < config.peers.size(); peer++) {
        if (const uint64_t bytes = links.bytes_to(peer); bytes > 0) {
            now.sent.emplace_back(peer, bytes);
        }
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
        const size_t tile_most = wire->caps().grant_bytes_max;
        if (tile_most != 0 && config.limits.tile_bytes > tile_most) {
            return make_error(
                Code::invalid_argument, Scope::communicator,
                format("WEFT_TILE_BYTES=%llu is more than %s takes in one grant, for memory is "
                       "registered in windows: use at most %zu",
                       static_cast<unsigned long long>(config.limits.tile_bytes),
                       wire->caps().name.c_str(), tile_most));
        }
    }
    return std::unique_ptr<Shard>(new Shard(std::make_unique<Impl>(std::move(config))));
}

Result<TicketPtr> Shard::submit(std::vector<Call> calls, bool apart) {
    return impl_->submit(std::move(calls), apart);
}
void Shard::background() {
    impl_->background();
}
bool Shard::poke() {
    if (!impl_->drive_mutex.try_lock()) {
        return false;
    }
    impl_->take();
    const bool moved = impl_->progress_all(clock_now());
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
