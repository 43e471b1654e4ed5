// Peers in the same process. The sender copies into the target's memory itself and tells the
// immediate through a ring; both sides of a pair share one piece of memory with a ring each way.
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

#include "src/base/log.h"
#include "transports/common/mailbox.h"
#include "transports/common/ring.h"
#include "transports/common/tokens.h"
#include "transports/hubs.h"
#include "transports/loopback/region_table.h"

namespace weft {

namespace {

constexpr uint32_t inline_bytes = 16 * 1024 + 512;  // an eager slot of 16 KiB and its header
constexpr uint32_t puts_in_flight = 1024;
constexpr size_t hello_bytes_max = 192;

enum Kind : uint16_t { kind_value = 1, kind_placed = 2 };

// What the two wires of a pair share. Shared pointer: either may go first.
class Pair {
  public:
    static Result<std::shared_ptr<Pair>> create(RingShape shape) {
        auto pair = std::make_shared<Pair>();
        pair->shape_ = shape;
        pair->memory_ = ::mmap(nullptr, pair->bytes(), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pair->memory_ == MAP_FAILED) {
            return make_error(Code::system, Scope::peer,
                              format("cannot map %zu bytes for a ring", pair->bytes()));
        }
        return pair;
    }
    Pair() = default;
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;
    ~Pair() {
        if (memory_ != MAP_FAILED) {
            ::munmap(memory_, bytes());
        }
    }
    RingView ring(int side) const {
        return {static_cast<std::byte*>(memory_) + static_cast<size_t>(side) * shape_.bytes(),
                shape_};
    }

    // By the side that writes: a copy into the other's memory is under way.
    struct alignas(ring_line_bytes) Copying {
        std::atomic<bool> now{false};
    };
    std::array<Copying, 2> copying;

  private:
    size_t bytes() const { return 2 * shape_.bytes(); }

    RingShape shape_;
    void* memory_ = MAP_FAILED;
};

struct Core;

struct News {
    enum class What : uint8_t { up, closed } what = What::up;
    uint32_t peer = 0;  // the reader's name for the other side
    uint32_t name = 0;  // the other side's name for the reader
    int side = 0;
    std::shared_ptr<Pair> pair;
    std::shared_ptr<Core> other;
    std::string hello;
};

// The part of a wire that its peers reach. Shared pointer: a peer may be in the middle of a put
// when the wire goes.
struct Core {
    Core(uint64_t own_id, const WireConfig& from)
        : id(own_id), rank_count(from.rank_count), mail(from.doorbell->page()) {}

    const uint64_t id;
    const uint32_t rank_count;
    Mailbox<News> mail;
    RegionTable regions;
    std::atomic<uint64_t> dropped{0};  // puts that met a closed region
};

// Which wires there are and who waits for whom. Thread-safe.
class Registry {
  public:
    Registry() {
        static std::atomic<uint32_t> hubs{0};
        prefix_ = format("loopback:%d:%u:", ::getpid(), hubs.fetch_add(1));
    }

    std::shared_ptr<Core> add(const WireConfig& config) {
        const std::lock_guard lock(mutex_);
        const uint64_t id = next_id_++;
        return cores_[id] = std::make_shared<Core>(id, config);
    }

    std::string address(uint64_t id) const { return prefix_ + std::to_string(id); }

    // Both sides come here; the second one makes the pair.
    Result<void> connect(const std::shared_ptr<Core>& from, uint32_t peer, std::string_view address,
                         std::string_view hello) {
        const std::lock_guard lock(mutex_);
        const auto other = find(address);
        if (other == nullptr || other == from) {
            return make_error(Code::remote, Scope::peer,
                              format("rank %u is not at \"%.*s\" in this process (any more)", peer,
                                     static_cast<int>(address.size()), address.data()));
        }
        const auto offer = offers_.find({other->id, from->id});
        if (offer == offers_.end()) {
            offers_[{from->id, other->id}] = Offer{peer, std::string(hello)};
            return {};
        }
        const auto pair = TRY(Pair::create(ring_shape(from->rank_count)));
        const uint32_t name = offer->second.peer;
        other->mail.push({News::What::up, name, peer, 1, pair, from, std::string(hello)});
        from->mail.push(
            {News::What::up, peer, name, 0, pair, other, std::move(offer->second.hello)});
        offers_.erase(offer);
        return {};
    }

