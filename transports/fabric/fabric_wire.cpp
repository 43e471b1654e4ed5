#include "transports/fabric/fabric_wire.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "transports/fabric/service.h"

namespace weft::fabric {

namespace {

// How long own puts may take to finish when their wire or region goes; beyond it their reports are
// dropped (a peer that stopped does not hold up an abort).
constexpr Nanos drain_limit = 200 * nanos_per_ms;

// A RemoteRef: words[0] the address to put to; words[1] the bytes from there, the number of rails
// (8 bits) and whether keys have 64 bits (the topmost); then the key on each rail, 32-bit ones two
// to a word.
constexpr uint64_t ref_bytes_mask = (uint64_t{1} << 48) - 1;
constexpr int ref_rails_at = 48;
constexpr uint64_t ref_wide = uint64_t{1} << 63;

size_t ref_rails(const RemoteRef& ref) {
    return ref.words[1] >> ref_rails_at & 0xff;
}

size_t ref_rails_max(const RemoteRef& ref) {
    size_t words = RemoteRef::words_max - ref_words_fixed;
    return (ref.words[1] & ref_wide) != 0 ? words : std::min(2 * words, rails_max);
}

uint64_t ref_key(const RemoteRef& ref, size_t rail) {
    if ((ref.words[1] & ref_wide) != 0) {
        return ref.words[ref_words_fixed + rail];
    }
    return ref.words[ref_words_fixed + rail / 2] >> rail % 2 * 32 & 0xffffffff;
}

void ref_key_set(RemoteRef& ref, size_t rail, uint64_t key) {
    if ((ref.words[1] & ref_wide) != 0) {
        ref.words[ref_words_fixed + rail] = key;
    } else {
        ref.words[ref_words_fixed + rail / 2] |= (key & 0xffffffff) << rail % 2 * 32;
    }
}

std::vector<uint8_t> indices_of(const std::vector<Rail*>& rails) {
    std::vector<uint8_t> indices;
    for (const Rail* rail : rails) {
        indices.push_back(rail->index());
    }
    return indices;
}

}  // namespace

Result<std::unique_ptr<Wire>> FabricWire::make(FabricHub& hub, const WireConfig& config,
                                               std::vector<Rail*> rails) {
    if (config.rank >= config.rank_count) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("rank %u of %u ranks", config.rank, config.rank_count));
    }
    uint64_t uid = TRY(hub.wire_uid_reserve());
    return std::unique_ptr<Wire>(new FabricWire(hub, config, std::move(rails), uid));
}

FabricWire::FabricWire(FabricHub& hub, const WireConfig& config, std::vector<Rail*> rails,
                       uint64_t uid)
    : hub_(hub),
      config_(config),
      rails_(std::move(rails)),
      caps_(hub.caps()),
      inbox_(std::make_unique<Inbox>(uid, config.rank, config.rank_count, indices_of(rails_),
                                     config.doorbell)),
      peers_(config.rank_count),
      memory_(config.shares_memory ? hub.memory_shared(rails_) : own_memory_) {
    caps_.rails = static_cast<uint32_t>(rails_.size());
    caps_.device_memory = std::ranges::all_of(rails_, &Rail::device_memory);
    counters_.rail_bytes.resize(rails_.size());
    address_note();
    own_memory_.rails = rails_;
    hub_.wire_publish(*inbox_);
}

// Nothing arrives any more, then own puts end, then peers lose access.
FabricWire::~FabricWire() {
    asleep(false);
    for (auto [first, count] : tokens_) {
        hub_.tokens_release(first, count);
    }
    drain_own(drain_limit);
    farewell();
    hub_.wire_withdraw(*inbox_);
    for (LocalRegion& region : regions_) {
        hub_.memory().let_go(region.windows, !config_.shares_memory);
    }
    hub_.memory().leave(own_memory_);
    for (uint32_t rank = 0; rank < peers_.size(); ++rank) {
        pieces_return(rank, peers_[rank].pieces);
        if (peers_[rank].process != nullptr) {
            hub_.processes().release(peers_[rank].process, {inbox_.get(), rank},
                                     peers_[rank].paths);
        }
    }
}

Result<uint32_t> FabricWire::tokens_reserve(uint32_t count) {
    uint32_t first = TRY(hub_.tokens_reserve(*inbox_, count));
    tokens_.emplace_back(first, count);
    return first;
}

