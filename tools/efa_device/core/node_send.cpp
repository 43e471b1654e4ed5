// The packetiser and the scheduler.
//
// 1. Queue pairs with something to send take turns at their NIC, one packet each, as long as the
//    line is free; each has at most `window` packets unanswered.
// 2. A packet's departure is when the line has sent it, plus the delay that chance gives it. Only
//    then its payload is read: the source is the NIC's until the completion.
// 3. A reliable packet that is not answered in time leaves again, until its peer is given up.
#include <algorithm>

#include "src/base/log.h"
#include "tools/efa_device/core/chance.h"
#include "tools/efa_device/core/node.h"

namespace weft::efa {

namespace {

constexpr uint32_t window = 256;                // packets of a queue pair under way
constexpr uint32_t header_on_wire = 64;         // what a packet costs the line beside its payload
constexpr Nanos burst = nanos_per_ms;           // what an idle line may catch up: timers are coarse
constexpr Nanos late_max = 100 * nanos_per_ms;  // the same where something waited all the time
constexpr Nanos full_again = 20'000;            // until a full ring is tried again
constexpr int packets_per_turn = 64;
constexpr int departures_per_turn = 256;

std::vector<Bytes> part_of(const std::vector<Sge>& sges, uint64_t offset, uint32_t length) {
    std::vector<Bytes> parts;
    for (const Sge& sge : sges) {
        if (offset >= sge.length) {
            offset -= sge.length;
            continue;
        }
        const auto take = static_cast<uint32_t>(std::min<uint64_t>(length, sge.length - offset));
        if (take != 0) {
            parts.push_back({reinterpret_cast<const void*>(sge.address + offset), take});
        }
        offset = 0;
        length -= take;
    }
    return parts;
}

std::pair<uint32_t, uint32_t> target_of(const PacketHeader& header) {
    return {gid_host(header.target), qpn_process(header.target_qpn)};
}

}  // namespace

bool Node::progress(Nanos now) {
    const std::lock_guard lock(mutex_);
    return work(now);
}

bool Node::progress_try(Nanos now) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    return lock.owns_lock() && work(now);
}

bool Node::work(Nanos now) {
    if (closed_) {
        return false;
    }
    bool worked = false;
    for (int i = 0; i < departures_per_turn; ++i) {
        const Arrived arrived = wire_.front();
        if (arrived.header == nullptr) {
            break;
        }
        receive(*arrived.header, arrived.payload, now);
        wire_.pop();
        worked = true;
    }
    for (uint32_t i = 0; i < nics_.size(); ++i) {
        for (const auto& [qpn, qp] : nics_[i]->qps) {
            worked = expire(*nics_[i], *qp, now) || worked;
        }
        worked = pump(i, now) || worked;
    }
    return departures(now) || worked;
}

// The first thing that time brings: a departure, a free line, a packet not answered, a fault.
std::optional<Nanos> Node::due(Nanos now) {
    const std::lock_guard lock(mutex_);
    if (closed_) {
        return std::nullopt;
    }
    std::optional<Nanos> first;
    const auto offer = [&first](Nanos at) { first = std::min(first.value_or(at), at); };
    if (!waiting_.empty()) {
        offer(waiting_.top().due);
    }
    if (held_any()) {
        offer(held_until_);
    }
    for (const auto& nic : nics_) {
        if (!nic->turns.empty() || !nic->reads.empty()) {
            offer(std::max(now, nic->free_at));
        }
        for (const auto& [qpn, qp] : nic->qps) {
            if (!qp->flights.empty()) {
                offer(qp->flights.front().due);
            }
        }
    }
    if (const std::optional<Nanos> fault = plan_.next(now - place_.start)) {
        offer(place_.start + *fault);
    }
    return first;
}

