// The data path between two processes of a host. Messages by value go through rings; large puts are
// one copy:
//
//   target in library memory      the sender maps it once and writes it directly
//   target is private memory      the sender describes its source; the owner of the target pulls,
//                                 from a mapping if the source is library memory, else by
//                                 process_vm_readv
//   ... and pulling is refused    the owner asks for slices, the sender copies them through the
//   ring
//                                 (two copies, counted in copied_bytes)
//
// Nobody writes another process's private memory. Work per progress() is bounded in bytes; what is
// left goes on in the next one.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "transports/common/ring.h"
#include "transports/common/tokens.h"
#include "transports/shm/exchange.h"
#include "transports/wire.h"

namespace weft::shm {

inline constexpr uint32_t inline_bytes = 16 * 1024 + 512;  // an eager slot of 16 KiB and its header
inline constexpr uint32_t jobs_per_peer = 64;

enum class Cell : uint16_t {
    value = 1,   // by value
    placed = 2,  // the bytes are in the target already
    pull = 3,    // come and get them
    slice = 4,   // a piece of what could not be pulled
    done = 5,    // a pull or the last slice is finished
    stage = 6,   // cannot pull: send slices
};

struct PlacedCell {
    uint64_t key = 0;
    uint64_t bytes = 0;
};
struct PullCell {
    uint64_t key = 0;  // target
    uint64_t at = 0;
    uint64_t from = 0;        // source address in the sender
    uint64_t from_key = 0;    // its region there
    uint64_t from_range = 0;  // its library memory there, 0: private
    uint32_t bytes = 0;
    uint32_t job = 0;
};
static_assert(sizeof(PullCell) == ring_cell_bytes);
struct SliceNote {
    uint64_t key = 0;
    uint64_t at = 0;
    uint64_t total = 0;  // of the put, said with the last slice
    uint32_t job = 0;
    uint32_t last = 0;
};
static_assert(sizeof(SliceNote) <= ring_note_bytes);

class ShmWire final : public Wire {
  public:
    ShmWire(std::shared_ptr<Exchange> exchange, std::shared_ptr<Port> port);
    ~ShmWire() override;

    const Caps& caps() const override { return caps_; }
    const WireCounters& counters() const override { return counters_; }
    std::string address() const override { return exchange_->address(*port_); }
    Result<uint32_t> tokens_reserve(uint32_t count) override { return tokens_.reserve(count); }

    Result<void> connect(uint32_t peer, std::string_view address, std::string_view hello) override;
    PeerState state(uint32_t peer) const override { return peers_.at(peer).state; }
    std::string_view hello_of(uint32_t peer) const override;

    Result<Region> expose(void* memory, size_t bytes) override;
    void conceal(Region region) override;
    RemoteRef ref(Region region, uint64_t offset, uint32_t peer) const override;

    Post put(const Put& put) override;
    int progress(WireSink& sink, Nanos now, int budget) override;
    const std::byte* map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) override;
    Result<void> fence(uint32_t peer) override;
    int wait_fd() const override { return -1; }
    bool arm() override;