Result<void> FabricWire::connect(uint32_t rank, std::string_view address, std::string_view hello) {
    if (rank >= peers_.size() || hello.size() > hello_bytes_max) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("connect to rank %u of %zu with a hello of %zu bytes (at most %zu)", rank,
                   peers_.size(), hello.size(), hello_bytes_max));
    }
    Peer& peer = peers_[rank];
    if (peer.state != PeerState::idle) {
        return {};
    }
    WireAddress remote = TRY(address_parse(address));
    peer.process = TRY(hub_.processes().acquire(remote, rails_, {inbox_.get(), rank}, &peer.paths));
    peer.incarnations.resize(peer.paths.size());
    peer.wire = remote.wire;
    peer.hello_out = hello_encode({config_.group, hub_.process_uid(), hello});
    PeerFlow& flow = inbox_->flow(rank);
    flow.wire.store(peer.wire);
    for (size_t i = 0; i < peer.paths.size(); ++i) {
        inbox_->flow_rail(rank, i).endpoint.store(peer.paths[i]->endpoint);
        if (rails_[i]->incarnation() != incarnations_[i]) {
            peer.moved_waiting |= 1u << i;  // it was told another endpoint
        }
        if ((peer.hellos_received >> i & 1) != 0) {
            control(peer, i, MessageKind::hello_ack, {});
        }
    }
    peer.state = PeerState::connecting;
    peer.greeted = clock_now();
    connecting_.push_back(rank);
    hellos_send(peer, peer.greeted);
    hub_.service().stir();
    return {};
}

MessageHeader FabricWire::header_to(const Peer& peer, MessageKind kind) const {
    MessageHeader header;
    header.kind = kind;
    header.from_rank = config_.rank;
    header.to_wire = peer.wire;
    return header;
}

void FabricWire::control(const Peer& peer, size_t rail, MessageKind kind, std::string_view body,
                         uint64_t word, uint8_t flags) {
    MessageHeader header = header_to(peer, kind);
    header.rail = static_cast<uint8_t>(rail);
    header.word = word;
    header.flags = flags;
    std::lock_guard guard(rails_[rail]->lock());
    rails_[rail]->control(*peer.paths[rail]->endpoint, header, body,
                          static_cast<uint32_t>(&peer - peers_.data()));
}

Result<Region> FabricWire::expose(void* memory, size_t bytes) {
    if (free_regions_.empty()) {
        regions_.emplace_back().use = std::make_unique<std::atomic<uint32_t>>(0);
        free_regions_.push_back(static_cast<uint32_t>(regions_.size()));
    }
    const uint32_t id = free_regions_.back();
    LocalRegion& region = regions_[id - 1];
    TRY(hub_.memory().hold(memory_, {static_cast<std::byte*>(memory), bytes}, &region.windows));
    free_regions_.pop_back();
    region.base = static_cast<std::byte*>(memory);
    region.bytes = bytes;
    region.flushed = region.reads = 0;
    ++region.life;
    return Region{id};
}

void FabricWire::region_end(Region id, bool revoke) {
    ASSERT(id.id != 0 && id.id <= regions_.size() && regions_[id.id - 1].base != nullptr);
    LocalRegion& region = regions_[id.id - 1];
    if (region.use->load() != 0) {
        revoke = true;
        reads_end(region);
    }
    hub_.memory().let_go(region.windows, revoke && !config_.shares_memory);
    region.base = nullptr;
    free_regions_.push_back(id.id);
}

// Own puts from the region finish, or are forgotten.
void FabricWire::reads_end(LocalRegion& region) {
    Nanos limit = clock_now() + drain_limit;
    while (region.use->load() != 0 && clock_now() < limit) {
        if (hub_.poll(inbox_.get()) == 0) {
            std::this_thread::yield();
        }
    }
    for (Rail* rail : rails_) {
        std::lock_guard guard(rail->lock());
        rail->use_forget(region.use.get());
    }
    region.use->store(0);
}

const WireCounters& FabricWire::counters() const {
    counters_.registrations = memory_.registrations.load();
    counters_.deregistrations = memory_.deregistrations.load();
    counters_.registration_hits = memory_.hits.load();
    return counters_;
}

