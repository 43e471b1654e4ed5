// Calls on device memory that go through pinned host memory: a few slots, the words by which
// streams ask for a slot to be served and hear that it was, and the thread that serves them with
// the host engine. Which is why it works between any ranks. Everything is taken when it is made.
//
// A slot goes round like this: the stream copies into it and stores the number of a part in
// `asked`; the thread reads and clears it, runs the part's calls, stores 1 to `done`; the stream
// waits for that, and the kernel that copies out clears it. Parts of one group go to the slots in
// turn, from the first on; the last of a group says so.
//
// Thread rule: serve() once, launches under the mutex, the rest from any thread. Lifetime: launches
// that are under way and graphs hold it. After stop() nothing is stored to user memory, and streams
// run out; after leave() the shard is not used. Failure rule: Result; a failed part goes to
// `failed`, given to serve().
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "src/comm/device_side.h"
#include "src/comm/relay_cut.h"
#include "src/gpu/device/move.h"

namespace weft {

class DeviceRelay : public DeviceSide {
  public:
    static constexpr uint32_t slots = 4;
    static constexpr uint64_t slot_bytes = 4 << 20;

    static Result<std::shared_ptr<DeviceRelay>> create(std::shared_ptr<gpu::Seat> seat,
                                                       int32_t rank, int32_t rank_count);
    ~DeviceRelay() override;
    DeviceRelay(const DeviceRelay&) = delete;
    DeviceRelay& operator=(const DeviceRelay&) = delete;

    const gpu::Seat& seat(uint32_t) const override { return *seat_; }
    void stop(uint32_t = 0) override;
    bool rank_idle(uint32_t) override { return idle(); }
    bool in_graphs(uint32_t) override;
    std::optional<Error> poll(uint32_t) override { return {}; }
    bool idle() const override;

    void serve(Shard& shard, std::function<void(const Error&)> failed);
    void leave();
    // A graph begins one of its launches.
    void ring();

    // --- under the mutex, with the context current
    std::mutex mutex;
    RelayShape shape() const { return {rank_, rank_count_, slot_bytes}; }
    // One part: in, and out once it was served. `last` of its launch. `graph`: 0 for none.
    Result<void> part_in(const RelayPart& part, uint32_t slot, bool last, uint64_t graph,
                         gpu::Stream stream);
    Result<void> part_out(const RelayPart& part, uint32_t slot, gpu::Stream stream);
    // A launch, not of a graph, begins and ends; the end is also due after a failure.
    void launch_begin();
    Result<void> launch_end(gpu::Stream stream);
    // Nothing of a graph can be asked for any more.
    void graph_end(uint64_t graph);
    struct Last {
        bool launched = false;
        gpu::Stream stream = nullptr;
        uint64_t graph = 0;
    };
    Last last;
    gpu::Event last_event() const { return last_event_; }
    gpu::Event join_event() const { return join_event_; }

  private:
    // In memory that host and device share, each word in a line of its own.
    struct Word {
        alignas(64) uint64_t value;
    };
    struct Words {
        Word stop, ended, asked[slots], done[slots];
    };
    struct Asked {
        std::vector<Call> calls;
        uint32_t slot = 0;
        bool last = false;
        uint64_t graph = 0;
    };
    struct Served {
        uint32_t slot = 0;
        bool last = false;
        TicketPtr ticket;
    };

    DeviceRelay(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count);
    Result<void> allocate();
    char* slot_at(uint32_t slot) const;
    gpu::Address device_address(const void* at) const;
    Result<void> rows_move(const std::vector<RelayRows>& rows, uint32_t slot, bool in,
                           gpu::Stream stream);
    Result<void> launch(gpu::device::MoveLaunch& moves, gpu::Stream stream);
    std::optional<Asked> asked_take();
    bool round();
    bool ask();
    bool settle();
    void streams_let_go();
    void run();
    void rest(int idle_rounds);
    void wake();
    bool stopped() const;
    bool waiting() const;

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const int32_t rank_, rank_count_;
    char* memory_ = nullptr;
    gpu::Address device_memory_ = 0;
    Words* words_ = nullptr;
    gpu::Event last_event_ = nullptr, join_event_ = nullptr;

    mutable std::mutex state_mutex_;
    std::condition_variable rung_;
    std::map<uint32_t, Asked> asked_;  // by number
    uint32_t number_ = 0;
    uint64_t begun_ = 0, served_ = 0;  // launches that the thread should look for, and has served
    uint32_t flights_ = 0;             // launches, not of graphs, of which the device tells the end
    bool broken_ = false;              // it will not, for telling could not be enqueued
    bool woken_ = false;
    bool ending_ = false;

    std::mutex shard_mutex_;  // held while the shard is used
    Shard* shard_ = nullptr;
    std::function<void(const Error&)> failed_;
    int spins_ = 0;  // looks between which nothing happened, before the thread yields
    // Of the thread.
    uint32_t next_slot_ = 0;
    std::deque<Served> serving_;
    std::optional<Error> failure_;
    std::thread thread_;
};

}  // namespace weft
