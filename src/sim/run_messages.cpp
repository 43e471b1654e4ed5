// Messages from the post to the fact they become, and what comes back: deliveries and credits.
#include <algorithm>

#include "src/base/log.h"
#include "src/sim/run.h"

namespace weft::sim {

using plan::StepKind;

namespace {

constexpr uint32_t ahead_max = 64;

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t random_next(uint64_t& state) {
    state += 0x9e3779b97f4a7c15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

}  // namespace

Picoseconds Run::late() {
    if (options_.jitter_ns <= 0) {
        return 0;
    }
    const double share = static_cast<double>(random_next(random_) >> 11) * 0x1.0p-53;
    return ps(options_.jitter_ns * share);
}

uint32_t Run::message_new(const Message& message) {
    if (messages_free_.empty()) {
        messages_free_.push_back(static_cast<uint32_t>(messages_.size()));
        messages_.emplace_back();
    }
    const uint32_t index = messages_free_.back();
    messages_free_.pop_back();
    messages_[index] = message;
    return index;
}

// Over the port inside the host, or over the rails that both ranks are near to.
void Run::route(uint32_t index, uint32_t rank, int32_t peer, uint64_t bytes, uint64_t payload) {
    Message& message = messages_[index];
    message.inter = inter(rank, peer);
    if (message.inter) {
        route_rails(index, rank, peer, bytes, payload, late());
        return;
    }
    const uint32_t from = wires_.intra_port(rank);
    message.latency = wires_.latency(from);
    message.unarrived = message.unnoticed = 1;
    wires_.send(from, wires_.intra_port(image(peer)), {index, bytes, payload, false, false, late()},
                now_);
}

// A large put is cut by the rates of its rails. What is too small to be cut takes them in turn.
void Run::route_rails(uint32_t index, uint32_t rank, int32_t peer, uint64_t bytes, uint64_t payload,
                      Picoseconds delay) {
    Message& message = messages_[index];
    const auto own = network_.own_rails(network_.local_of(static_cast<int32_t>(rank)));
    const auto theirs = network_.own_rails(network_.local_of(peer));
    const bool by_value = payload != bytes;
    const uint32_t pieces = by_value ? 1 : piece_count(rank, peer, bytes);
    message.unarrived = message.unnoticed = static_cast<uint16_t>(pieces);
    uint32_t& turn = ranks_[rank].rail_turn;
    const auto count = static_cast<uint32_t>(own.count);
    const auto rail_at = [&](uint32_t i) {
        return own.first + static_cast<int32_t>((turn + i) % count);
    };
    double rate_left = 0;
    for (uint32_t i = 0; i < pieces; i++) {
        rate_left += wires_.rate(wires_.nic_port(rank, rail_at(i)));
    }
    for (uint32_t i = 0; i < pieces; i++) {
        const int32_t rail = rail_at(i);
        const int32_t far_rail = theirs.first + (rail - own.first) % theirs.count;
        const uint32_t from = wires_.nic_port(rank, rail);
        const double share = wires_.rate(from) / rate_left;
        const uint64_t cut = i + 1 == pieces
                                 ? bytes
                                 : static_cast<uint64_t>(static_cast<double>(bytes) * share + 0.5);
        rate_left -= wires_.rate(from);
        bytes -= cut;
        message.latency = std::max(message.latency, wires_.latency(from));
        wires_.send(from, wires_.nic_port(image(peer), far_rail),
                    {index, cut, by_value ? payload : cut, far_rail != rail, false, delay}, now_);
    }
    turn += pieces;
}

// A grant, an expose or a put of this step's tile.
void Run::message_send(uint32_t chain, const SimStep& step) {
    const Chain& at = chains_[chain];
    const uint64_t payload = step.kind == StepKind::put ? payload_of(step, at.tile) : 0;
    const bool by_value = job_.eager || payload == 0;
    Message message;
    message.step = at.step;
    message.chain = chain;
    message.tile = at.tile;
    message.span = at.last_span;
    message.delivery_open = step.kind == StepKind::put && !by_value;
    const uint32_t rank = parts_.chains[chain].rank;
    RankTraffic& sent = inter(rank, step.peer) ? ranks_[rank].inter_sent : ranks_[rank].intra_sent;
    sent.payload_bytes += payload;
    (payload > 0 ? sent.data_messages : sent.control_messages)++;
    const uint64_t bytes = step.kind != StepKind::put ? network_.control_bytes
                           : by_value                 ? payload + network_.header_bytes
                                                      : payload;
    route(message_new(message), rank, step.peer, bytes, payload);
}

// A request to the peer's memory, whose bytes come back: two latencies, no work of the peer's.
void Run::load_send(uint32_t chain, int32_t peer, uint64_t bytes) {
    const uint32_t from = wires_.intra_port(image(peer));
    Message message;
    message.load = true;
    message.chain = chain;
    const Picoseconds request = wires_.latency(from);
    wires_.send(from, wires_.intra_port(parts_.chains[chain].rank),
                {message_new(message), bytes, bytes, false, true, request + late()}, now_);
}

void Run::load_arrived(uint32_t index) {
    const uint32_t chain = messages_[index].chain;
    messages_free_.push_back(index);
    Chain& at = chains_[chain];
    if (--at.loads_left == 0) {
        queue_.push(std::max(now_, at.compute_end), EventKind::chain, chain);
    }
}

// Each piece is noticed by the receiver's thread. The delivery of the whole is known to the
// sender's NIC one latency later, and to its thread when that gets round to it.
void Run::on_arrived(uint32_t index) {
    Message& message = messages_[index];
    if (message.load) {
        load_arrived(index);
        return;
    }
    message.unarrived--;
    if (message.unarrived == 0 && message.delivery_open) {
        queue_.push(now_ + message.latency, EventKind::delivered, index);
    }
    const uint32_t receiver = parts_.chains[step_chain_[parts_.steps[message.step].partner]].rank;
    const Picoseconds noticed = thread_use(receiver, ps(overhead(message.inter).completion_ns));
    if (noticed > now_) {
        queue_.push(noticed, EventKind::noticed, index);
    } else {
        on_noticed(index);
    }
}

void Run::message_done(uint32_t index) {
    const Message& message = messages_[index];
    if (message.unnoticed == 0 && !message.delivery_open) {
        messages_free_.push_back(index);
    }
}

void Run::on_noticed(uint32_t index) {
    Message& message = messages_[index];
    if (--message.unnoticed == 0) {
        if (options_.record) {
            spans_[message.span - 1].landed = static_cast<double>(now_) / 1000;
        }
        fact_add(parts_.steps[message.step].partner, message.tile, message.span);
        message_done(index);
    }
}

void Run::on_delivered(uint32_t index) {
    const Message& message = messages_[index];
    const uint32_t rank = parts_.chains[message.chain].rank;
    const Picoseconds known = thread_use(rank, ps(overhead(message.inter).completion_ns));
    if (known > now_) {
        queue_.push(known, EventKind::known, index);
    } else {
        on_known(index);
    }
}

void Run::on_known(uint32_t index) {
    Message& message = messages_[index];
    message.delivery_open = false;
    const uint32_t rank = parts_.chains[message.chain].rank;
    const uint32_t operand = parts_.steps[message.step].operand;
    ranks_[rank].puts_open--;
    if (--under_way_[operand] == 0) {
        for (uint32_t c = parts_.rank_chains[rank]; c < parts_.rank_chains[rank + 1]; c++) {
            const uint32_t step = chains_[c].step;
            if (chains_[c].blocked == Blocked::delivery && parts_.steps[step].operand == operand) {
                wake(c, Blocked::delivery, message.span);
            }
        }
    }
    message_done(index);
    rank_end_check(rank);
}

// Credits ride on other messages: they take their time, and nobody's.
void Run::credit_send(uint32_t stream, uint32_t span) {
    streams_[stream].span = span;
    queue_.push(now_ + streams_[stream].latency, EventKind::credit, stream);
}

void Run::on_credit(uint32_t stream) {
    streams_[stream].freed++;
    wake(parts_.stream_senders[stream], Blocked::slot, streams_[stream].span);
}

// Messages may overtake each other; a step takes its own tile's.
void Run::fact_add(uint32_t step, uint32_t tile, uint32_t span) {
    Facts& facts = facts_[step];
    const uint32_t distance = tile - facts.all;
    if (distance >= ahead_max) {
        fault_ = step_place(parts_, step) +
                 format(" is %u tiles behind its counterpart: a plan must bound that", distance);
        return;
    }
    facts.ahead |= 1ull << distance;
    while ((facts.ahead & 1) != 0) {
        facts.ahead >>= 1;
        facts.all++;
    }
    facts.span = span;
    const uint32_t chain = step_chain_[step];
    if (chains_[chain].step == step && fact_has(step, chains_[chain].tile)) {
        const StepKind kind = parts_.steps[step].kind;
        wake(chain,
             kind == StepKind::put       ? Blocked::grant
             : parts_.steps[step].expose ? Blocked::expose
                                         : Blocked::put,
             span);
    }
}

bool Run::fact_has(uint32_t step, uint32_t tile) const {
    const Facts& facts = facts_[step];
    const uint32_t distance = tile - facts.all;
    return tile < facts.all || (distance < ahead_max && (facts.ahead >> distance & 1) != 0);
}

}  // namespace weft::sim