RemoteRef FabricWire::ref(Region id, uint64_t offset, uint32_t) const {
    ASSERT(id.id != 0 && id.id <= regions_.size());
    const LocalRegion& region = regions_[id.id - 1];
    ASSERT(region.base != nullptr && offset <= region.bytes);
    const std::byte* at = region.base + offset;
    const MemoryCache::Window& window = region.windows.at(at);
    const std::byte* end =
        std::min(region.base + region.bytes, window.span.base + window.span.bytes);
    RemoteRef ref;
    bool virtual_address = rails_.front()->virtual_addresses();
    ref.words[0] = virtual_address ? reinterpret_cast<uint64_t>(at)
                                   : static_cast<uint64_t>(at - window.span.base);
    ref.words[1] = uint64_t{rails_.size()} << ref_rails_at |
                   (rails_.front()->key_bytes() > 4 ? ref_wide : 0) |
                   (static_cast<uint64_t>(end - at) & ref_bytes_mask);
    for (size_t i = 0; i < rails_.size(); ++i) {
        ref_key_set(ref, i, fi_mr_key(window.on_rails[i].get()));
    }
    return ref;
}

// While a peer has pieces to put here, its address handles are needed: a NIC takes writes only of
// those it has one for.
uint32_t FabricWire::pieces_reserve(uint32_t rank, uint32_t wanted) {
    Peer& peer = peers_[rank];
    const uint32_t got = peer.process != nullptr ? hub_.pieces().reserve(wanted) : 0;
    if (got != 0 && peer.pieces == 0) {
        for (RemotePath* path : peer.paths) {
            path->endpoint->granted.fetch_add(1);
        }
    }
    peer.pieces += got;
    return got;
}

void FabricWire::pieces_return(uint32_t rank, uint32_t count) {
    Peer& peer = peers_[rank];
    ASSERT(count <= peer.pieces);
    peer.pieces -= count;
    if (count != 0 && peer.pieces == 0) {
        for (RemotePath* path : peer.paths) {
            path->endpoint->granted.fetch_sub(1);
        }
    }
    hub_.pieces().give_back(count);
}

bool FabricWire::remote_in_bounds(const Put& put) const {
    uint64_t bytes = put.to.words[1] & ref_bytes_mask;
    size_t rails = ref_rails(put.to);
    return rails > 0 && rails <= ref_rails_max(put.to) && put.offset <= bytes &&
           put.bytes <= bytes - put.offset;
}

Post FabricWire::put(const Put& put) {
    Peer& peer = peers_[put.peer];
    if (peer.state != PeerState::up) {
        return Post::again;
    }
    // Counted before it is posted: the completion may come first. A fence under way lets no new
    // put pass, so that the old ones come to an end.
    PeerFlow& flow = inbox_->flow(put.peer);
    if (flow.in_flight.fetch_add(1) >= caps_.puts_in_flight || flow.fence.load() != 0 ||
        flow.ended.load()) {
        flow.in_flight.fetch_sub(1);
        ++counters_.again;
        return Post::again;
    }
    ASSERT(put.bytes <= caps_.put_bytes_max);
    bool to_memory = !put.to.none() && put.bytes != 0;
    auto posted = to_memory ? put_memory(put, peer) : put_value(put, peer);
    if (posted.ok() && posted.value() == Post::accepted) {
        ++counters_.puts;
        counters_.put_bytes += put.bytes;
        return Post::accepted;
    }
    flow.in_flight.fetch_sub(1);
    ++counters_.again;
    if (!posted.ok()) {
        fail(put.peer, std::move(posted).error());
    }
    return Post::again;
}

Result<Post> FabricWire::put_value(const Put& put, Peer& peer) {
    ASSERT(put.bytes <= value_bytes_max);
    MessageHeader header = header_to(peer, MessageKind::value);
    header.imm = put.imm.pack();
    header.bytes = static_cast<uint32_t>(put.bytes);
    header.flags = put.to.none() ? 0 : value_for_memory;
    if (put.notify) {
        header.flags |= value_wants_ack;
        header.word = ++sequence_;
        value_cookies_[header.word] = put.cookie;
    }
    // One rail per peer, small puts are not striped; the next one while the peer does not know it.
    size_t index = put.peer % peer.paths.size();
    for (size_t tried = 1; !confirmed(peer, index); ++tried) {
        if (tried == peer.paths.size()) {
            value_cookies_.erase(header.word);
            return Post::again;
        }
        index = (index + 1) % peer.paths.size();
    }
    header.rail = static_cast<uint8_t>(index);
    Rail& rail = *rails_[index];
    TxOwner owner;
    owner.inbox = inbox_.get();
    owner.flow = &inbox_->flow(put.peer);
    owner.peer = put.peer;
    owner.at = header.rail;
    std::unique_lock guard(rail.lock());
    auto posted = rail.send(*peer.paths[index]->endpoint, header, put.from, owner);
    guard.unlock();
    bool accepted = posted.ok() && posted.value() == Post::accepted;
    if (accepted) {
        counters_.rail_bytes[index] += put.bytes;
    } else if (put.notify) {
        value_cookies_.erase(header.word);
    }
    return posted;
}

