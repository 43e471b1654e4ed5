// One rank's side of a communicator: its state, its wires and shard, what it is doing now.
// Thread rule: thread-safe. Lifetime: owned by its handle; callbacks hold weak references and the
// last owner's release deletes it on the service thread. Failure rule: the first cause ends it;
// every blocked call returns that cause, later calls repeat it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "src/bootstrap/control.h"
#include "src/comm/comm_handle.h"
#include "src/comm/config.h"
#include "src/comm/device_clique.h"
#include "src/comm/device_streamed.h"
#include "src/comm/launch.h"
#include "src/comm/redop.h"
#include "src/comm/stats.h"
#include "src/exec/engine.h"
#include "src/gpu/kind.h"
#include "transports/doorbell.h"
#include "transports/memory.h"
#include "transports/wire.h"

namespace weft {

enum class CommState : uint8_t { initialising, ready, finalizing, finalized, aborted, failed };

struct CommIdentity {
    int32_t rank = 0;
    int32_t rank_count = 1;
    int32_t device = -1;  // -1: the local index, known when the peers are
    gpu::KindFound kind;  // fixed here, compared with the other ranks'
    CommConfig config;
};

// What the build puts together. Members close in reverse order.
struct CommParts {
    std::unique_ptr<Doorbell> doorbell;
    std::vector<std::unique_ptr<Wire>> wires;
    std::unique_ptr<Shard> shard;
    // On devices one of the two. Shared: see device_side.h.
    std::shared_ptr<DeviceClique> clique;
    std::shared_ptr<DeviceStreamed> streamed;
    std::vector<int32_t> process_ranks;  // of this communicator, in this process
    int32_t device = 0;
};

class CommJob;

class Communicator : public std::enable_shared_from_this<Communicator> {
  public:
    // Deleted on the service thread, wherever the last reference is dropped.
    static std::shared_ptr<Communicator> create(CommIdentity identity);
    ~Communicator();

    // --- what it is; constant, but for the device constant once ready
    int32_t rank() const { return identity_.rank; }
    int32_t rank_count() const { return identity_.rank_count; }
    int32_t device() const { return identity_.device; }
    const gpu::KindFound& kind() const { return identity_.kind; }
    bool on_device() const { return identity_.kind.kind == gpu::Kind::device; }
    bool blocking() const { return identity_.config.blocking; }
    const CommConfig& config() const { return identity_.config; }
    ncclComm* handle() const { return handle_.load(std::memory_order_acquire); }
    void handle_is(ncclComm* handle) { handle_.store(handle, std::memory_order_release); }
    std::string name() const;  // "rank 2 of comm 0x1234"

    // --- state
    CommState state() const;
    // May it be given a call now: the error says why not.
    Result<void> usable();
    // May it be asked what it is, or be destroyed: only not while something is under way.
    Result<void> settled();
    // Success, in_progress, or the cause of the failure. Drives a nonblocking communicator.
    Result<void> async_status();
    // Ends everything with `cause` unless it has ended before. announce: the peers are told.
    void fail(const Error& cause, bool announce);
    // The same for a failed operation: errors of a call alone do not end the communicator.
    void operation_failed(const Error& error);
    void abort();
    // What the control group heard of a peer.
    void notice(const Notice& notice);
    // Leaves the control group; bounded, idempotent.
    void leave();

    // --- building (build.cpp)
    using Built = std::function<void(Result<void>)>;
    void on_built(Built built) { built_ = std::move(built); }  // before the build starts
    void canceller_set(std::function<void()> cancel);
    ControlGroup& group_set(std::unique_ptr<ControlGroup> group);
    void ready(CommParts parts);
    Result<void> built_wait();

    // --- operations
    Shard& shard() { return *parts_.shard; }
    LaunchQueue& queue() { return *queue_; }
    // Nonblocking: the calls that async_status() watches.
    void pending_add(LaunchPtr launch);
    uint64_t op_count_next() { return op_count_.fetch_add(1, std::memory_order_relaxed); }
    RedOpTable& operators() { return operators_; }

