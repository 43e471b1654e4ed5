// The inside of a Shard: its queue, the bundle under way, and who drives it. Private to src/exec.
//
// Driving. drive_mutex says who drives; it is only ever tried, except by fail() and the destructor,
// whose holders are bounded because every driver looks at fail_requested in each round. A driver
// may sleep while it drives: everything that concerns it rings the doorbell. Who wants a shard that
// another thread drives sleeps on `handover`, which every leaving driver and every finished ticket
// bumps when `waiters` says that somebody is there:
//   waiter: waiters++ ; v = handover ; try_lock fails ; sleep while handover == v
//   driver: unlock    ; if waiters > 0: handover++, wake
// Either the waiter's try_lock sees the unlock, or the driver's load sees the waiter.
// (tests/unit/exec explores all interleavings.)
#pragma once

#include <deque>
#include <list>
#include <mutex>
#include <optional>

#include "src/exec/run.h"

namespace weft {

struct Bundle {
    std::vector<Call> calls;
    TicketPtr ticket;  // null: a single call, whose caller drives it to its end
    bool apart = false;
};

// A bundle apart that is under way, perhaps beside others.
struct Beside {
    TicketPtr ticket;
    size_t left = 0;  // sends and receives
};

// What the service thread holds instead of a shard: the shard empties it before it dies.
struct ServiceGate {
    std::mutex mutex;
    Shard::Impl* shard = nullptr;
    void service();
};

struct Shard::Impl final : LinkSink {
    explicit Impl(ShardConfig config);
    ~Impl() override;

    // --- by any thread
    // What memory of a GPU needs: said before anything of the call runs.
    Result<void> on_device_check(const Call& call) const;
    Result<TicketPtr> submit(std::vector<Call> calls, bool apart);
    void fail(const Error& error);
    void leave();  // unlock after driving: hand over to a waiter or to the service thread
    void background();
    void service();  // on the service thread
    Counters counters_read();
    bool quiet() const { return work_open.load(std::memory_order_acquire) == 0; }

    // --- by the driver
    bool progress(Nanos now);
    // Before a sleep: nothing may have been missed.
    bool progress_all(Nanos now) {
        advance_due = bundle_open;
        return progress(now);
    }
    // Begins a call of the driver's own, which `single` then tells of. False: there is other work.
    bool single_begin(const Call& call);
    void take();  // after locking: the driver is awake, the service thread is not needed
    bool idle_report(Nanos now);
    void arguments_say(Nanos now);
    void snapshot();  // keeps the counters for whoever asks while this thread drives
    bool may_sleep_on_doorbell() const { return wait_fds.empty() && !polling; }
    bool wires_armed();

    // LinkSink
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) override;
    void on_grant_filled(uint64_t cookie) override;
    void on_put_delivered(uint64_t cookie) override;
    void on_link_failure(uint32_t peer, Error error) override;

    ShardConfig config;
    plan::Limits limits_on_device;  // nothing by value, for the CPU would copy it
    OpCounters counters;
    Links links;
    TilePool pool;
    ProgramCache cache;
    std::vector<int> wait_fds;
    bool polling = false;  // some wire can neither ring nor be polled by descriptor

    std::mutex drive_mutex;
    std::atomic<uint32_t> handover{0}, waiters{0};
    std::atomic<uint32_t> work_open{0};  // bundles queued or under way
    std::atomic<bool> fail_requested{false};
    Ticket single;
    Nanos last_move = 0, last_report = 0;
    // A broken link, which is the cause from a moment on unless another is told before; till then
    // nothing runs.
    struct LostLink {
        Error error;
        Nanos cause_from = 0;
    };
    std::optional<LostLink> lost_link;
    int spin_rounds = 0;      // idle rounds before a waiter yields
    uint64_t again_seen = 0;  // back-pressure answers at the last look

  private:
    struct Slot {  // a run and whether it is under way
        std::unique_ptr<Run> run;
        bool active = false;
        uint32_t id = 0;
        std::unique_ptr<Program> program;  // a pair's own
        Beside* of = nullptr;              // null: of the bundle under way
    };
    struct Early {
        MsgHeader header;
        const std::byte* payload;
        SlotRef slot;
    };
    struct PairStart {  // a Send or Recv whose link is still connecting
        Call call;
        uint32_t seq;
        Beside* of;
    };

    RunContext context();
    bool bundles_progress(Nanos now);
    bool lost_link_progress(Nanos now);
    bool bundle_begin();
    void bundle_start();
    bool bundle_join();
    void beside_start(Bundle& started);
    void pairs_prepare(const std::vector<Call>& calls, Beside* of);
    void pair_end(Slot& slot);
    TicketPtr bundle_close();
    bool bundle_progress();
    bool bundle_advance();
    void bundle_finish();
    void self_pairs_copy(const std::vector<Call>& calls);
    bool collective_begin();
    bool pairs_begin();
    Result<void> pair_begin(const PairStart& start);
    Result<void> run_begin(Slot& slot, const Program* program, const Call& call, uint32_t seq);
    Result<std::unique_ptr<Program>> pair_program(const Call& call) const;
    Slot& slot_take();
    void deliver(Run& run, const MsgHeader& header, const std::byte* payload, SlotRef slot);
    void early_replay(Run& run);
    bool future(const MsgHeader& header, uint32_t peer) const;
    void break_down(Error error, bool own);
    void ticket_finish(Ticket& ticket, const Error* error);
    void waiters_wake();
    plan::Request request_for(const Call& call) const;

    Counters counters_now() const;

    std::mutex kept_mutex;
    Counters kept;  // under kept_mutex
    mutable std::mutex queue_mutex;
    std::deque<Bundle> queue;
    std::optional<Error> fail_cause;   // under queue_mutex
    std::optional<Error> broken;       // by the driver: the shard is dead
    std::optional<Error> broken_soon;  // set inside a callback, applied after it

    Bundle bundle;  // while bundle_open
    bool bundle_open = false;
    bool advance_due = false;  // it may move although nothing arrives
    size_t next_call = 0;      // next collective of the bundle to run
    const Program* coll_program = nullptr;
    std::vector<PairStart> pair_starts;
    Slot coll;
    std::vector<std::unique_ptr<Slot>> pairs;
    uint32_t pairs_active = 0;
    std::vector<Early> early;
    uint32_t op_seq = 0;
    std::vector<uint32_t> send_seq, recv_seq;
    std::list<Beside> beside;  // while the bundle under way is apart: it, and who joined it
    uint32_t next_run_id = 0;

    std::shared_ptr<ServiceGate>
        gate;  // shared: callbacks under way in the reactor outlive the shard
    Reactor::Id service_fd = 0;
    bool service_armed = false;
    std::atomic<bool> timer_set{false};
    std::atomic<bool> closing{false};
    friend struct ServiceGate;
};

}  // namespace weft
