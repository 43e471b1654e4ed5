// The one process object: what all communicators of a process share. Created on first use, never
// destroyed: no join at exit can hang, and a forked child's exit disturbs nobody. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/reactor.h"
#include "src/base/result.h"
#include "src/base/settings.h"
#include "src/bootstrap/control.h"
#include "src/comm/board_memory.h"
#include "src/comm/board_windows.h"
#include "src/comm/comm_handle.h"
#include "src/comm/device_clique.h"
#include "src/comm/handover.h"
#include "src/comm/memory.h"
#include "src/comm/peer_info.h"
#include "src/comm/stats.h"
#include "src/comm/stream.h"
#include "transports/hubs.h"

namespace weft {

class Process {
  public:
    static Process& get();
    // True in a child made by fork() after the parent had started its service thread.
    static bool forked() { return forked_.load(std::memory_order_relaxed); }

    // The service thread; started by the first caller, stays.
    Reactor& reactor();
    ControlHub& control();
    bool control_started() const { return control_started_.load(std::memory_order_acquire); }
    // Made when first needed: a process without remote peers never loads libfabric. A failure is
    // kept: every communicator that needs the hub fails for the same reason. The network is asked
    // for memory of GPUs where cuda() was called before it is opened.
    Result<WireHub*> hub(WireKind kind);
    // When the process ends, before what the hubs stand on does: the service thread and all others
    // but the caller leave the hubs alone.
    void hubs_end();
    // One INFO line, once it has a wire: then all is known. What the user should be warned of is
    // said by the first rank of a job.
    void hub_announce(WireKind kind, bool first_of_job);

    // This process as one of the ranks of a communicator.
    PeerInfo peer_info() const;

    // The CUDA driver, loaded by the first device communicator. A failure is kept, as of hubs.
    Result<const gpu::Driver*> cuda();
    // Shared by the communicators of a device; made when there is none, which takes long: not on
    // the service thread.
    Result<std::shared_ptr<gpu::Seat>> seat(int device);
    // Where the ranks of one group in this process meet.
    std::shared_ptr<DeviceClique> clique(uint64_t group, uint32_t rank_count);
    BoardTable& boards() { return boards_; }
    WindowTable& windows() { return windows_; }

    // Of the streams of one group's ranks in this process.
    std::shared_ptr<StreamClaims> claims(uint64_t group, uint32_t rank_count);

    // Where this process offers descriptors to others of its host; made when first needed.
    Result<std::shared_ptr<Handover>> handover();

    // A handle that refers to `comm` and owns it.
    ncclComm* handle_make(std::shared_ptr<Communicator> comm);

    // Counts this process's ranks of a group that said farewell; true for the last of `expected`.
    bool farewell_count(uint64_t group, size_t expected);

    // Keeps a destroyed communicator until its farewell is over.
    void bury(std::shared_ptr<Communicator> comm);
    void farewell_over(const Communicator* comm);

    // Looks at the queue of `handle` every millisecond until it is empty: launches that wait for
    // another communicator must start although nobody is waiting for them.
    void pump_later(ncclComm* handle);

    DeviceMemories& device_memories() { return device_memories_; }
    StreamTable& streams() { return streams_; }
    StatsRegistry& stats() { return stats_; }

    // One line per rank of every communicator there is or was (WEFT_STATS).
    std::string stats_text();

  private:
    Process();
    bool device_memory_wanted() const;  // under mutex_
    void service_park();
    void pump();
    void pump_arm();  // under mutex_

    static std::atomic<bool> forked_, started_;
    const Settings& settings_;
    std::once_flag reactor_once_, control_once_;
    std::unique_ptr<Reactor> reactor_;
    std::unique_ptr<ControlHub> control_;
    std::atomic<bool> control_started_{false};

    std::mutex mutex_;
    std::unique_ptr<WireHub> hubs_[wire_kind_count];
    std::unique_ptr<Error> hub_errors_[wire_kind_count];
    bool hub_announced_[wire_kind_count] = {};
    bool device_memory_asked_ = false;  // of the network, or said that it was too late
    std::vector<std::unique_ptr<ncclComm>> handles_;
    std::unique_ptr<Result<gpu::Driver>> cuda_;
    std::mutex seats_mutex_;
    std::map<int, std::weak_ptr<gpu::Seat>> seats_;  // under seats_mutex_
    std::map<uint64_t, std::weak_ptr<DeviceClique>> cliques_;
    std::map<uint64_t, std::weak_ptr<StreamClaims>> claims_;
    BoardTable boards_;
    WindowTable windows_;
    std::unordered_map<uint64_t, size_t> farewells_;
    std::vector<ncclComm*> pumped_;
    bool pump_armed_ = false;
    std::vector<std::shared_ptr<Communicator>> buried_;
    std::shared_ptr<Handover> handover_;  // shared: with the offers
    DeviceMemories device_memories_;
    StreamTable streams_;
    StatsRegistry stats_;
};

}  // namespace weft
