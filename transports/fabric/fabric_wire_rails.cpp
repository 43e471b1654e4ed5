// What a wire does about rails that are given up: it tells its peers where the next incarnation of
// one is, follows those of its peers, ends what goes on with a peer when a rail fails, and fences.
#include <algorithm>
#include <thread>

#include "transports/fabric/fabric_wire.h"
#include "transports/fabric/service.h"

namespace weft::fabric {

namespace {

// How long a fence waits for the peer to end its puts, for the peer to give up the rails they are
// stuck on, and before we give up ours.
constexpr Nanos fence_limit = 300 * nanos_per_ms;
constexpr Nanos fence_hard_limit = 700 * nanos_per_ms;

std::string_view body_of(const Event& event) {
    const std::byte* at = event.buffer->data + sizeof(MessageHeader);
    return {reinterpret_cast<const char*>(at), event.bytes};
}

}  // namespace

void FabricWire::address_note() {
    WireAddress address{hub_.process_uid(), inbox_->uid(), {}};
    for (Rail* rail : rails_) {
        std::lock_guard guard(rail->lock());
        address.rails.push_back(rail->endpoint_name());
        incarnations_.push_back(rail->incarnation());
    }
    address_ = address_encode(address);
    present_ = incarnations_;
}

// Also false from the moment a rail is renewed until on_renewed() hears of it.
bool FabricWire::confirmed(const Peer& peer, size_t rail) const {
    return (peer.moved_waiting >> rail & 1) == 0 && rails_[rail]->incarnation() == present_[rail];
}

void FabricWire::control_everywhere(const Peer& peer, MessageKind kind, std::string_view body,
                                    uint64_t word, uint8_t flags) {
    for (size_t i = 0; i < peer.paths.size(); ++i) {
        control(peer, i, kind, body, word, flags);
    }
}

// By all rails: the peer needs one of them.
void FabricWire::moved_send(const Peer& peer) {
    for (size_t i = 0; i < peer.paths.size(); ++i) {
        if ((peer.moved_waiting >> i & 1) == 0) {
            continue;
        }
        Moved moved{static_cast<uint8_t>(i), 0, {}};
        std::string name;
        {
            std::lock_guard guard(rails_[i]->lock());
            moved.incarnation = rails_[i]->incarnation();
            name = rails_[i]->endpoint_name();
        }
        control_everywhere(peer, MessageKind::moved, name, moved_word(moved));
    }
}

void FabricWire::on_renewed(size_t at) {
    present_[at] = rails_[at]->incarnation();
    const Nanos now = clock_now();
    for (uint32_t rank = 0; rank < peers_.size(); ++rank) {
        Peer& peer = peers_[rank];
        if (at >= peer.paths.size() ||
            (peer.state != PeerState::up && peer.state != PeerState::connecting)) {
            continue;
        }
        peer.moved_waiting |= 1u << at;
        peer.hello_wait = 0;
        if (std::ranges::count(connecting_, rank) == 0) {
            connecting_.push_back(rank);
        }
        hellos_send(peer, now);
    }
    hub_.service().stir();
}

// What was on its way to the old endpoint may have been placed or not, and some providers never say
// so.
void FabricWire::under_way_lost(uint32_t rank, size_t at) {
    Rail& rail = *rails_[at];
    bool busy = false;
    {
        std::lock_guard guard(rail.lock());
        busy = rail.busy_towards(inbox_.get(), rank);
    }
    if (busy) {
        fail(rank, make_error(Code::remote, Scope::peer,
                              format("rail %u (%s): rank %u gave up its end of the rail while puts "
                                     "to it were under way",
                                     rail.index(), rail.name().c_str(), rank)));
    }
}

// The acknowledgement goes to the new endpoint, over the rail that moved: it warms the pair up, and
// says that it works.
void FabricWire::on_moved(const Event& event) {
    Peer& peer = peers_[event.peer];
    const auto moved = moved_parse(event.word, body_of(event));
    if (!moved || peer.process == nullptr || moved->rail >= peer.paths.size() ||
        moved->incarnation < peer.incarnations[moved->rail]) {
        return;
    }
    if (moved->incarnation > peer.incarnations[moved->rail]) {
        under_way_lost(event.peer, moved->rail);
        RemoteEndpoint* old = peer.paths[moved->rail]->endpoint;
        if (peer.pieces != 0) {
            old->granted.fetch_sub(1);
        }
        auto followed = hub_.processes().move(peer.process, {inbox_.get(), event.peer}, moved->rail,
                                              std::string(moved->endpoint), &peer.paths);
        if (peer.pieces != 0) {
            peer.paths[moved->rail]->endpoint->granted.fetch_add(1);
        }
        if (!followed.ok()) {
            return fail(event.peer, std::move(followed).error());
        }
        peer.incarnations[moved->rail] = moved->incarnation;
        peer.greeted = clock_now();  // nothing was sent to that endpoint before
    }
    control(peer, moved->rail, MessageKind::moved_ack, {}, event.word);
}

void FabricWire::on_moved_ack(const Event& event) {
    Peer& peer = peers_[event.peer];
    if (event.rail < peer.paths.size() &&
        event.word == moved_word({event.rail, rails_[event.rail]->incarnation(), {}})) {
        peer.moved_waiting &= ~(1u << event.rail);
        peer.paths[event.rail]->incarnation.store(static_cast<uint32_t>(event.word >> 8));
    }
}

void FabricWire::on_failure(Event& event, WireSink& sink) {
    Peer& peer = peers_[event.peer];
    if (peer.state == PeerState::failed) {
        return;
    }
    peer.state = PeerState::failed;
    if (event.word == failure_of_ours) {
        control_everywhere(peer, MessageKind::lost,
                           std::string_view(event.error->what).substr(0, text_shown_max));
    }
    sink.on_failure(event.peer, std::move(*event.error));
}

// The peer cannot reach us, or gave up: what we wait for from it will not come.
void FabricWire::on_lost(const Event& event, WireSink& sink) {
    Event failure;
    failure.kind = Event::Kind::failure;
    failure.peer = event.peer;
    failure.error =
        std::make_unique<Error>(make_error(Code::remote, Scope::peer,
                                           format("rank %u cannot go on with this rank: %s",
                                                  event.peer, printable(body_of(event)).c_str())));
    on_failure(failure, sink);
}

// Everything but acknowledgements of fences is kept for later.
bool FabricWire::fence_wait(Peer& peer, uint64_t word, Nanos limit_ns) {
    const Nanos limit = clock_now() + limit_ns;
    std::vector<Event> kept;
    while (peer.fence_acknowledged < word && !peer.process->gone.load() && clock_now() < limit) {
        if (hub_.poll(inbox_.get()) == 0) {
            std::this_thread::yield();
        }
        hub_.processes().watch(clock_now(), inbox_.get());
        std::vector<Event> fresh;
        inbox_->swap(fresh);
        for (Event& event : fresh) {
            if (event.kind == Event::Kind::fence_ack) {
                fence_acknowledged(event);
            } else {
                kept.push_back(std::move(event));
            }
        }
    }
    std::move(kept.begin(), kept.end(), std::back_inserter(events_));
    return peer.fence_acknowledged >= word || peer.process->gone.load();
}

// Three ways, each harder on others: the peer ends what it has posted (its process answers even
// while its user computes), so that "placed or dead" is known on every provider, ordered or not; it
// gives up the rails on which that does not end, and with them whatever else it had on them; a peer
// that does not answer may still write, so we give up the rails it can write on. Of one that is
// gone nothing more comes.
Result<void> FabricWire::fence_ask(uint32_t rank, uint8_t flags) {
    Peer& peer = peers_[rank];
    if (peer.process == nullptr) {
        return {};
    }
    const uint64_t word = ++sequence_;
    control_everywhere(peer, MessageKind::fence, {}, word, flags);
    if (fence_wait(peer, word, fence_limit)) {
        return {};
    }
    control_everywhere(peer, MessageKind::fence, {}, word, flags | fence_hard);
    if (fence_wait(peer, word, fence_hard_limit)) {
        return {};
    }
    return fence_own(rank);
}

void FabricWire::fence_acknowledged(const Event& event) {
    uint64_t& known = peers_[event.peer].fence_acknowledged;
    known = std::max(known, event.word);
}

// Without a control plane a peer does not hear that this wire goes, and one that cuts it off later
// would get no answer and give up its rails, which others ride.
void FabricWire::farewell() {
    for (uint32_t rank = 0; config_.shares_memory && rank < peers_.size(); ++rank) {
        const Peer& peer = peers_[rank];
        if (peer.process != nullptr && !peer.process->gone.load() &&
            inbox_->flow(rank).in_flight.load() == 0) {
            control_everywhere(peer, MessageKind::fence_ack, {}, fence_every);
        }
    }
}

Result<void> FabricWire::cut(uint32_t rank, std::string_view why) {
    Peer& peer = peers_[rank];
    const bool there = peer.process != nullptr && !peer.process->gone.load();
    if (there && peer.fence_acknowledged != fence_every) {
        control_everywhere(peer, MessageKind::lost, why.substr(0, text_shown_max));
        TRY(fence_ask(rank, fence_last));
    }
    peer.state = PeerState::failed;
    return {};
}

Result<void> FabricWire::fence_own(uint32_t rank) {
    for (size_t i = 0; i < peers_[rank].paths.size(); ++i) {
        auto closed = hub_.rail_renew(
            *rails_[i],
            format("rank %u did not confirm within 1 s that its puts have ended, it is dead, "
                   "stopped or cut off",
                   rank));
        if (!closed.ok()) {
            return make_error(
                Code::timeout, Scope::peer,
                format("rank %u did not confirm within 1 s that its puts have ended, memory it was "
                       "granted stays reserved: %s",
                       rank, closed.error().what.c_str()));
        }
    }
    return {};
}

}  // namespace weft::fabric
