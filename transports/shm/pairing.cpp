// The wires' side of the exchange: offers, closures, library memory.
#include <fcntl.h>
#include <sys/uio.h>

#include <cstring>
#include <utility>
#include <vector>

#include "src/base/log.h"
#include "transports/memory.h"
#include "transports/shm/exchange.h"
#include "transports/shm/frames.h"

namespace weft::shm {

namespace {

// Populating a larger mapping would hold up the service thread; it is faulted in with use.
constexpr size_t import_populate_bytes_max = 64u << 20;

// A process that ends because of an error has told the control plane why: that is heard first
// (its own notice of a death comes after 200 ms).
constexpr Nanos death_grace = 250 * nanos_per_ms;

Fd duplicate(int fd) {
    return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

// A process id alone proves nothing (namespaces): read the peer's nonce before trusting it.
bool memory_readable(pid_t pid, uint64_t at, const std::array<uint8_t, 16>& nonce) {
    std::array<uint8_t, 16> seen{};
    const iovec local{seen.data(), seen.size()};
    const iovec remote{reinterpret_cast<void*>(at), seen.size()};
    return pid > 0 &&
           ::process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(seen.size()) &&
           seen == nonce;
}

Result<Import> import_map(int memfd, const RangeFrame& range) {
    TRY(memfd_check(memfd, range.bytes));
    Import import;
    import.base = range.base;
    import.mapping = TRY(Mapping::map(memfd, 0, range.bytes, Mapping::Access::write,
                                      range.bytes <= import_populate_bytes_max ? range.bytes : 0));
    return import;
}

}  // namespace

Result<std::shared_ptr<Port>> Exchange::attach(const WireConfig& config) {
    auto port = std::make_shared<Port>(config, TRY(Segment::create(config.rank_count)));
    const Lock lock(mutex_);
    port->id = next_wire_++;
    ports_[port->id] = port;
    return port;
}

std::string Exchange::address(const Port& port) const {
    return address_write({name_, port.id});
}

void Exchange::detach(const Port& port) {
    const Lock lock(mutex_);
    ports_.erase(port.id);
    for (auto& entry : remotes_) {
        Remote& remote = entry.second;
        std::set<uint64_t> told;
        const auto tell_peer = [&](const Pairing& pairing) {
            if (pairing.local == port.id && told.insert(pairing.remote).second) {
                send(remote, {frame_closed({pairing.local, pairing.remote}), {}});
            }
            return pairing.local == port.id;
        };
        std::erase_if(remote.wanted, [&](const auto& entry) { return tell_peer(entry.first); });
        std::erase_if(remote.up, [&](const auto& entry) { return tell_peer(entry.first); });
        std::erase_if(remote.offers, [&](const auto& entry) { return tell_peer(entry.first); });
        std::erase_if(remote.links, [&](const auto& e) { return e.first.local == port.id; });
        for (auto& [id, imports] : remote.imports) {
            std::erase_if(imports.users, [&](const auto& user) { return user.first == port.id; });
        }
        exports_sweep(remote);
    }
}

Result<void> Exchange::connect(const std::shared_ptr<Port>& port, uint32_t peer,
                               std::string_view address, std::string_view hello) {
    const ShmAddress to = TRY(address_read(address));
    const Lock lock(mutex_);
    Remote& remote = remotes_[to.hub];
    const bool fresh = remote.name.empty();
    remote.name = to.hub;
    const Pairing pairing{port->id, to.wire};
    if (remote.wanted.contains(pairing) || remote.up.contains(pairing)) {
        return make_error(Code::invalid_usage, Scope::peer,
                          format("rank %u is connected already", peer));
    }
    send(remote, offer_frame(*port, to.wire, peer, hello));
    if (const auto offer = remote.offers.find(pairing); offer != remote.offers.end()) {
        Offer taken = std::move(offer->second);
        remote.offers.erase(offer);
        pair_up(remote, pairing, peer, std::move(taken));
        return {};
    }
    remote.wanted[pairing] = peer;
    if (fresh) {
        dial(remote);  // may drop the remote
    }
    return {};
}

Frame Exchange::offer_frame(const Port& port, uint64_t to, uint32_t peer,
                            std::string_view hello) const {
    OfferFrame offer;
    offer.ends = {port.id, to};
    offer.group = port.config.group;
    offer.rank_count = port.config.rank_count;
    offer.block = peer;
    offer.probe = reinterpret_cast<uint64_t>(nonce_.data());
    offer.nonce = nonce_;
    offer.hello = hello;
    Frame frame{frame_offer(offer), {}};
    frame.fds.push_back(duplicate(port.segment->memfd()));
    frame.fds.push_back(duplicate(port.mail.bell()->memfd.get()));
    frame.fds.push_back(duplicate(port.mail.bell()->event.get()));
    return frame;
}

Result<void> Exchange::dispatch(Remote& remote, FrameType type, ByteReader& body,
                                std::vector<Fd> fds) {
    switch (type) {
        case FrameType::offer:
            return offer_take(remote, body, std::move(fds));
        case FrameType::closed:
            return closed_take(remote, body);
        case FrameType::want:
            return want_take(remote, body);
        case FrameType::range:
            return range_take(remote, body, std::move(fds));
        case FrameType::range_gone:
            return range_gone_take(remote, body);
        case FrameType::greet:
            break;
    }
    return make_error(Code::remote, Scope::peer, "a frame of unknown type");
}

Result<void> Exchange::offer_take(Remote& remote, ByteReader& body, std::vector<Fd> fds) {
    Offer offer{TRY(offer_read(body)), std::move(fds)};
    const Pairing pairing{offer.frame.ends.to, offer.frame.ends.from};
    const auto port = ports_.find(pairing.local);
    if (offer.fds.size() != 3 || remote.up.contains(pairing) || remote.offers.contains(pairing)) {
        return make_error(Code::remote, Scope::peer, "an offer out of turn");
    }
    if (port == ports_.end() || port->second->config.group != offer.frame.group ||
        port->second->config.rank_count != offer.frame.rank_count ||
        offer.frame.block >= offer.frame.rank_count) {
        send(remote, {frame_closed({pairing.local, pairing.remote}), {}});
        return {};
    }
    const auto wanted = remote.wanted.find(pairing);
    if (wanted == remote.wanted.end()) {
        remote.offers.emplace(pairing, std::move(offer));
        return {};
    }
    const uint32_t peer = wanted->second;
    remote.wanted.erase(wanted);
    pair_up(remote, pairing, peer, std::move(offer));
    return {};
}

void Exchange::pair_up(Remote& remote, Pairing pairing, uint32_t peer, Offer offer) {
    Result<std::shared_ptr<PeerLink>> link = link_make(remote, pairing, offer);
    News news;
    news.peer = peer;
    if (link.ok()) {
        remote.up[pairing] = peer;
        news.link = remote.links[pairing] = std::move(link).value();
    } else {
        news.what = News::What::failed;
        news.error = std::move(link).error();
        send(remote, {frame_closed({pairing.local, pairing.remote}), {}});
    }
    tell(pairing.local, std::move(news));
}

Result<std::shared_ptr<PeerLink>> Exchange::link_make(const Remote& remote, Pairing pairing,
                                                      Offer& offer) const {
    auto link = std::make_shared<PeerLink>();
    link->remote = remote.name;
    link->wire = pairing.remote;
    link->view =
        TRY(SegmentView::open(offer.fds[0].get(), offer.frame.rank_count, offer.frame.block));
    TRY(memfd_check(offer.fds[1].get(), sizeof(DoorbellWord)));
    link->bell = TRY(DoorbellPage::open(std::move(offer.fds[1]), std::move(offer.fds[2])));
    link->bell->memfd.reset();
    link->hello = std::move(offer.frame.hello);
    if (cma_ && memory_readable(remote.pid, offer.frame.probe, offer.frame.nonce)) {
        link->pid = remote.pid;
    }
    return link;
}

Result<void> Exchange::closed_take(Remote& remote, ByteReader& body) {
    const Ends ends = TRY(closed_read(body));
    const Pairing pairing{ends.to, ends.from};
    remote.offers.erase(pairing);
    remote.links.erase(pairing);
    News news;
    news.what = News::What::closed;
    for (auto* pairings : {&remote.up, &remote.wanted}) {
        if (const auto found = pairings->find(pairing); found != pairings->end()) {
            news.peer = found->second;
            pairings->erase(found);
            tell(pairing.local, news);
        }
    }
    return {};
}

void Exchange::tell(uint64_t wire, News news) {
    if (const auto port = ports_.find(wire); port != ports_.end()) {
        port->second->mail.push(std::move(news));
    }
}

// Drops the remote; `name` may be its own.
void Exchange::remote_lost(const std::string& name, const char* how) {
    const auto node = remotes_.extract(name);
    if (node.empty()) {
        return;
    }
    const Remote& remote = node.mapped();
    for (const auto& [pairing, link] : remote.links) {
        link->dead.store(true, std::memory_order_release);
    }
    auto failures = std::make_shared<std::vector<std::pair<uint64_t, News>>>();
    for (const auto* pairings : {&remote.up, &remote.wanted}) {
        for (const auto& [pairing, peer] : *pairings) {
            News& news = failures->emplace_back(pairing.local, News{}).second;
            news.what = News::What::failed;
            news.peer = peer;
            news.error =
                make_error(Code::remote, Scope::peer,
                           format("the process of rank %u (pid %d) %s", peer, remote.pid, how));
        }
    }
    reactor_.at(reactor_.now() + death_grace, [weak = weak_from_this(), failures] {
        if (const auto self = weak.lock()) {
            const Lock lock(self->mutex_);
            for (auto& [wire, news] : *failures) {
                self->tell(wire, std::move(news));
            }
        }
    });
    News news;
    for (const auto& [id, imports] : remote.imports) {
        for (const auto& [wire, peer] : imports.users) {
            news = {};
            news.what = News::What::import_gone;
            news.peer = peer;
            news.range = id;
            tell(wire, news);
        }
    }
}

void Exchange::import_want(const Port& port, uint32_t peer, const PeerLink& link, uint64_t range) {
    const Lock lock(mutex_);
    News news;
    news.what = News::What::import;
    news.peer = peer;
    news.range = range;
    const auto remote = remotes_.find(link.remote);
    if (remote == remotes_.end()) {
        tell(port.id, std::move(news));
        return;
    }
    Imports& imports = remote->second.imports[range];
    imports.users.insert({port.id, peer});
    if (imports.mapped != nullptr) {
        news.mapped = imports.mapped;
        tell(port.id, std::move(news));
    } else if (!std::exchange(imports.wanted, true)) {
        send(remote->second, {frame_want(range), {}});
    }
}

Result<void> Exchange::want_take(Remote& remote, ByteReader& body) {
    const uint64_t id = TRY(id_read(body));
    exports_sweep(remote);
    Frame frame;
    RangeFrame range{id, 0, 0};
    Fd memfd = shared_dup(id);
    if (const auto found = shared_get(id); memfd && found) {
        range.base = reinterpret_cast<uint64_t>(found->base);
        range.bytes = found->bytes;
        frame.fds.push_back(std::move(memfd));
        remote.exported.insert(id);
    }
    frame.body = frame_range(range);
    send(remote, std::move(frame));
    return {};
}

Result<void> Exchange::range_take(Remote& remote, ByteReader& body, std::vector<Fd> fds) {
    const RangeFrame range = TRY(range_read(body));
    const auto imports = remote.imports.find(range.id);
    if (imports == remote.imports.end() || !std::exchange(imports->second.wanted, false)) {
        return make_error(Code::remote, Scope::peer, "memory that was not asked for");
    }
    News news;
    news.what = News::What::import;
    news.range = range.id;
    if (range.bytes > 0 && fds.size() == 1) {
        Result<Import> import = import_map(fds[0].get(), range);
        if (import.ok()) {
            news.mapped = std::make_shared<Import>(std::move(import).value());
        } else {
            LOG(info, shm, "shm: %s", import.error().what.c_str());
        }
    }
    imports->second.mapped = news.mapped;
    for (const auto& [wire, peer] : imports->second.users) {
        news.peer = peer;
        tell(wire, news);
    }
    if (news.mapped == nullptr) {
        remote.imports.erase(imports);
    }
    return {};
}

Result<void> Exchange::range_gone_take(Remote& remote, ByteReader& body) {
    const uint64_t id = TRY(id_read(body));
    const auto imports = remote.imports.find(id);
    if (imports == remote.imports.end() || imports->second.wanted) {
        return {};
    }
    News news;
    news.what = News::What::import_gone;
    news.range = id;
    for (const auto& [wire, peer] : imports->second.users) {
        news.peer = peer;
        tell(wire, news);
    }
    remote.imports.erase(imports);
    return {};
}

// Freed ranges cost peers address space only (their pages went back when they were freed), so it is
// enough to say so now and then.
void Exchange::exports_sweep(Remote& remote) {
    std::erase_if(remote.exported, [&](uint64_t id) {
        const bool gone = !shared_get(id);
        if (gone) {
            send(remote, {frame_range_gone(id), {}});
        }
        return gone;
    });
}

}  // namespace weft::shm
