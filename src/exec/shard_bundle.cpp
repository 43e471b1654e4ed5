// What a driver does with a bundle: begin it, advance its collective and its pairs, hand arrivals
// to the runs they belong to, end it; and how everything ends after a failure.
#include <algorithm>
#include <cstring>
#include <utility>

#include "src/exec/shard.h"

namespace weft {

namespace {

// A rank that ends for a reason closes its links, and that may be heard before the reason is. The
// control plane tells of a failure at once and of a death after 200 ms (death_grace in
// src/bootstrap/group_tree.cpp): this must be longer than both.
constexpr Nanos link_grace = 300 * nanos_per_ms;

}  // namespace

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
    bundle_start();
    return true;
}

bool Shard::Impl::single_begin(const Call& call) {
    uint32_t none = 0;
    if (fail_requested.load(std::memory_order_acquire) ||
        !work_open.compare_exchange_strong(none, 1, std::memory_order_acq_rel)) {
        return false;
    }
    single.state_.store(Ticket::State::pending, std::memory_order_relaxed);
    bundle.calls.assign(1, call);
    bundle_start();
    return true;
}

void Shard::Impl::bundle_start() {
    bundle_open = advance_due = true;
    next_call = 0;
    coll_program = nullptr;
    if (bundle.apart) {
        beside_start(bundle);
        return;
    }
    self_pairs_copy(bundle.calls);
    pairs_prepare(bundle.calls, nullptr);
}

// The next bundle, if it may run beside those under way.
bool Shard::Impl::bundle_join() {
    if (!bundle.apart || beside.size() >= bundles_apart_max ||
        work_open.load(std::memory_order_acquire) <= beside.size()) {
        return false;
    }
    Bundle next;
    {
        const std::lock_guard lock(queue_mutex);
        if (queue.empty() || !queue.front().apart) {
            return false;
        }
        next = std::move(queue.front());
        queue.pop_front();
    }
    beside_start(next);
    advance_due = true;
    return true;
}

void Shard::Impl::beside_start(Bundle& started) {
    self_pairs_copy(started.calls);
    const auto others = std::ranges::count_if(
        started.calls, [this](const Call& call) { return call.root != config.rank; });
    if (others == 0) {
        ticket_finish(*std::exchange(started.ticket, nullptr), nullptr);
    } else {
        beside.push_back({std::move(started.ticket), static_cast<size_t>(others)});
        pairs_prepare(started.calls, &beside.back());
    }
    started.calls.clear();
}

void Shard::Impl::pairs_prepare(const std::vector<Call>& calls, Beside* of) {
    for (const Call& call : calls) {
        if (call.coll != Coll::send_recv || call.root == config.rank) {
            continue;
        }
        const auto peer = static_cast<uint32_t>(call.root);
        const uint32_t seq = call.is_send ? send_seq[peer]++ : recv_seq[peer]++;
        pair_starts.push_back(PairStart{call, seq, of});
        const Result<void> prepared = links.prepare(peer);
        if (!prepared.ok()) {
            broken_soon = prepared.error();
        }
    }
}