// A message is given up when its peer was silent for long; a peer that has ended, sooner.
bool Node::expire(Nic& nic, QueuePair& qp, Nanos now) {
    bool any = false;
    while (!qp.flights.empty() && qp.flights.front().due <= now) {
        Flight flight = qp.flights.front();
        qp.flights.pop_front();
        any = true;
        const auto found = qp.messages.find(flight.message);
        if (found == qp.messages.end() || found->second.answered(flight.packet)) {
            continue;
        }
        const Message& message = found->second;
        const uint32_t qpn = message.request.qpn;
        const Nanos silent = now - message.heard;
        const bool alive = wire_.alive(gid_host(message.target), qpn_process(qpn));
        if (silent >= (alive ? spec_.unresponsive : spec_.gone)) {
            const bool before = qp.heard.count({message.target, qpn}) != 0;
            complete(qp, flight.message, before ? Status::unresponsive : Status::unreachable);
            continue;
        }
        const bool reads = message.request.operation == Operation::read;
        if (reads && silent < spec_.retransmit) {
            qp.flights.push_back({now + spec_.retransmit, flight.message, 0, flight.attempt});
            continue;
        }
        ++flight.attempt;
        qp.again.push_back(flight);
        turn_add(nic, qp);
    }
    return any;
}

bool Node::pump(uint32_t index, Nanos now) {
    Nic& nic = *nics_[index];
    nic.free_at = std::max(nic.free_at, now - (nic.backlog ? late_max : burst));
    bool any = false;
    for (int i = 0; i < packets_per_turn && nic.free_at <= now; ++i) {
        bool sent = read_next(index, now);
        for (size_t turn = nic.turns.size(); turn > 0 && !sent; --turn) {
            const uint32_t qpn = nic.turns.front();
            nic.turns.pop_front();
            QueuePair& qp = *qp_find(index, qpn);
            sent = packet_next(index, qp, now);
            if (!qp.again.empty() || (!qp.unsent.empty() && qp.in_flight < window)) {
                nic.turns.push_back(qpn);
            }
        }
        if (!sent) {
            break;
        }
        any = true;
    }
    nic.backlog = !nic.turns.empty() || !nic.reads.empty();
    return any;
}

bool Node::packet_next(uint32_t index, QueuePair& qp, Nanos now) {
    while (!qp.again.empty()) {
        const Flight flight = qp.again.front();
        qp.again.pop_front();
        const auto found = qp.messages.find(flight.message);
        if (found != qp.messages.end() && !found->second.answered(flight.packet)) {
            count(nics_[index]->counters.retransmits);
            packet_schedule(index, qp, flight.message, flight.packet, flight.attempt, now);
            return true;
        }
    }
    if (qp.unsent.empty() || qp.in_flight >= window) {
        return false;
    }
    const uint64_t number = qp.unsent.front();
    Message& message = qp.messages[number];
    const bool reads = message.request.operation == Operation::read;
    const uint32_t packet = message.next++;
    if (reads || message.next == message.packets) {
        qp.unsent.pop_front();
    }
    ++message.sent;
    ++qp.in_flight;
    packet_schedule(index, qp, number, packet, 0, now);
    return true;
}

void Node::packet_schedule(uint32_t index, QueuePair& qp, uint64_t number, uint32_t packet,
                           uint8_t attempt, Nanos now) {
    const Message& message = qp.messages[number];
    const SendRequest& request = message.request;
    Departure departure;
    PacketHeader& header = departure.header;
    header.kind = request.operation == Operation::send    ? PacketKind::send
                  : request.operation == Operation::write ? PacketKind::write
                                                          : PacketKind::read_request;
    const uint8_t unreliable = qp.init.type == QpType::ud ? flag_unreliable : 0;
    header.flags = static_cast<uint8_t>((request.has_immediate ? flag_immediate : 0) | unreliable);
    header.attempt = attempt;
    header.target = message.target;
    header.source_qpn = qp.qpn;
    header.target_qpn = request.qpn;
    header.qkey = request.qkey;
    header.immediate = request.immediate;
    header.epoch = qp.epoch;
    header.message = number;
    header.packet = packet;
    header.rkey = request.rkey;
    header.message_bytes = message.bytes;
    header.remote_address = request.remote_address;
    header.rnr_try = message.rnr_tries;
    const bool carries = header.kind != PacketKind::read_request;
    header.payload_bytes = carries ? packet_bytes(message.bytes, packet) : 0;
    departure.qpn = qp.qpn;
    departure.epoch = qp.epoch;
    schedule(index, std::move(departure), now);
}

