// The engine runs ops: one Shard per rank of a communicator in this process, driven by whoever
// waits, else by the service thread. Thread rule: thread-safe unless said otherwise. Lifetime:
// wires and buffers are borrowed until the ticket is finished. Failure rule: every ticket finishes,
// with Success or with the first cause; nothing blocks without a way to be woken.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/base/reactor.h"
#include "src/base/result.h"
#include "src/base/types.h"
#include "src/exec/fingerprint.h"
#include "src/plan/planner.h"
#include "src/reduce/reduce.h"
#include "transports/doorbell.h"
#include "transports/wire.h"

namespace weft {

// One API call, validated.
struct Call {
    Coll coll = Coll::all_reduce;
    const void* send = nullptr;
    void* recv = nullptr;
    uint64_t count = 0;    // elements, as in the API (per block)
    uint64_t part_of = 0;  // elements of the call of which this is a part; 0: it is whole
    DataType type = DataType::float32;
    RedOp op = RedOp::sum;
    int32_t root = 0;      // send_recv: the peer
    bool is_send = false;  // send_recv only: `send` is valid, else `recv`
    // send_recv only, of a call that is done by messages: what both sides compare in its place.
    std::optional<Args> stated;
    // send_recv with another rank only, and both state it: the buffer lies in known memory of a GPU
    // (transports/memory.h), which NICs reach and the CPU does not. What a Recv brought, the GPU
    // sees when the ticket is done.
    bool on_device = false;
    Scalar scalar;  // pre_mul_sum, read before the call returns...
    const void* scalar_at =
        nullptr;  // ...or where to read it when the op starts (ncclScalarDevice)
};

// Of a whole collective.
inline Args args_of(const Call& call) {
    return args_pack(call.coll, call.count, call.type, call.op, call.root);
}

// The state of a submitted bundle (one call, or a group's calls on one communicator, in call
// order).
class Ticket {
  public:
    enum class State : uint8_t { pending, done, failed };
    State state() const { return state_.load(std::memory_order_acquire); }
    const Error& error() const { return error_; }  // valid when failed
  private:
    friend class Shard;
    std::atomic<State> state_{State::pending};
    Error error_;
};
using TicketPtr = std::shared_ptr<Ticket>;  // shared: the caller's wait and the shard's queue end
                                            // at different times

struct PeerRoute {
    Wire* wire = nullptr;  // borrowed for life; null for the rank itself
    std::string address;   // of the peer on that wire
    bool same_host = true;
    std::string name;  // "rank 3 (host a, pid 77)" for messages
};

struct ShardConfig {
    int32_t rank = 0;
    int32_t rank_count = 1;
    std::vector<PeerRoute> peers;  // by rank
    Doorbell* doorbell = nullptr;  // borrowed for life, the one the wires ring
    std::vector<Wire*> wires;      // borrowed for life, distinct
    Reactor* reactor = nullptr;    // the service thread
    plan::Limits limits;
    plan::Planner planner;  // of collectives; null: by rule
    bool one_host = true;
    bool peer_load = false;
    plan::ClusterRef cluster;              // the ranks of every host; null: one host
    bool cores_enough = true;              // a core for every rank of the machine: waiters may spin
    std::string label;                     // "rank 2 of comm 0x1234" for reports
    Nanos late_report = 10 * nanos_per_s;  // report a wait that lasts this long, and again as often
    int64_t spin_us = -1;                  // how long a waiter spins; -1: by cores_enough
    // Called by the driver, once, when the shard fails for a reason of its own (mismatch, broken
    // link). Must only hand over to the reactor: the caller may hold other shards.
    std::function<void(const Error&)> on_error;
};

struct OpCounters {
    uint64_t ops = 0, copied_bytes = 0, messages = 0, eager_bytes = 0, puts = 0, put_bytes = 0,
             grants = 0, again = 0, late_reports = 0;
    uint64_t duplicates_dropped = 0, stale_dropped = 0;
};

// Bundles apart that run beside each other, at most.
inline constexpr size_t bundles_apart_max = 128;

class Shard {
  public:
    static Result<std::unique_ptr<Shard>> create(ShardConfig config);
    ~Shard();

    // Queues a bundle. Bundles of one shard run in submission order. Buffers must stay until the
    // ticket is finished. `apart`: of sends and receives alone, that touch nothing which the
    // bundles apart before them touch: they may run beside these, and end before them.
    Result<TicketPtr> submit(std::vector<Call> calls, bool apart = false);

    // Runs one call to its end in this thread, if there is nothing else to run and nobody else
    // drives: the short way for a blocking call. Empty: not tried, submit it.
    std::optional<Result<void>> run_now(const Call& call);

    // Leaves what was submitted to the service thread (nonblocking communicators, host streams).
    void background();
    // One try at progress by the calling thread; true if anything moved.
    bool poke();

    // Ends every pending and future ticket with `error` (the first cause stays). From any thread,
    // bounded time. After return no peer can reach user memory of this shard.
    void fail(const Error& error);

    // True when nothing is queued, running or undelivered.
    bool quiet() const;
    // Exact when nobody drives; while somebody does, as of its last sleep.
    struct Counters {
        OpCounters ops;
        std::vector<std::pair<std::string, WireCounters>> wires;  // by transport
        std::vector<std::pair<uint32_t, uint64_t>> sent;  // bytes by peer, of those that got any
    };
    Counters counters() const;
    const ShardConfig& config() const;

    struct Impl;  // shard.h
    Impl& impl() { return *impl_; }

  private:
    explicit Shard(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// A ticket and the shard that runs it.
struct Waitable {
    Shard* shard = nullptr;
    Ticket* ticket = nullptr;
};
// Drives the shards until every ticket is finished (blocking callers). Returns the first error in
// order, or success.
Result<void> wait_all(std::span<const Waitable> waits);

}  // namespace weft
