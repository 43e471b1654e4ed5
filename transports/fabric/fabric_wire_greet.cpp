// How a wire greets its peers: one small message on every (rail, peer) pair, repeated until it is
// acknowledged, and the end of a peer that no such message reaches.
//
// The acknowledgement comes from the peer's rank, which may be late by any time: no cause to fail.
// But whether a message came there is known without the rank: its NIC, or the connection to its
// process, took it. So what is limited is the time without one that was taken:
//   none since the first was sent   the peer's host, its process or the way there is down
//   some, then only failures        it was there and is gone
#include <algorithm>

#include "transports/fabric/fabric_wire.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {

namespace {

constexpr Nanos hello_repeat_first = 1 * nanos_per_s;
constexpr Nanos hello_repeat_longest = 16 * nanos_per_s;
// Of the limit, so that a peer has several chances and is not failed much later.
constexpr Nanos hello_repeats_least = 8;

}  // namespace

// The first message of every (rail, peer) pair is small: it warms the pair up, and efa of 1.17
// picks a wrong protocol when a large write comes first.
void FabricWire::hellos_send(Peer& peer, Nanos now) {
    for (size_t i = 0; i < peer.paths.size(); ++i) {
        if ((peer.hellos_acknowledged >> i & 1) == 0) {
            control(peer, i, MessageKind::hello, peer.hello_out);
        }
    }
    moved_send(peer);
    const Nanos longest = std::min(hello_repeat_longest, hub_.reach_limit() / hello_repeats_least);
    peer.hello_wait =
        std::clamp(2 * peer.hello_wait, std::min(hello_repeat_first, longest), longest);
    peer.hello_again = now + peer.hello_wait;
}

void FabricWire::connecting_advance(Nanos now) {
    for (size_t i = 0; i < connecting_.size();) {
        Peer& peer = peers_[connecting_[i]];
        const bool moving = peer.state == PeerState::up && peer.moved_waiting != 0;
        if (peer.state != PeerState::connecting && !moving) {
            connecting_[i] = connecting_.back();
            connecting_.pop_back();
            continue;
        }
        if (now >= peer.hello_again) {
            reach_check(connecting_[i], now);
            hellos_send(peer, now);
        }
        ++i;
    }
}

void FabricWire::up_check(uint32_t rank) {
    Peer& peer = peers_[rank];
    if (peer.state != PeerState::connecting) {
        return;
    }
    uint64_t all = (uint64_t{1} << peer.paths.size()) - 1;
    if ((peer.hellos_received & peer.hellos_acknowledged & all) == all) {
        peer.state = PeerState::up;
        peer.process->up.store(true);
        peer.hello_out.clear();
    }
}

// At most one failure: it ends the peer.
void FabricWire::reach_check(uint32_t rank, Nanos now) {
    const Peer& peer = peers_[rank];
    if (peer.state != PeerState::connecting || now - peer.greeted < hub_.reach_limit()) {
        return;
    }
    for (size_t i = 0; i < peer.paths.size(); ++i) {
        if ((peer.hellos_acknowledged >> i & 1) != 0) {
            continue;
        }
        if (auto error = unreached(rank, i, now)) {
            return fail(rank, std::move(*error));
        }
    }
}

std::optional<Error> FabricWire::unreached(uint32_t rank, size_t at, Nanos now) const {
    const Peer& peer = peers_[rank];
    Rail& rail = *rails_[at];
    const std::lock_guard guard(rail.lock());
    const RemoteEndpoint& endpoint = *peer.paths[at]->endpoint;
    const bool once = endpoint.reached >= peer.greeted;
    if ((once && endpoint.trouble.empty()) ||
        now - std::max(endpoint.reached, peer.greeted) < hub_.reach_limit()) {
        return std::nullopt;
    }
    const char* provider = rail.info().fabric_attr->prov_name;
    return make_error(
        Code::remote, Scope::peer,
        format("rail %u (%s, %s): nothing %s rank %u at %s for %lld s (WEFT_INIT_TIMEOUT): %s",
               rail.index(), rail.name().c_str(), provider,
               once ? "has any more reached" : "has reached", rank,
               rail.address_text(endpoint).c_str(),
               static_cast<long long>(hub_.reach_limit() / nanos_per_s),
               endpoint.trouble.empty() ? silence_hint(provider) : endpoint.trouble.c_str()));
}

}  // namespace weft::fabric