    // Those who wait for it hear that it is gone; those connected hear it from the wire.
    void remove(uint64_t id) {
        const std::lock_guard lock(mutex_);
        std::erase_if(offers_, [&](const auto& entry) {
            if (entry.first.second == id) {
                cores_.at(entry.first.first)
                    ->mail.push({News::What::closed, entry.second.peer, 0, 0, {}, {}, {}});
            }
            return entry.first.first == id || entry.first.second == id;
        });
        cores_.erase(id);
    }

  private:
    struct Offer {
        uint32_t peer = 0;  // the offering side's name for the other
        std::string hello;
    };

    std::shared_ptr<Core> find(std::string_view address) const {
        if (!address.starts_with(prefix_)) {
            return nullptr;
        }
        for (const auto& [id, core] : cores_) {
            if (address.substr(prefix_.size()) == std::to_string(id)) {
                return core;
            }
        }
        return nullptr;
    }

    std::mutex mutex_;
    std::string prefix_;
    uint64_t next_id_ = 1;
    std::unordered_map<uint64_t, std::shared_ptr<Core>> cores_;
    std::map<std::pair<uint64_t, uint64_t>, Offer> offers_;  // (from, to)
};

class LoopbackWire final : public Wire {
  public:
    LoopbackWire(std::shared_ptr<Registry> registry, const WireConfig& config)
        : registry_(std::move(registry)), core_(registry_->add(config)), peers_(config.rank_count) {
        caps_.name = "loopback";
        caps_.put_bytes_max = SIZE_MAX / 2;
        caps_.piece_bytes = 1u << 20;
        caps_.inline_bytes = inline_bytes;
        caps_.puts_in_flight = puts_in_flight;
        caps_.peer_load = true;
    }

    ~LoopbackWire() override {
        registry_->remove(core_->id);
        take_news();
        for (uint32_t i = 0; i < core_->regions.capacity(); i++) {
            if (core_->regions.is_open(i)) {
                core_->regions.close(i);
            }
        }
        for (const auto& peer : peers_) {
            if (peer.other != nullptr) {
                peer.other->mail.push({News::What::closed, peer.name, 0, 0, {}, {}, {}});
            }
        }
    }

    const Caps& caps() const override { return caps_; }
    const WireCounters& counters() const override {
        counters_.dropped = core_->dropped.load(std::memory_order_relaxed);
        return counters_;
    }
    std::string address() const override { return registry_->address(core_->id); }

    Result<uint32_t> tokens_reserve(uint32_t count) override { return tokens_.reserve(count); }

    Result<void> connect(uint32_t peer, std::string_view address, std::string_view hello) override {
        if (peer >= peers_.size() || hello.size() > hello_bytes_max ||
            peers_[peer].state != PeerState::idle) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("cannot connect to rank %u of %zu with a hello of %zu bytes",
                                     peer, peers_.size(), hello.size()));
        }
        TRY(registry_->connect(core_, peer, address, hello));
        peers_[peer].state = PeerState::connecting;
        return {};
    }

    PeerState state(uint32_t peer) const override { return peers_.at(peer).state; }
    std::string_view hello_of(uint32_t peer) const override { return peers_.at(peer).hello; }

    Result<Region> expose(void* memory, size_t bytes) override {
        const int64_t index = core_->regions.open(memory, bytes);
        if (index < 0) {
            return make_error(Code::system, Scope::operation,
                              "more than 65536 regions of memory are exposed at once");
        }
        counters_.registrations++;
        return Region{static_cast<uint32_t>(index) + 1};
    }

    void conceal(Region region) override {
        ASSERT(region.id != 0 && core_->regions.is_open(region.id - 1));
        core_->regions.close(region.id - 1);
    }

    RemoteRef ref(Region region, uint64_t offset, uint32_t) const override {
        ASSERT(region.id != 0);
        return RemoteRef{{core_->regions.key(region.id - 1), offset, core_->id}};
    }