// The rail with the fewest bytes under way, from a start that moves on so that equal rails share;
// rails_max when each has all it may have on its way to the peer. The rest waits here, where small
// messages overtake it and whichever rail is free first takes it.
size_t FabricWire::rail_choose(uint32_t peer, size_t usable) {
    size_t count = std::min(peers_[peer].paths.size(), usable);
    size_t best = rails_max;
    for (size_t i = 0; i < count; ++i) {
        size_t index = (counters_.puts + i) % count;
        const FlowRail& flow = inbox_->flow_rail(peer, index);
        uint64_t under_way = flow.bytes.load();
        uint64_t window = flow.window.bytes(hub_.rail_window());
        bool room = confirmed(peers_[peer], index);
        room = room && (under_way == 0 || under_way <= window);
        if (room && (best == rails_max ||
                     rails_[index]->outstanding_bytes() < rails_[best]->outstanding_bytes())) {
            best = index;
        }
    }
    return best;
}

// All but where to.
RemoteWrite FabricWire::write_of(const Put& put, size_t rail) const {
    RemoteWrite write;
    write.from = put.from;
    write.bytes = put.bytes;
    const MemoryCache::Window& window = regions_[put.from_region.id - 1].windows.at(put.from);
    ASSERT(static_cast<const std::byte*>(put.from) + put.bytes <=
           window.span.base + window.span.bytes);
    write.descriptor = fi_mr_desc(window.on_rails[rail].get());
    write.address = put.to.words[0] + put.offset;
    write.key = ref_key(put.to, rail);
    write.imm = put.imm.pack();
    return write;
}

Result<Post> FabricWire::put_memory(const Put& put, Peer& peer) {
    if (!remote_in_bounds(put)) {
        return make_error(
            Code::remote, Scope::peer,
            format("rank %u granted %llu bytes on %zu rails, a put of %zu at %llu does "
                   "not fit",
                   put.peer, static_cast<unsigned long long>(put.to.words[1] & ref_bytes_mask),
                   ref_rails(put.to), put.bytes, static_cast<unsigned long long>(put.offset)));
    }
    ASSERT(put.from_region.id != 0 && put.from_region.id <= regions_.size());
    LocalRegion& region = regions_[put.from_region.id - 1];
    size_t index = rail_choose(put.peer, ref_rails(put.to));
    if (index == rails_max) {
        return Post::again;
    }
    RemoteWrite write = write_of(put, index);
    write.to = peer.paths[index]->endpoint;
    FlowRail& flow_rail = inbox_->flow_rail(put.peer, index);
    TxOwner owner{inbox_.get(),     &inbox_->flow(put.peer),
                  region.use.get(), put.peer,
                  put.cookie,       put.notify,
                  put.bytes,        {},
                  &flow_rail,       static_cast<uint8_t>(index)};
    Rail& rail = *rails_[index];
    region.use->fetch_add(1);
    const uint64_t before = flow_rail.bytes.fetch_add(put.bytes);
    std::unique_lock guard(rail.lock());
    owner.mark = flow_rail.window.posted(hub_.rail_window(), before, put.bytes, clock_now());
    auto posted = rail.write(write, owner);
    guard.unlock();
    if (!posted.ok() || posted.value() == Post::again) {
        region.use->fetch_sub(1);
        flow_rail.bytes.fetch_sub(put.bytes);
    } else {
        counters_.rail_bytes[index] += put.bytes;
    }
    return posted;
}

void FabricWire::fail(uint32_t peer, Error error) {
    Event event;
    event.kind = Event::Kind::failure;
    event.peer = peer;
    event.word = failure_of_ours;
    event.error = std::make_unique<Error>(std::move(error));
    inbox_->push(std::move(event), false);
}

