// One communicator rank on the fabric: its connections, its regions and its puts. Thread rule:
// thread-bound to the shard's driver, as transports/wire.h says; what other threads find for it
// waits in its inbox. Lifetime: hub before wire.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "transports/fabric/hub.h"
#include "transports/hubs.h"

namespace weft::fabric {

class FabricWire final : public Wire {
  public:
    static Result<std::unique_ptr<Wire>> make(FabricHub& hub, const WireConfig& config,
                                              std::vector<Rail*> rails);
    ~FabricWire() override;

    const Caps& caps() const override { return caps_; }
    const WireCounters& counters() const override;
    std::string address() const override { return address_; }
    Result<uint32_t> tokens_reserve(uint32_t count) override;
    Result<void> connect(uint32_t peer, std::string_view address, std::string_view hello) override;
    PeerState state(uint32_t peer) const override { return peers_[peer].state; }
    std::string_view hello_of(uint32_t peer) const override { return peers_[peer].hello_in; }
    Result<Region> expose(void* memory, size_t bytes) override;
    void conceal(Region region) override { region_end(region, true); }
    void release(Region region) override { region_end(region, false); }
    RemoteRef ref(Region region, uint64_t offset, uint32_t peer) const override;
    uint32_t pieces_reserve(uint32_t peer, uint32_t wanted) override;
    void pieces_return(uint32_t peer, uint32_t count) override;
    Post put(const Put& put) override;
    Result<Post> put_own(const Put& put) override;
    Result<Post> flush(uint32_t peer, Region region, size_t bytes) override;
    bool busy(Region region) const override { return regions_[region.id - 1].reads != 0; }
    int progress(WireSink& sink, Nanos now, int budget) override;
    const std::byte* map(uint32_t, const RemoteRef&, uint64_t) override { return nullptr; }
    Result<void> fence(uint32_t peer) override { return fence_ask(peer, 0); }
    Result<void> cut(uint32_t peer, std::string_view why) override;
    int wait_fd() const override { return hub_.wait_fd(); }
    bool arm() override;

  private:
    struct Peer {
        PeerState state = PeerState::idle;
        RemoteProcess* process = nullptr;  // owned by the hub, held by a use count
        uint64_t wire = 0;
        std::string hello_out;
        std::string hello_in;
        Nanos greeted = 0;      // when first
        Nanos hello_again = 0;  // when to repeat what was not acknowledged
        Nanos hello_wait = 0;
        uint64_t fence_acknowledged = 0;
        Processes::Paths paths;        // by rail; as many as both sides have
        uint32_t hellos_received = 0;  // a bit for each rail
        uint32_t hellos_acknowledged = 0;
        uint32_t pieces = 0;  // granted to it, not returned
        // A bit for each rail here whose present endpoint it has not confirmed: nothing is put on
        // it.
        uint32_t moved_waiting = 0;
        std::vector<uint32_t> incarnations;  // of its rails, as last heard
    };
    struct LocalRegion {
        std::byte* base = nullptr;  // null: a free entry
        size_t bytes = 0;
        MemoryCache::Held windows;
        // Puts that read from it, and flushes; stays with the entry.
        std::unique_ptr<std::atomic<uint32_t>> use;
        size_t flushed = 0;  // rails that a flush has been posted on
        uint32_t reads = 0;  // of these, not heard of
        uint32_t life = 0;   // counts the regions that had this entry
    };

    FabricWire(FabricHub& hub, const WireConfig& config, std::vector<Rail*> rails, uint64_t uid);
    MessageHeader header_to(const Peer& peer, MessageKind kind) const;
    void control(const Peer& peer, size_t rail, MessageKind kind, std::string_view body,
                 uint64_t word = 0, uint8_t flags = 0);
    void control_everywhere(const Peer& peer, MessageKind kind, std::string_view body,
                            uint64_t word = 0, uint8_t flags = 0);
    void address_note();
    bool confirmed(const Peer& peer, size_t rail) const;
    void moved_send(const Peer& peer);
    bool fence_wait(Peer& peer, uint64_t word, Nanos limit_ns);
    Result<void> fence_ask(uint32_t rank, uint8_t flags);
    void fence_acknowledged(const Event& event);
    void farewell();
    Result<void> fence_own(uint32_t rank);
    void hellos_send(Peer& peer, Nanos now);
    void connecting_advance(Nanos now);
    void up_check(uint32_t peer);
    void reach_check(uint32_t rank, Nanos now);
    std::optional<Error> unreached(uint32_t rank, size_t at, Nanos now) const;

    void region_end(Region id, bool revoke);
    void reads_end(LocalRegion& region);
    Result<Post> put_value(const Put& put, Peer& peer);
    Result<Post> put_memory(const Put& put, Peer& peer);
    RemoteWrite write_of(const Put& put, size_t rail) const;
    Result<Post> flush_on(uint32_t peer, Region id, size_t rail, size_t bytes);
    TxOwner owner_of_own(uint32_t peer, LocalRegion& region, size_t rail);
    void on_flushed(uint64_t cookie);
    size_t rail_choose(uint32_t peer, size_t usable);
    bool remote_in_bounds(const Put& put) const;
    void fail(uint32_t peer, Error error);

    void handle(Event& event, WireSink& sink);
    void on_value(Event& event, WireSink& sink);
    void on_hello(Event& event);
    void on_value_ack(const Event& event, WireSink& sink);
    void on_failure(Event& event, WireSink& sink);
    void on_renewed(size_t at);
    void under_way_lost(uint32_t rank, size_t at);
    void on_moved(const Event& event);
    void on_moved_ack(const Event& event);
    void on_lost(const Event& event, WireSink& sink);
    void drain_own(Nanos limit_ns);
    bool in_flight() const;
    void asleep(bool asleep);

    FabricHub& hub_;
    const WireConfig config_;
    const std::vector<Rail*> rails_;  // the hub's
    std::string address_;             // as published, with the endpoints of these incarnations:
    std::vector<uint32_t> incarnations_;
    std::vector<uint32_t> present_;  // incarnations that peers were or are being told of
    Caps caps_;
    std::unique_ptr<Inbox> inbox_;
    std::vector<Peer> peers_;
    std::vector<uint32_t> connecting_;
    std::vector<LocalRegion> regions_;  // index = Region::id - 1
    std::vector<uint32_t> free_regions_;
    std::vector<std::pair<uint32_t, uint32_t>> tokens_;
    std::unordered_map<uint64_t, uint64_t> value_cookies_;  // sequence -> cookie
    uint64_t sequence_ = 0;                                 // of value acknowledgements and fences
    std::vector<Event> events_;  // taken from the inbox, from next_event_
    size_t next_event_ = 0;
    bool asleep_ = false;  // counted among the sleepers of the hub
    mutable WireCounters counters_;
    MemoryCache::User own_memory_;
    MemoryCache::User& memory_;  // own, or the hub's, which other wires use too
};

}  // namespace weft::fabric