  private:
    // A put of ours that is not finished.
    struct Job {
        enum class State : uint8_t { free, copying, pulled, staging, staged } state = State::free;
        uint16_t epoch = 0;  // of this place in the table: a late answer meets another
        bool notify = false;
        const std::byte* from = nullptr;
        uint64_t bytes = 0, pos = 0;
        RemoteRef to;
        uint64_t offset = 0;
        uint32_t region = 0;  // of the source
        Imm imm;
        uint64_t cookie = 0;
    };
    // A put of a peer into our private memory.
    struct Pull {
        PullCell cell;
        Imm imm;
        uint64_t pos = 0;
    };
    struct ImportRef {
        enum class State : uint8_t { asked, ready, none } state = State::asked;
        uint64_t range = 0;
        std::shared_ptr<Import> mapped;
    };
    struct Reply {
        Cell kind = Cell::done;
        uint32_t job = 0;
    };
    struct Peer {
        PeerState state = PeerState::idle;
        std::shared_ptr<PeerLink> link;
        RingProducer out;
        RingConsumer in;
        std::vector<Job> jobs;
        std::vector<uint16_t> jobs_free;
        std::deque<Pull> pulls;
        std::vector<Reply> replies;  // met a full ring
        std::vector<ImportRef> imports;
        uint64_t fenced = 0;   // messages before this number place nothing any more
        bool stages = false;   // said that it cannot pull from us
        bool closed = false;   // it went in good order
        bool missed = false;   // something was wanted from it after that
        bool failing = false;  // to be reported once its ring is read to the end
        bool broken = false;   // its ring holds nonsense, nothing more is read
        Error error;
    };
    struct RegionInfo {
        std::byte* base = nullptr;
        size_t bytes = 0;
        uint32_t generation = 0;
        bool open = false;
        uint64_t range = 0;  // library memory that holds it, 0: none
        uint64_t range_offset = 0;
    };
    // What the poll loop reads: a few bytes per connected peer, side by side.
    struct Poll {
        const RingCell* cell = nullptr;
        uint32_t seq = 0;
        uint32_t peer = 0;
    };
    struct Busy {
        uint32_t peer = 0;
        uint16_t job = 0;
    };
    enum class Step : uint8_t { moved, blocked, finished };

    // wire.cpp
    bool put_shared(Peer& peer, const Put& put);
    bool put_private(Peer& peer, const Put& put);
    bool put_empty(Peer& peer, const Put& put);
    bool copy_out(Peer& peer, const RemoteRef& to, uint64_t offset, const void* from, size_t bytes);
    Job* job_take(Peer& peer, const Put& put, Job::State state);
    void job_finish(Peer& peer, Job& job);
    ImportRef& import_of(uint32_t peer, uint64_t range);
    RegionInfo* region_of(uint64_t key);
    void jobs_cancel(Region source);
    void region_close(RegionInfo& info, uint32_t index);
    void untouched_wait(uint64_t key);
    void ring(const Peer& peer) {
        Doorbell::ring(*peer.link->bell->word, peer.link->bell->event.get());
    }

    // progress.cpp
    void take_news();
    void peer_up(uint32_t p, std::shared_ptr<PeerLink> link);
    int report_delivered(WireSink& sink, int budget);
    int drain(Poll& poll, WireSink& sink, int budget);
    bool message_take(uint32_t p, const RingMessage& message, WireSink& sink);
    bool placed_take(const RingMessage& message, WireSink& sink);
    bool pull_take(uint32_t p, const RingMessage& message);
    bool slice_take(Peer& peer, const RingMessage& message, WireSink& sink);
    bool answer_take(uint32_t p, const RingMessage& message);
    void reply(Peer& peer, Reply reply);
    int work(WireSink& sink);
    int work_pulls(WireSink& sink, size_t* bytes);
    int work_jobs(size_t* bytes);
    Step pull_step(uint32_t p, Pull& pull, size_t* bytes);
    size_t pull_copy(uint32_t p, const Pull& pull, std::byte* to, size_t bytes, int* sys);
    Step job_step(Peer& peer, Job& job, size_t* bytes);
    int report_failures(WireSink& sink);
    void peer_forget(uint32_t p);

    std::shared_ptr<Exchange> exchange_;  // shared with the hub and its callbacks
    std::shared_ptr<Port> port_;          // shared with the exchange, until detach
    Caps caps_;
    WireCounters counters_;
    TokenSpace tokens_;
    std::vector<Peer> peers_;
    std::vector<Poll> polls_;
    std::vector<RegionInfo> regions_;
    std::vector<uint32_t> regions_free_;
    std::vector<uint64_t> delivered_;  // cookies to report
    std::deque<uint32_t> pulling_;     // peers with pulls, each once
    std::vector<Busy> busy_;           // our jobs that copy
    bool work_ = false;                // pulling_, busy_ or replies may have something
    bool stuck_ = false;               // the last work() could move nothing
    bool leaving_ = false;             // some peer closed or fails
    size_t jobs_open_ = 0;
};

}  // namespace weft::shm