int FabricWire::progress(WireSink& sink, Nanos now, int budget) {
    asleep(false);
    hub_.service().driven(clock_now());  // `now` may be some rounds old
    hub_.poll(inbox_.get());
    hub_.processes().watch(now, inbox_.get());
    if (!connecting_.empty()) {
        connecting_advance(now);
    }
    int handled = 0;
    while (handled < budget) {
        if (next_event_ == events_.size()) {
            events_.clear();
            next_event_ = 0;
            inbox_->swap(events_);
            if (events_.empty()) {
                break;
            }
        }
        Event event = std::move(events_[next_event_++]);
        handle(event, sink);
        ++handled;
    }
    return handled;
}

void FabricWire::handle(Event& event, WireSink& sink) {
    switch (event.kind) {
        case Event::Kind::arrival:
            ++counters_.arrivals;
            return sink.on_arrival(Imm::unpack(event.imm), nullptr, 0);
        case Event::Kind::value:
            return on_value(event, sink);
        case Event::Kind::delivered:
            return sink.on_delivered(event.word);
        case Event::Kind::flushed:
            return on_flushed(event.word);
        case Event::Kind::hello:
            return on_hello(event);
        case Event::Kind::hello_ack:
            peers_[event.peer].hellos_acknowledged |= 1u << event.rail;
            return up_check(event.peer);
        case Event::Kind::value_ack:
            return on_value_ack(event, sink);
        case Event::Kind::fence_ack:
            fence_acknowledged(event);
            return;
        case Event::Kind::failure:
            return on_failure(event, sink);
        case Event::Kind::renewed:
            return on_renewed(event.rail);
        case Event::Kind::moved:
            return on_moved(event);
        case Event::Kind::moved_ack:
            return on_moved_ack(event);
        case Event::Kind::lost:
            return on_lost(event, sink);
    }
}

void FabricWire::on_value(Event& event, WireSink& sink) {
    ++counters_.arrivals;
    counters_.arrival_bytes += event.bytes;
    MessageHeader header;
    std::memcpy(&header, event.buffer->data, sizeof header);
    const std::byte* body = event.buffer->data + sizeof header;
    bool by_value = (header.flags & value_for_memory) == 0;
    sink.on_arrival(Imm::unpack(event.imm), by_value ? body : nullptr, event.bytes);
}

// May come before the local connect(), which then acknowledges it.
void FabricWire::on_hello(Event& event) {
    Peer& peer = peers_[event.peer];
    uint32_t bit = 1u << event.rail;
    inbox_->flow(event.peer).hello_waiting.fetch_and(~bit);
    const char* body = reinterpret_cast<const char*>(event.buffer->data + sizeof(MessageHeader));
    auto hello = hello_parse({body, event.bytes});
    bool known = peer.process != nullptr;
    if (!hello || hello->group != config_.group ||
        (known && (hello->process != peer.process->uid || event.rail >= peer.paths.size()))) {
        LOG(info, net, "dropped a hello of rank %u that does not match its address", event.peer);
        return;
    }
    peer.hellos_received |= bit;
    if (peer.hello_in.empty()) {
        peer.hello_in = hello->blob;
    }
    if (known) {
        control(peer, event.rail, MessageKind::hello_ack, {});
        up_check(event.peer);
    }
}

void FabricWire::on_value_ack(const Event& event, WireSink& sink) {
    auto entry = value_cookies_.find(event.word);
    if (entry == value_cookies_.end()) {
        return;
    }
    uint64_t cookie = entry->second;
    value_cookies_.erase(entry);
    sink.on_delivered(cookie);
}

bool FabricWire::in_flight() const {
    for (uint32_t rank = 0; rank < peers_.size(); ++rank) {
        if (peers_[rank].state == PeerState::up && inbox_->flow(rank).in_flight.load() != 0) {
            return true;
        }
    }
    return false;
}

void FabricWire::drain_own(Nanos limit_ns) {
    Nanos limit = clock_now() + limit_ns;
    while (in_flight() && clock_now() < limit) {
        if (hub_.poll(inbox_.get()) == 0) {
            std::this_thread::yield();
        }
    }
}

void FabricWire::asleep(bool asleep) {
    if (asleep != asleep_) {
        asleep_ = asleep;
        asleep ? hub_.waits().sleeper_add() : hub_.waits().sleeper_remove();
    }
}

bool FabricWire::arm() {
    if (next_event_ < events_.size() || !inbox_->empty() || !hub_.may_sleep()) {
        return false;
    }
    if (hub_.wait_fd() >= 0) {
        asleep(true);
        hub_.service().slept_on(clock_now());
    }
    return true;
}

}  // namespace weft::fabric