    Post put(const Put& put) override;
    int progress(WireSink& sink, Nanos now, int budget) override;
    const std::byte* map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) override;
    Result<void> fence(uint32_t peer) override;

    int wait_fd() const override { return -1; }
    bool arm() override;

  private:
    struct Peer {
        PeerState state = PeerState::idle;
        uint32_t name = 0;  // what it calls this wire
        int side = 0;
        std::shared_ptr<Pair> pair;
        std::shared_ptr<Core> other;
        std::string hello;
        RingProducer out;
        RingConsumer in;
        bool closed = false;    // it went; what it sent before is still to be read
        bool missed = false;    // something was wanted from it after that
        bool reported = false;  // on_failure was called
    };
    // What the poll loop reads: a few bytes per connected peer, side by side.
    struct Poll {
        const RingCell* cell = nullptr;
        uint32_t seq = 0;
        uint32_t peer = 0;
    };

    bool push(Peer& peer, const Put& put);
    bool place(Peer& peer, const Put& put);
    void take_news();
    int report(WireSink& sink, int budget);
    int drain(Poll& poll, WireSink& sink, int budget);
    void ring(const Peer& peer) {
        const DoorbellPage& bell = *peer.other->mail.bell();
        Doorbell::ring(*bell.word, bell.event.get());
    }

    std::shared_ptr<Registry> registry_;  // shared: wires may outlive the hub in a test's teardown
    std::shared_ptr<Core> core_;
    Caps caps_;
    mutable WireCounters counters_;
    std::vector<Peer> peers_;
    std::vector<Poll> polls_;
    std::deque<uint64_t> delivered_;  // cookies to report
    bool leaving_ = false;            // some peer closed: look for failures to report
    TokenSpace tokens_;
};

Post LoopbackWire::put(const Put& put) {
    Peer& peer = peers_[put.peer];
    const bool by_value = put.to.none();
    ASSERT(!by_value || put.bytes <= inline_bytes);
    if (peer.state != PeerState::up || peer.closed) {
        peer.missed = true;
    } else if (delivered_.size() < puts_in_flight &&
               (by_value ? push(peer, put) : place(peer, put))) {
        counters_.puts++;
        counters_.put_bytes += put.bytes;
        if (put.notify) {
            delivered_.push_back(put.cookie);
        }
        ring(peer);
        return Post::accepted;
    }
    counters_.again++;
    return Post::again;
}

bool LoopbackWire::push(Peer& peer, const Put& put) {
    return peer.out.push(kind_value, put.imm.pack(),
                         {static_cast<const std::byte*>(put.from), put.bytes});
}

// Copies into the peer's memory, unless that is closed; then the put is dropped and its immediate
// with it, as a network would.
bool LoopbackWire::place(Peer& peer, const Put& put) {
    if (!peer.out.ready()) {
        return false;
    }
    std::atomic<bool>& copying = peer.pair->copying[static_cast<size_t>(peer.side)].now;
    copying.store(true, std::memory_order_relaxed);
    const uint64_t at = put.to.words[1] + put.offset;
    RegionTable::Slot* slot = put.to.words[2] == peer.other->id && at >= put.offset
                                  ? peer.other->regions.enter(put.to.words[0], at, put.bytes)
                                  : nullptr;
    if (slot == nullptr) {
        peer.other->dropped.fetch_add(1, std::memory_order_relaxed);
    } else {
        if (put.bytes > 0) {
            std::memcpy(slot->base + at, put.from, put.bytes);
        }
        RegionTable::leave(slot);
        const uint64_t bytes = put.bytes;
        const bool pushed =
            peer.out.push(kind_placed, put.imm.pack(), std::as_bytes(std::span(&bytes, 1)));
        ASSERT(pushed);
    }
    copying.store(false, std::memory_order_release);
    return true;
}

int LoopbackWire::progress(WireSink& sink, Nanos, int budget) {
    int events = 0;
    if (core_->mail.news()) [[unlikely]] {
        take_news();
        events++;  // a caller about to sleep must look again
    }
    while (!delivered_.empty() && events < budget) {
        const uint64_t cookie = delivered_.front();
        delivered_.pop_front();
        sink.on_delivered(cookie);
        events++;
    }
    for (Poll& poll : polls_) {
        if (poll.cell->seq.load(std::memory_order_acquire) == poll.seq) {
            events += drain(poll, sink, budget - events);
        }
    }
    if (leaving_) [[unlikely]] {
        events += report(sink, budget - events);
    }
    return events;
}