// One packet of what others read here; readers take turns.
bool Node::read_next(uint32_t index, Nanos now) {
    Nic& nic = *nics_[index];
    if (nic.reads.empty()) {
        return false;
    }
    ReadJob job = nic.reads.front();
    nic.reads.pop_front();
    Departure departure;
    PacketHeader& header = departure.header;
    header = job.request;
    header.kind = PacketKind::read_response;
    header.flags = 0;
    header.attempt = job.attempt;
    header.target = job.request.source;
    header.target_qpn = job.request.source_qpn;
    header.source_qpn = job.request.target_qpn;
    header.packet = job.next;
    header.payload_bytes = packet_bytes(header.message_bytes, job.next);
    schedule(index, std::move(departure), now);
    if (++job.next < packet_count(job.request.message_bytes)) {
        nic.reads.push_back(job);
    }
    return true;
}

// Chance has its say here, and the line its price.
void Node::schedule(uint32_t index, Departure departure, Nanos now) {
    Nic& nic = *nics_[index];
    PacketHeader& header = departure.header;
    header.source = nic.gid;
    Nanos delay = spec_.delay;
    if (spec_.reorder != 0) {
        delay += static_cast<Nanos>(decide(spec_.seed, Purpose::delay, header) %
                                    static_cast<uint64_t>(spec_.reorder));
    }
    const uint64_t chance = decide(spec_.seed, Purpose::duplicate, header);
    header.decision = decide(spec_.seed, Purpose::pieces, header);
    header.flags |= happens(chance, spec_.duplicate_ppm) ? flag_place_twice : 0;
    header.flags |= spec_.torn ? flag_place_pieces : 0;
    const int64_t rate = plan_.rate(index, spec_.nics[index].rate, moment(nic, now));
    if (rate > 0) {
        const int64_t bytes = header.payload_bytes + header_on_wire;
        nic.free_at += bytes * nanos_per_s / rate;
    }
    departure.due = std::max(now, nic.free_at) + delay;
    departure.nic = index;
    departure.order = ++orders_;
    log_decision(header, delay);
    waiting_.push(std::move(departure));
}

void Node::log_decision(const PacketHeader& header, Nanos delay) const {
    if (!log_) {
        return;
    }
    const char* names[] = {"send", "write", "read-request", "read-response", "ack"};
    log_(
        format("seed %llu: host %u nic %u qp %#x -> host %u nic %u qp %#x %s message %llu packet "
               "%u attempt %u: delay %lld ns%s%s",
               static_cast<unsigned long long>(spec_.seed), gid_host(header.source),
               gid_nic(header.source), header.source_qpn, gid_host(header.target),
               gid_nic(header.target), header.target_qpn, names[static_cast<int>(header.kind)],
               static_cast<unsigned long long>(header.message), header.packet, header.attempt,
               static_cast<long long>(delay),
               (header.flags & flag_place_twice) != 0 ? ", placed twice" : "",
               (header.flags & flag_place_pieces) != 0 ? ", in pieces" : ""));
}

// Answers are small and cost the line nothing.
void Node::answer(uint32_t index, const PacketHeader& to, Status status, Nanos now) {
    Departure departure;
    departure.nic = index;
    departure.header = to;
    departure.header.kind = PacketKind::ack;
    departure.header.status = status;
    departure.header.flags = 0;
    departure.header.payload_bytes = 0;
    std::swap(departure.header.source, departure.header.target);
    std::swap(departure.header.source_qpn, departure.header.target_qpn);
    departure.due = now + spec_.delay;
    departure.order = ++orders_;
    waiting_.push(std::move(departure));
}

