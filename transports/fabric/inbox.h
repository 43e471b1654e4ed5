// Where other threads leave what happened to one wire: completions found by whoever polled, handed
// to the wire's sink by its own progress. Thread-safe. Bounded by the credits of the link layer
// above. Lifetime: owned by the wire; the hub's tables point to it between attach and destruction.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "src/base/result.h"
#include "transports/doorbell.h"
#include "transports/fabric/buffers.h"
#include "transports/fabric/message.h"
#include "transports/fabric/window.h"

namespace weft::fabric {

struct Event {
    enum class Kind : uint8_t {
        arrival,
        value,
        delivered,
        flushed,  // one rail's read of a region
        hello,
        hello_ack,
        value_ack,
        fence_ack,
        failure,
        renewed,  // a rail here, `rail` of the wire's, is another incarnation
        moved,
        moved_ack,
        lost
    };
    Kind kind = Kind::arrival;
    uint8_t rail = 0;
    uint32_t peer = 0;
    uint32_t imm = 0;
    uint32_t bytes = 0;  // of the body in `buffer`
    uint64_t word = 0;   // cookie or sequence
    BufferPtr buffer;    // whole message: header, then body
    std::unique_ptr<Error> error;
};

// The word of a failure that was found here: the peer is told.
inline constexpr uint64_t failure_of_ours = 1;

struct RemoteEndpoint;

// One rail of a (wire, peer).
struct FlowRail {
    std::atomic<uint64_t> bytes{0};                  // of the puts not finished, written by it
    Window window;                                   // of them; the rail's lock
    std::atomic<RemoteEndpoint*> endpoint{nullptr};  // set once by connect; the rail's
};

// What any thread must know of a (wire, peer) to answer for it.
struct PeerFlow {
    std::atomic<uint32_t> in_flight{0};  // puts not finished
    std::atomic<uint64_t> fence{0};      // sequence to acknowledge when none is; 0: none asked
    std::atomic<bool> ended{false};      // it takes no more puts
    std::atomic<uint64_t> wire{0};       // the peer's wire uid
    // A bit for each rail whose hello lies unread in the inbox: its repetitions are dropped,
    // however long the owner is away.
    std::atomic<uint32_t> hello_waiting{0};
    static_assert(rails_max <= 32);
};

class Inbox {
  public:
    // `rails`: of the wire, by the hub's numbers.
    Inbox(uint64_t uid, uint32_t rank, uint32_t rank_count, std::vector<uint8_t> rails,
          Doorbell* doorbell)
        : uid_(uid),
          rank_(rank),
          rails_(std::move(rails)),
          flows_(rank_count),
          flow_rails_(rank_count * rails_.size()),
          doorbell_(doorbell) {}

    uint64_t uid() const { return uid_; }
    uint32_t rank() const { return rank_; }
    uint32_t rank_count() const { return static_cast<uint32_t>(flows_.size()); }
    PeerFlow& flow(uint32_t peer) { return flows_[peer]; }
    FlowRail& flow_rail(uint32_t peer, size_t rail) {
        return flow_rails_[peer * rails_.size() + rail];
    }
    // Whether the wire's rail `at` is the hub's `index`.
    bool rides(size_t at, uint8_t index) const { return at < rails_.size() && rails_[at] == index; }

    // The wire's own number of the hub's rail, if it rides that.
    std::optional<uint8_t> rail_at(uint8_t index) const;

    // `ring`: the owner may be asleep (it is not when it polls itself).
    void push(Event event, bool ring);
    bool empty() const { return !some_.load(std::memory_order_acquire); }
    void swap(std::vector<Event>& events);  // hands over everything; `events` must be empty

  private:
    const uint64_t uid_;
    const uint32_t rank_;
    const std::vector<uint8_t> rails_;
    std::vector<PeerFlow> flows_;
    std::vector<FlowRail> flow_rails_;  // by peer, then rail of the wire
    Doorbell* doorbell_;                // owned by the shard; may be null
    std::mutex lock_;
    std::vector<Event> events_;
    std::atomic<bool> some_{false};  // of events_, for readers without the lock
};

}  // namespace weft::fabric
