// What a NIC does with a packet that arrived: check, place, answer.
//
// 1. A packet for a queue pair that does not exist is answered; one with a wrong key is not, so its
//    sender finds the peer unresponsive. Reads and writes need an address handle of the sender.
// 2. Payload is placed before it is counted, and counted before it is answered. A packet that comes
//    again before its message is complete is placed again; after that it is only answered.
// 3. A receive that is not there is answered with RNR, and the packet counts as never arrived; so
//    do all copies of it, until its sender has heard that and tries once more.
#include <algorithm>
#include <numeric>

#include "tools/efa_device/core/chance.h"
#include "tools/efa_device/core/node.h"

namespace weft::efa {

namespace {

constexpr Nanos rnr_wait = 50'000;  // doubled with every try, up to a limit
constexpr uint64_t rnr_doublings = 7;
constexpr uint32_t rnr_for_ever = 7;

// Walks the pieces of [offset, offset + length) of a scatter list that do not cross an aligned
// boundary of `placed_bytes`.
struct Piece {
    std::byte* to = nullptr;
    uint32_t from = 0;
    uint32_t length = 0;
};

std::vector<Piece> pieces_of(const std::vector<Sge>& to, uint64_t offset, uint32_t length,
                             bool small) {
    std::vector<Piece> pieces;
    uint32_t from = 0;
    for (const Sge& sge : to) {
        if (offset >= sge.length) {
            offset -= sge.length;
            continue;
        }
        uint64_t address = sge.address + offset;
        auto left = static_cast<uint32_t>(std::min<uint64_t>(length - from, sge.length - offset));
        offset = 0;
        while (left != 0) {
            const uint64_t room = small ? placed_bytes - address % placed_bytes : left;
            const auto take = static_cast<uint32_t>(std::min<uint64_t>(left, room));
            pieces.push_back({reinterpret_cast<std::byte*>(address), from, take});
            address += take;
            from += take;
            left -= take;
        }
    }
    return pieces;
}

void shuffle(std::vector<Piece>& pieces, uint64_t decision) {
    for (size_t i = pieces.size(); i > 1; --i) {
        std::swap(pieces[i - 1], pieces[mixed({decision, i}) % i]);
    }
}

uint64_t room_in(const std::vector<Sge>& sges) {
    return std::accumulate(sges.begin(), sges.end(), uint64_t{0},
                           [](uint64_t sum, const Sge& sge) { return sum + sge.length; });
}

Completion arrival(const PacketHeader& header, const QueuePair& qp, uint16_t ah) {
    Completion completion;
    completion.operation = Operation::receive;
    completion.has_immediate = (header.flags & flag_immediate) != 0;
    completion.immediate = header.immediate;
    completion.bytes = static_cast<uint32_t>(header.message_bytes);
    completion.qpn = qp.qpn;
    completion.source_qpn = header.source_qpn;
    completion.ah = ah;
    completion.source = header.source;
    return completion;
}

}  // namespace

// In order with one copy, or shuffled piece by piece; then every fourth piece again.
void Node::place(Nic& nic, const std::vector<Sge>& to, uint64_t offset, const PacketHeader& header,
                 const std::byte* payload) {
    const bool torn = (header.flags & flag_place_pieces) != 0;
    const bool twice = (header.flags & flag_place_twice) != 0;
    std::vector<Piece> pieces = pieces_of(to, offset, header.payload_bytes, torn || twice);
    if (torn) {
        shuffle(pieces, header.decision);
        count(nic.counters.torn, header.payload_bytes != 0 ? 1 : 0);
    }
    for (const Piece& piece : pieces) {
        std::memcpy(piece.to, payload + piece.from, piece.length);
    }
    for (size_t i = header.decision % 4; twice && i < pieces.size(); i += 4) {
        std::memcpy(pieces[i].to, payload + pieces[i].from, pieces[i].length);
    }
    count(nic.counters.duplicates, twice && !pieces.empty() ? 1 : 0);
}

void Node::receive(const PacketHeader& header, const std::byte* payload, Nanos now) {
    const uint32_t index = gid_nic(header.target);
    if (index >= nics_.size() || header.payload_bytes > packet_payload_max) {
        return;
    }
    Nic& nic = *nics_[index];
    const bool stale = (header.flags & flag_stale) != 0;
    if (plan_.rail_down(index, moment(nic, now)) && !stale) {
        count(nic.counters.drops);
        return;
    }
    QueuePair* qp = qp_find(index, header.target_qpn);
    const bool listens = qp != nullptr && (qp->state == QpState::ready_to_receive ||
                                           qp->state == QpState::ready_to_send);
    if (header.kind == PacketKind::ack || header.kind == PacketKind::read_response) {
        if (!listens || qp->epoch != header.epoch) {
            return;
        }
        header.kind == PacketKind::ack ? receive_ack(nic, *qp, header, now)
                                       : receive_response(nic, *qp, header, payload, now);
        return;
    }
    const bool unreliable = (header.flags & flag_unreliable) != 0;
    if (!listens || unreliable != (qp->init.type == QpType::ud)) {
        count(nic.counters.drops);
        if (!unreliable && !stale) {
            answer(index, header, Status::bad_dest_qpn, now);
        }
        return;
    }
    if (qp->qkey != header.qkey) {
        count(nic.counters.drops);
        return;
    }
    const Status status = header.kind == PacketKind::send ? receive_send(nic, *qp, header, payload)
                          : header.kind == PacketKind::write
                              ? receive_write(nic, *qp, header, payload)
                              : receive_read(nic, header);
    const bool reading = header.kind == PacketKind::read_request && status == Status::ok;
    if (!unreliable && !stale && !reading) {
        answer(index, header, status, now);
    }
}

void Node::receive_ack(Nic& nic, QueuePair& qp, const PacketHeader& header, Nanos now) {
    qp.heard.insert({header.source, header.source_qpn});
    const auto found = qp.messages.find(header.message);
    if (found == qp.messages.end() || header.packet >= found->second.done.size() ||
        found->second.done[header.packet]) {
        return;
    }
    Message& message = found->second;
    message.heard = now;
    if (header.status == Status::rnr) {
        if (header.rnr_try != message.rnr_tries) {
            return;  // of a copy; its try was answered before
        }
        count(nic.counters.rnrs);
        retry_later(qp, message, header, now);
        return;
    }
    if (header.status != Status::ok) {
        complete(qp, header.message, header.status);
        return;
    }
    message.done[header.packet] = true;
    --message.sent;
    --qp.in_flight;
    if (++message.done_count == message.packets) {
        complete(qp, header.message, Status::ok);
        return;
    }
    turn_add(nic, qp);
}

// The flight of this packet is already in the list; one more, due sooner, goes before it.
void Node::retry_later(QueuePair& qp, Message& message, const PacketHeader& header, Nanos now) {
    if (qp.rnr_retry != rnr_for_ever && message.rnr_tries >= qp.rnr_retry) {
        complete(qp, header.message, Status::rnr);
        return;
    }
    const uint64_t doublings = std::min(message.rnr_tries++, rnr_doublings);
    std::erase_if(qp.flights, [&](const Flight& flight) {
        return flight.message == header.message && flight.packet == header.packet;
    });
    const Flight again{now + (rnr_wait << doublings), header.message, header.packet,
                       header.attempt};
    const auto place =
        std::upper_bound(qp.flights.begin(), qp.flights.end(), again,
                         [](const Flight& a, const Flight& b) { return a.due < b.due; });
    qp.flights.insert(place, again);
}

Status Node::receive_send(Nic& nic, QueuePair& qp, const PacketHeader& header,
                          const std::byte* payload) {
    Inbound& inbound = qp.inbound[{header.source, header.source_qpn, header.epoch}];
    if (inbound.complete(header.message)) {
        count(nic.counters.duplicates);
        return Status::ok;
    }
    const bool unreliable = qp.init.type == QpType::ud;
    if (unreliable && qp.receives.empty()) {
        count(nic.counters.drops);
        return Status::rnr;
    }
    if (qp.receives.empty() || inbound.refuses(header.message, header.rnr_try)) {
        inbound.refuse(header.message, header.rnr_try);
        return Status::rnr;
    }
    const ReceiveRequest receive = std::move(qp.receives.front());
    qp.receives.pop_front();
    Completion completion = arrival(header, qp, nic.ahs.find(header.source));
    completion.wr_id = receive.wr_id;
    const uint64_t before = unreliable ? grh_bytes : 0;
    completion.bytes += static_cast<uint32_t>(before);
    Status status = Status::ok;
    for (const Sge& sge : receive.sges) {
        if (sge.length != 0 &&
            !nic.mrs.allows(sge.lkey, sge.address, sge.length, access_local_write)) {
            completion.status = Status::invalid_lkey;
            status = Status::remote_abort;
        }
    }
    if (status == Status::ok && room_in(receive.sges) < header.payload_bytes + before) {
        completion.status = Status::local_bad_length;
        status = Status::remote_bad_length;
    }
    if (status == Status::ok) {
        place(nic, receive.sges, before, header, payload);
        inbound.finish(header.message);
        count(nic.counters.receives);
    }
    push(nic, *qp.init.receive_cq, completion);
    return status;
}

// What was placed before is answered whatever has become of its region: its sender has not heard of
// the first answer, and the owner needs the memory no longer.
Status Node::receive_write(Nic& nic, QueuePair& qp, const PacketHeader& header,
                           const std::byte* payload) {
    if (nic.ahs.find(header.source) == ah_unknown) {
        return Status::unknown_peer;
    }
    const uint32_t packets = packet_count(header.message_bytes);
    const bool fits = header.message_bytes <= rdma_bytes_max && header.packet < packets &&
                      header.payload_bytes == packet_bytes(header.message_bytes, header.packet);
    if (!fits) {
        return Status::bad_address;
    }
    const bool stale = (header.flags & flag_stale) != 0;
    Inbound& inbound = qp.inbound[{header.source, header.source_qpn, header.epoch}];
    if (!stale && inbound.complete(header.message)) {
        count(nic.counters.duplicates);
        return Status::ok;
    }
    const bool again = !stale && inbound.placed(header.message, header.packet);
    const uint64_t offset = packet_offset(header.packet);
    const bool allowed =
        header.message_bytes == 0 || nic.mrs.allows(header.rkey, header.remote_address + offset,
                                                    header.payload_bytes, access_remote_write);
    if (!allowed) {
        count(nic.counters.duplicates, again ? 1 : 0);
        return again ? Status::ok : Status::bad_address;
    }
    const auto length = static_cast<uint32_t>(header.message_bytes);
    place(nic, {{header.remote_address, length, header.rkey}}, offset, header, payload);
    if (stale || again) {
        count(stale ? nic.counters.stale_writes : nic.counters.duplicates);
        return Status::ok;
    }
    return write_count(nic, qp, inbound, header);
}

Status Node::write_count(Nic& nic, QueuePair& qp, Inbound& inbound, const PacketHeader& header) {
    const uint32_t packets = packet_count(header.message_bytes);
    Inbound::Partial& partial = inbound.partial[header.message];
    partial.placed.resize(packets);
    if (partial.count + 1 == packets) {
        const bool refused = inbound.refuses(header.message, header.rnr_try);
        const Status status = refused ? Status::rnr : write_finish(nic, qp, header);
        if (status == Status::ok) {
            inbound.finish(header.message);
        } else {
            inbound.refuse(header.message, header.rnr_try);
        }
        return status;
    }
    partial.placed[header.packet] = true;
    ++partial.count;
    return Status::ok;
}

// Tells the application of a write with immediate, now that all of it is there.
Status Node::write_finish(Nic& nic, QueuePair& qp, const PacketHeader& header) {
    if ((header.flags & flag_immediate) == 0) {
        return Status::ok;
    }
    Completion completion = arrival(header, qp, nic.ahs.find(header.source));
    completion.operation = Operation::receive_write;
    completion.unsolicited = qp.init.unsolicited;
    if (!qp.init.unsolicited) {
        if (qp.receives.empty()) {
            return Status::rnr;
        }
        completion.wr_id = qp.receives.front().wr_id;
        qp.receives.pop_front();
    }
    count(nic.counters.receives);
    push(nic, *qp.init.receive_cq, completion);
    return Status::ok;
}

Status Node::receive_read(Nic& nic, const PacketHeader& header) {
    if (nic.ahs.find(header.source) == ah_unknown) {
        return Status::unknown_peer;
    }
    if (header.message_bytes > rdma_bytes_max ||
        !nic.mrs.allows(header.rkey, header.remote_address, header.message_bytes,
                        access_remote_read)) {
        return Status::bad_address;
    }
    const auto same = [&header](const ReadJob& job) {
        return job.request.source == header.source && job.request.epoch == header.epoch &&
               job.request.message == header.message;
    };
    if (std::none_of(nic.reads.begin(), nic.reads.end(), same)) {
        nic.reads.push_back({header, 0, header.attempt});
    }
    return Status::ok;
}

void Node::receive_response(Nic& nic, QueuePair& qp, const PacketHeader& header,
                            const std::byte* payload, Nanos now) {
    qp.heard.insert({header.source, header.source_qpn});
    const auto found = qp.messages.find(header.message);
    if (found == qp.messages.end() || found->second.request.operation != Operation::read ||
        header.packet >= found->second.packets ||
        header.payload_bytes != packet_bytes(found->second.bytes, header.packet)) {
        return;
    }
    Message& message = found->second;
    message.heard = now;
    for (const Sge& sge : message.request.sges) {
        if (sge.length != 0 &&
            !nic.mrs.allows(sge.lkey, sge.address, sge.length, access_local_write)) {
            complete(qp, header.message, Status::invalid_lkey);
            return;
        }
    }
    place(nic, message.request.sges, packet_offset(header.packet), header, payload);
    if (message.done[header.packet]) {
        count(nic.counters.duplicates);
        return;
    }
    message.done[header.packet] = true;
    if (++message.done_count == message.packets) {
        complete(qp, header.message, Status::ok);
    }
}

}  // namespace weft::efa