bool Node::departures(Nanos now) {
    bool any = held_go(now);
    for (int i = 0; i < departures_per_turn; ++i) {
        if (waiting_.empty() || waiting_.top().due > now) {
            break;
        }
        Departure departure = waiting_.top();
        waiting_.pop();
        any = true;
        const PeerName to = target_of(departure.header);
        const auto held = held_.find(to);
        if (held != held_.end()) {
            held->second.queue.push_back(std::move(departure));
        } else if (depart(departure, now) == Gone::no_room) {
            Held& first = held_[to];
            first.since = now;
            first.queue.push_back(std::move(departure));
            held_until_ = now + full_again;
        }
    }
    return any;
}

// What waits for room in one ring keeps its order, and holds up nobody else's.
bool Node::held_go(Nanos now) {
    if (held_.empty() || now < held_until_) {
        return false;
    }
    bool any = false;
    for (auto entry = held_.begin(); entry != held_.end();) {
        Held& held = entry->second;
        any = held_try(held, now) || any;
        const bool stuck = now - held.since >= spec_.unresponsive;
        entry = held.queue.empty() && !stuck ? held_.erase(entry) : std::next(entry);
    }
    held_until_ = now + full_again;
    return any;
}

// A process that is stopped takes nothing from its ring, and answers as little as one that is not
// heard: what is for it is given up after the same time, all at once.
bool Node::held_try(Held& held, Nanos now) {
    const size_t before = held.queue.size();
    while (!held.queue.empty()) {
        const Gone gone = depart(held.queue.front(), now);
        if (gone == Gone::no_room) {
            break;
        }
        held.since = gone == Gone::yes ? now : held.since;
        held.queue.pop_front();
    }
    if (now - held.since >= spec_.unresponsive) {
        const std::deque<Departure> all = std::move(held.queue);
        held.queue.clear();
        for (const Departure& departure : all) {
            give_up(departure);
        }
    }
    return held.queue.size() != before;
}

void Node::give_up(const Departure& departure) {
    const PacketHeader& header = departure.header;
    QueuePair* qp = qp_find(departure.nic, departure.qpn);
    const bool answer = header.kind == PacketKind::ack || header.kind == PacketKind::read_response;
    if (answer || qp == nullptr || qp->epoch != departure.epoch ||
        qp->messages.count(header.message) == 0) {
        return;
    }
    const bool before = qp->heard.count({header.target, header.target_qpn}) != 0;
    complete(*qp, header.message, before ? Status::unresponsive : Status::unreachable);
}

bool Node::held_any() const {
    return std::any_of(held_.begin(), held_.end(),
                       [](const auto& entry) { return !entry.second.queue.empty(); });
}

Node::Gone Node::depart(Departure& departure, Nanos now) {
    Nic& nic = *nics_[departure.nic];
    std::vector<Bytes> payload;
    const PacketHeader& header = departure.header;
    if (!payload_of(departure, payload)) {
        return Gone::unwanted;
    }
    if (lost(nic, departure, now)) {
        count(nic.counters.drops);
        keep_stale(nic, departure, payload, now);
        departed(nic, departure, now);
        return Gone::yes;
    }
    switch (wire_.push(header, payload)) {
        case Pushed::full:
            count(nic.counters.backpressure);
            return Gone::no_room;
        case Pushed::absent:
            count(nic.counters.drops);
            break;
        case Pushed::yes:
            arrive_twice(departure, payload, now);
            break;
    }
    departed(nic, departure, now);
    return Gone::yes;
}