// A Send to oneself meets the Recv from oneself of the same group, in order (the border checked
// that they pair up).
void Shard::Impl::self_pairs_copy(const std::vector<Call>& calls) {
    if (calls.size() < 2) {
        return;
    }
    std::vector<const Call*> sends;
    size_t used = 0;
    for (const Call& call : calls) {
        if (call.coll == Coll::send_recv && call.root == config.rank && call.is_send) {
            sends.push_back(&call);
        }
    }
    for (const Call& call : calls) {
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
    request.cluster = &config.cluster;
    // A peer's raw input cannot be loaded where every rank scales its own first.
    request.peer_load = config.peer_load && call.op != RedOp::pre_mul_sum &&
                        !(call.op == RedOp::avg && is_float(call.type));
    return request;
}

bool Shard::Impl::collective_begin() {
    const auto& calls = bundle.calls;
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

Result<std::unique_ptr<Program>> Shard::Impl::pair_program(const Call& call) const {
    const uint64_t bytes = call.count * size_of(call.type);
    const plan::Limits& limits = call.on_device ? limits_on_device : config.limits;
    const plan::Choice choice = TRY(plan::choose_pair(bytes, limits));
    const plan::RankPlan part = plan::pair_plan(call.is_send, config.rank, call.root);
    return std::make_unique<Program>(TRY(program_build(choice, part, bytes, 1)));
}

Result<void> Shard::Impl::pair_begin(const PairStart& start) {
    std::unique_ptr<Program> program = TRY(pair_program(start.call));
    Slot& slot = slot_take();
    slot.program = std::move(program);
    slot.of = start.of;
    return run_begin(slot, slot.program.get(), start.call, start.seq);
}

// Its bundle may have ended with it, if that is apart.
void Shard::Impl::pair_end(Slot& slot) {
    slot.run->close();
    slot.active = false;
    pairs_active--;
    Beside* const of = std::exchange(slot.of, nullptr);
    if (of != nullptr && --of->left == 0) {
        const TicketPtr ticket = std::move(of->ticket);
        beside.remove_if([of](const Beside& one) { return &one == of; });
        ticket_finish(*ticket, nullptr);
    }
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
        const Result<void> begun = pair_begin(start);
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

// Back-pressure is all that goes away without news.
bool Shard::Impl::bundle_progress() {
    const uint64_t again = links.counters().again;
    const bool moved = bundle_open && !broken_soon && bundle_advance();
    advance_due = bundle_open && links.counters().again != again;
    return moved;
}

bool Shard::Impl::bundle_advance() {
    bool moved = !pair_starts.empty() && pairs_begin();
    if (pairs_active > 0) {
        for (const auto& slot : pairs) {
            if (!slot->active || broken_soon) {
                continue;
            }
            const bool stepped = slot->run->advance();
            if (slot->run->failure() != nullptr) {
                broken_soon = *slot->run->failure();
            } else if (slot->run->finished()) {
                pair_end(*slot);
                moved = true;
            } else {
                moved = moved || stepped;
            }
        }
    }
    while (!broken_soon && (coll.active || collective_begin())) {
        moved = coll.run->advance() || moved;
        if (coll.run->failure() != nullptr) {
            broken_soon = *coll.run->failure();
            break;
        }
        if (!coll.run->finished()) {
            break;
        }
        coll.run->close();
        coll.active = false;
        moved = true;
    }
    if (!broken_soon && !coll.active && next_call == bundle.calls.size() && pairs_active == 0 &&
        pair_starts.empty()) {
        bundle_finish();
        moved = true;
    }
    return moved;
}

void Shard::Impl::bundle_finish() {
    const bool told = bundle.apart;
    const TicketPtr ticket = bundle_close();
    if (!told) {
        ticket_finish(ticket != nullptr ? *ticket : single, nullptr);
    }
}

TicketPtr Shard::Impl::bundle_close() {
    bundle_open = bundle.apart = false;
    bundle.calls.clear();
    return std::move(bundle.ticket);
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

// The clock is read, because a driver's `now` may be as old as its last operation.
void Shard::Impl::on_link_failure(uint32_t peer, Error error) {
    if (!lost_link) {
        error.what = format("%s: the link to %s failed: %s", config.label.c_str(),
                            config.peers[peer].name.c_str(), error.what.c_str());
        error.scope = Scope::communicator;
        lost_link = LostLink{std::move(error), clock_now() + link_grace};
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
            slot->of = nullptr;
        }
    }
    pairs_active = 0;
    pair_starts.clear();
    early.clear();
    std::vector<TicketPtr> tickets;
    for (Beside& one : beside) {
        tickets.push_back(std::move(one.ticket));
    }
    beside.clear();
    if (bundle_open && !bundle.apart) {
        tickets.push_back(bundle_close());
    }
    bundle_open = bundle.apart = false;
    {
        const std::lock_guard lock(queue_mutex);
        for (Bundle& waiting : queue) {
            tickets.push_back(std::move(waiting.ticket));
        }
        queue.clear();
    }
    for (const TicketPtr& ticket : tickets) {
        ticket_finish(ticket != nullptr ? *ticket : single, &error);
    }
    if (own && config.on_error) {
        config.on_error(error);
    }
}

}  // namespace weft
