// One rank's part of a device communicator: its memory on the device, what its kernels read from
// pinned host memory, and the launches that have not ended. All of it is taken when the rank is
// made: nothing here allocates afterwards. Thread rule: stop(), poll() and idle() from any thread;
// the rest under the rank's mutex, which a launch holds. Lifetime: until no kernel of any rank can
// reach it (DeviceClique). Failure rule: Result; the end logs.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "src/base/result.h"
#include "src/exec/device_plan.h"
#include "src/gpu/arena.h"
#include "src/gpu/layout.h"
#include "src/gpu/seat.h"

namespace weft {

// A rank's programs of one call, where its kernels read them.
struct DeviceLanes {
    const gpu::device::LaneProgram* lanes = nullptr;
    uint32_t count = 0;
};

// By what a rank's input is multiplied, and by what its sums are divided.
void device_factor(const Call& call, uint32_t ranks, gpu::device::RankPart& part);

class DeviceRank {
  public:
    // Takes memory, which may wait for the device: not on the service thread.
    static Result<std::unique_ptr<DeviceRank>> create(std::shared_ptr<gpu::Seat> seat,
                                                      uint32_t rank, uint32_t rank_count,
                                                      plan::Limits limits);
    ~DeviceRank();
    DeviceRank(const DeviceRank&) = delete;
    DeviceRank& operator=(const DeviceRank&) = delete;

    const gpu::Seat& seat() const { return *seat_; }
    const gpu::Driver& driver() const { return seat_->driver(); }
    const gpu::Layout& layout() const { return layout_; }
    uint32_t rank() const { return rank_; }
    uint64_t memory() const { return memory_; }

    // The memories of all ranks, by rank, and how many blocks each may have. Before the first
    // launch.
    void connect(std::span<const uint64_t> memories, uint32_t lanes_max);
    const plan::Limits& plan_limits() const { return limits_.plan; }
    uint32_t lanes_max() const { return limits_.lanes_max; }
    // Kernels that wait end, those that begin do nothing.
    void stop();
    // Whether arguments were found to differ; `names` by rank, for the line.
    std::optional<Error> poll(std::span<const std::string> names);
    // No launch is under way, but for those in graphs.
    bool idle();
    // A graph holds one of its launches.
    bool in_graphs();
    // Launches that have ended, but for those in graphs.
    uint64_t ended_count();

    // --- under the mutex
    std::mutex mutex;
    Result<DeviceLanes> program(const DeviceRequest& request);
    // What a launch of so many lanes leaves its ends in. It keeps its programs in place until it
    // has ended; one in a graph (not 0) until graph_end().
    Result<gpu::device::LaneEnd*> flight_begin(uint32_t lanes, uint64_t graph,
                                               const DeviceLanes& programs);
    // Programs of one launch only, and their addresses; they go with the last flight begun.
    struct Owned {
        DeviceLanes lanes;
        const uint64_t* more = nullptr;
    };
    Result<Owned> flight_programs(const DeviceProgram& program, uint32_t lanes,
                                  std::span<const uint64_t> more);
    // The last flight begun does not begin.
    void flight_cancel();
    gpu::device::RankPart part(const Call& call) const;
    void graph_end(uint64_t graph);

    gpu::Event last_event() const { return last_event_; }  // after the last launch
    gpu::Event join_event() const { return join_event_; }

  private:
    struct Flight {
        gpu::device::LaneEnd* ends = nullptr;
        uint32_t lanes = 0;
        uint64_t graph = 0;
        const void* programs = nullptr;
        std::vector<void*> parts;  // of the arena
    };
    struct Known {
        DeviceRequest request;
        DeviceLanes lanes;  // they begin what was taken for them
    };

    DeviceRank(std::shared_ptr<gpu::Seat> seat, uint32_t rank, uint32_t rank_count,
               plan::Limits limits);
    Result<void> allocate();
    Result<void*> take(size_t bytes);
    void* take_now(size_t bytes);
    bool aborted() const;
    DeviceLanes lanes_write(void* at, const DeviceProgram& program, uint32_t lanes) const;
    void reap();
    void stuck_tell(std::span<const gpu::device::LaneEnd> ends) const;
    bool program_drop();

    std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const uint32_t rank_;
    const gpu::Layout layout_;
    DeviceLimits limits_;
    gpu::Address memory_ = 0;
    char* pinned_ = nullptr;
    uint64_t* abort_word_ = nullptr;
    uint64_t* memories_ = nullptr;
    gpu::Event last_event_ = nullptr, join_event_ = nullptr;

    // Under flights_mutex_, taken after the other one.
    std::mutex flights_mutex_;
    gpu::Arena arena_;
    std::list<Flight> flights_;
    uint64_t ended_ = 0;
    std::list<Known> known_;  // the last used first
};

}  // namespace weft