int LoopbackWire::drain(Poll& poll, WireSink& sink, int budget) {
    RingConsumer& in = peers_[poll.peer].in;
    RingMessage message;
    int events = 0;
    while (events < budget && in.peek(&message) == RingConsumer::Peek::message) {
        const Imm imm = Imm::unpack(message.imm);
        counters_.arrivals++;
        if (message.kind == kind_value) {
            counters_.arrival_bytes += message.length;
            sink.on_arrival(imm, message.data, message.length);
        } else {
            uint64_t bytes = 0;
            std::memcpy(&bytes, message.data, sizeof bytes);
            counters_.arrival_bytes += bytes;
            sink.on_arrival(imm, nullptr, 0);
        }
        in.pop();
        events++;
    }
    poll.cell = in.next_cell();
    poll.seq = in.next_seq();
    if (in.publish()) {
        ring(peers_[poll.peer]);
    }
    return events;
}

void LoopbackWire::take_news() {
    for (News& news : core_->mail.take()) {
        Peer& peer = peers_[news.peer];
        if (news.what == News::What::closed) {
            peer.closed = true;
            leaving_ = true;
            continue;
        }
        peer.name = news.name;
        peer.side = news.side;
        peer.pair = std::move(news.pair);
        peer.other = std::move(news.other);
        peer.hello = std::move(news.hello);
        peer.out = RingProducer(peer.pair->ring(peer.side));
        peer.in = RingConsumer(peer.pair->ring(1 - peer.side));
        peer.state = PeerState::up;
        polls_.push_back({peer.in.next_cell(), peer.in.next_seq(), news.peer});
    }
}

// A peer that closed is a failure only for one who still wants something from it: ranks leave a
// communicator one by one.
int LoopbackWire::report(WireSink& sink, int budget) {
    int events = 0;
    for (uint32_t p = 0; p < peers_.size() && events < budget; p++) {
        Peer& peer = peers_[p];
        const bool wanted = peer.missed || peer.state == PeerState::connecting;
        if (peer.closed && wanted && !peer.reported) {
            peer.reported = true;
            peer.state = PeerState::failed;
            sink.on_failure(p, make_error(Code::remote, Scope::peer,
                                          format("rank %u closed its side of the link", p)));
            events++;
        }
    }
    return events;
}

const std::byte* LoopbackWire::map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) {
    const Peer& from = peers_.at(peer);
    if (from.state != PeerState::up || ref.words[2] != from.other->id) {
        return nullptr;
    }
    RegionTable::Slot* slot = from.other->regions.enter(ref.words[0], ref.words[1], bytes);
    if (slot == nullptr) {
        return nullptr;
    }
    const std::byte* at = slot->base + ref.words[1];
    RegionTable::leave(slot);
    return at;
}

// A put copies before it returns: only one under way in another thread can still land.
Result<void> LoopbackWire::fence(uint32_t peer) {
    const Peer& from = peers_.at(peer);
    while (from.pair != nullptr && from.pair->copying[static_cast<size_t>(1 - from.side)].now.load(
                                       std::memory_order_acquire)) {
        sched_yield();
    }
    return {};
}

bool LoopbackWire::arm() {
    return !core_->mail.news() && delivered_.empty() &&
           std::ranges::none_of(polls_, [](const Poll& poll) {
               return poll.cell->seq.load(std::memory_order_acquire) == poll.seq;
           });
}

class LoopbackHub final : public WireHub {
  public:
    Result<std::unique_ptr<Wire>> attach(const WireConfig& config) override {
        if (config.doorbell == nullptr || config.rank >= config.rank_count) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("a wire for rank %u of %u without a doorbell or a place",
                                     config.rank, config.rank_count));
        }
        return std::unique_ptr<Wire>(std::make_unique<LoopbackWire>(registry_, config));
    }
    std::string describe() const override {
        return format("loopback: peers in this process, by value up to %u bytes", inline_bytes);
    }

  private:
    std::shared_ptr<Registry> registry_ = std::make_shared<Registry>();
};

}  // namespace

std::unique_ptr<WireHub> loopback_hub_make() {
    return std::make_unique<LoopbackHub>();
}

}  // namespace weft