// False: nobody waits for this packet any more.
bool Node::payload_of(const Departure& departure, std::vector<Bytes>& payload) {
    const PacketHeader& header = departure.header;
    if (header.kind == PacketKind::ack) {
        return true;
    }
    const uint64_t offset = packet_offset(header.packet);
    if (header.kind == PacketKind::read_response) {
        const uint64_t from = header.remote_address + offset;
        const bool readable = nics_[departure.nic]->mrs.allows(
            header.rkey, from, header.payload_bytes, access_remote_read);
        payload = {{reinterpret_cast<const void*>(from), header.payload_bytes}};
        return readable;
    }
    QueuePair* qp = qp_find(departure.nic, departure.qpn);
    if (qp == nullptr || qp->epoch != departure.epoch) {
        return false;
    }
    if (departure.copied) {
        payload = {{departure.kept.data(), header.payload_bytes}};
        return true;
    }
    const auto found = qp->messages.find(header.message);
    if (found == qp->messages.end() || found->second.answered(header.packet)) {
        return false;
    }
    const SendRequest& request = found->second.request;
    if (header.payload_bytes != 0 && request.is_inline) {
        payload = {{request.inlined.data() + offset, header.payload_bytes}};
    } else if (header.payload_bytes != 0) {
        payload = part_of(request.sges, offset, header.payload_bytes);
    }
    return true;
}

bool Node::lost(Nic& nic, const Departure& departure, Nanos now) {
    const PacketHeader& header = departure.header;
    if ((header.flags & flag_stale) != 0) {
        return false;
    }
    const FaultPlan::Moment when = moment(nic, now);
    const uint32_t ppm = plan_.loss_ppm(departure.nic, gid_host(header.target), when);
    return plan_.rail_down(departure.nic, when) ||
           happens(decide(spec_.seed, Purpose::loss, header), ppm);
}

// A copy belongs to its queue pair: destroying that is the fence.
Node::Departure Node::copy_of(const Departure& departure, std::span<const Bytes> payload,
                              Nanos due) {
    Departure copy = departure;
    copy.copied = true;
    copy.due = due;
    copy.order = ++orders_;
    for (const Bytes& bytes : payload) {
        copy.kept.append(static_cast<const char*>(bytes.data), bytes.length);
    }
    return copy;
}

// Only packets with payload: an answer or a request that comes again shows nothing.
void Node::arrive_twice(const Departure& departure, std::span<const Bytes> payload, Nanos now) {
    const uint64_t chance = decide(spec_.seed, Purpose::arrives_twice, departure.header);
    const PacketKind kind = departure.header.kind;
    const bool carries = kind == PacketKind::send || kind == PacketKind::write;
    if (carries && !departure.copied && happens(chance, spec_.twice_ppm)) {
        waiting_.push(copy_of(departure, payload, now + spec_.reorder / 2 + 1));
    }
}

void Node::keep_stale(Nic& nic, const Departure& departure, std::span<const Bytes> payload,
                      Nanos now) {
    const Fault* fault = plan_.stale(departure.nic);
    if (departure.header.kind != PacketKind::write || fault == nullptr || nic.stale_left == 0) {
        return;
    }
    --nic.stale_left;
    Departure copy = copy_of(departure, payload, now + fault->delay);
    copy.header.flags = flag_stale;
    waiting_.push(std::move(copy));
}

void Node::departed(Nic& nic, const Departure& departure, Nanos now) {
    const PacketHeader& header = departure.header;
    if (header.kind == PacketKind::ack || departure.copied) {
        return;
    }
    ++nic.sent;
    count(nic.counters.packets);
    count(nic.counters.packet_bytes, header.payload_bytes);
    count(nic.counters.reorders, departure.order < nic.order_seen ? 1 : 0);
    nic.order_seen = std::max(nic.order_seen, departure.order);
    if (header.kind == PacketKind::read_response) {
        return;
    }
    QueuePair& qp = *qp_find(departure.nic, departure.qpn);
    Message& message = qp.messages[header.message];
    if ((header.flags & flag_unreliable) != 0) {
        complete(qp, header.message, Status::ok);
        return;
    }
    message.heard = message.heard < 0 ? now : message.heard;
    qp.flights.push_back({now + spec_.retransmit, header.message, header.packet, header.attempt});
}

}  // namespace weft::efa