    // --- device memory
    // Null: host memory, or destroyed; of the two one is.
    std::shared_ptr<DeviceSide> device_side() const;
    std::shared_ptr<DeviceClique> device_clique() const;
    std::shared_ptr<DeviceStreamed> device_streamed() const;
    // After a launch: looks for what kernels have found, until none runs.
    void device_watch(size_t calls);
    // When the communicator is destroyed: its memory goes with the last of its ranks.
    void device_end(bool may_wait);

    // --- jobs (comm_job.h), one after the other
    ControlGroup* group() const;  // null before it joined
    Result<void> job_begin(std::shared_ptr<CommJob> job);
    // The job is over. A failure is what async_status() of a nonblocking parent then reports.
    void job_end(const CommJob* job, const Result<void>& result);
    uint32_t split_count_next() { return split_count_.fetch_add(1, std::memory_order_relaxed); }
    uint32_t shrink_count_next(uint64_t members_hash);
    // NCCL_SHRINK_ABORT: ends the operations under way; the communicator can only be shrunk,
    // destroyed or aborted afterwards. Its failure, if there was one, counts as dealt with.
    void operations_end();

    // --- the end (farewell.cpp)
    Result<void> finalize_begin();
    Result<void> finalize_wait();
    bool farewell_over() const;

    // --- buffers
    Result<void*> buffer_register(void* base, size_t bytes);
    Result<void> buffer_deregister(void* handle);
    Result<void> window_deregister(const void* window);
    void buffers_end();  // those still registered: their owner may free them once it is destroyed

    RankStats stats() const;

  private:
    explicit Communicator(CommIdentity identity);
    static void announcements_flush();
    Error earlier_failure_locked() const;
    bool over_locked() const;
    std::string unnamed(const std::string& what) const;
    Error busy_error() const;
    bool busy_locked();
    void jobs_begin();
    void finalize_step();
    void farewell();
    void farewell_end();
    void finalized();
    bool quiet();
    void device_poll();
    void device_watch_arm();
    void device_late_look(DeviceSide& side);
    void device_stop();
    struct Ending;
    Ending end_locked(CommState state, const Error& cause);
    void end_apply(const Ending& ending, const Error& cause);

    CommIdentity identity_;
    std::atomic<ncclComm*> handle_{nullptr};
    RedOpTable operators_;
    std::atomic<uint64_t> op_count_{0};
    std::atomic<uint32_t> split_count_{0};

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    CommState state_ = CommState::initialising;
    std::optional<Error> error_;
    std::function<void()> cancel_;
    Built built_;
    std::vector<LaunchPtr> pending_;
    std::vector<std::shared_ptr<CommJob>> jobs_;  // shared: also held by their callbacks
    std::map<uint64_t, uint32_t> shrink_counts_;
    bool failing_ = false;         // the first cause is about to be the state
    bool shrunk_ = false;          // operations_end() was called: async_status() ignores error_
    bool farewell_begun_ = false;  // own operations are over
    bool farewell_over_ = false;   // every rank said farewell, or one cannot any more
    bool left_ = false;

    std::mutex buffers_mutex_;
    struct Buffer {
        explicit Buffer(void* base, size_t bytes) : range(known_add(base, bytes)) {}
        ~Buffer() { known_remove(range); }
        Buffer(const Buffer&) = delete;
        Buffer& operator=(const Buffer&) = delete;
        const uint64_t range;
    };
    std::vector<std::unique_ptr<Buffer>> buffers_;

    std::atomic<bool> device_watched_{false};
    std::atomic<uint64_t> device_ops_{0};
    std::atomic<uint64_t> device_late_reports_{0};
    // Of the service thread: how launches stood when one went on last, and when that was reported.
    uint64_t device_state_ = 0;
    Nanos device_moved_ = 0, device_reported_ = 0;

    // Written once, before state_ becomes ready. The group dies first: its callbacks end.
    CommParts parts_;
    std::unique_ptr<LaunchQueue> queue_;
    std::unique_ptr<ControlGroup> group_;
};

}  // namespace weft
