// A device side whose launches are parts that streams order: words in memory that host and device
// share, written and awaited by the stream itself, and kernels that wait for nobody. So ranks may
// share a device and take turns on it. What is the same whoever the words are exchanged with is
// here: the order between launches, what is under way, what graphs hold, the end.
//
// A thread of its own, which makes no CUDA calls, lets streams go that wait for words nobody will
// store any more: after stop() it stores all of them until nothing is under way and no graph is
// left.
//
// Thread rule: launches under the mutex, with the context current; the rest from any thread.
// Lifetime: launches that are under way and graphs hold it; who derives calls end() before anything
// of its own goes. After stop() nothing is stored to user memory, and streams run out. Failure
// rule: Result.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/device_side.h"
#include "src/comm/device_streams.h"
#include "src/comm/stream_claims.h"
#include "src/exec/engine.h"

namespace weft {

class BoardSet;
class BoardWindows;

// In memory that host and device share, each word in a line of its own.
struct DeviceWord {
    alignas(64) uint64_t value;
};

uint64_t word_load(const DeviceWord& word);
void word_store(DeviceWord& word, uint64_t value);

class DeviceStreamed : public DeviceSide {
  public:
    // At once in one launch.
    static constexpr uint32_t lanes_max = 8;
    // The words of every side: it is stopped; the last launch of which the device told the end; of
    // every lane, the last mark that it passed.
    struct Head {
        DeviceWord stop, ended, passed[lanes_max];
    };
    // An order of parts, on a stream of its own: the first lane's is the caller's.
    struct Lane {
        uint32_t number = 0;
        gpu::Stream stream = nullptr;
        uint64_t graph = 0;  // 0: none
    };
    // What a launch enqueues on one lane, step by step.
    class Parts {
      public:
        virtual ~Parts() = default;
        // True: something was enqueued, and there may be more.
        virtual Result<bool> step() = 0;
    };

    ~DeviceStreamed() override;
    DeviceStreamed(const DeviceStreamed&) = delete;
    DeviceStreamed& operator=(const DeviceStreamed&) = delete;

    const gpu::Seat& seat(uint32_t) const override { return *seat_; }
    void stop(uint32_t = 0) override;
    bool rank_idle(uint32_t) override { return idle(); }
    bool in_graphs(uint32_t) override;
    bool idle() const override;
    // The communicator is ready. A failure that no caller hears of goes to `failed`.
    virtual void serve(Shard& shard, std::function<void(const Error&)> failed) = 0;
    // Before the first launch: what it shares with the other ranks of the group in this process.
    void claims_join(std::shared_ptr<StreamClaims> claims, std::string name);
    StreamClaims* claims() const { return claims_.get(); }
    uint32_t rank() const { return static_cast<uint32_t>(rank_); }
    // How ranks reach each other, for people.
    virtual std::string way() const = 0;
    // Payload that its own kernels moved once more than it must be, but for graphs'.
    virtual uint64_t copied_bytes() const { return 0; }
    // Null: it has none.
    virtual BoardSet* boards() { return nullptr; }
    // Before it is connected, where it may wait for the device: memory of its own that NICs move,
    // by this wire, between it and ranks of other hosts, for all that is large. They do if
    // nics_use() is called, too, which is when all ranks can.
    virtual Result<void> nics_reach(Wire&) { return {}; }
    virtual void nics_use() {}
    // Null: it has no windows.
    virtual BoardWindows* windows() { return nullptr; }
    // The communicator uses it no more.
    virtual void leave() { stop(); }

    // --- under the mutex, with the context current
    std::mutex mutex;
    virtual std::unique_ptr<Parts> parts(const std::vector<Call>& calls, const Lane& lane) = 0;
    // Of a message with this peer, the largest part.
    virtual uint64_t message_bytes(int32_t peer) const = 0;
    // Streams for further lanes, as many as no capture holds, but that of `graph`.
    Result<std::vector<gpu::Stream>> lane_streams(uint64_t graph);
    // Not of a graph. Marks are set on a lane from time to time; too many that it has not passed,
    // and its driver's queue might fill, while the parts of another lane must be enqueued.
    Result<void> lane_mark(const Lane& lane);
    bool lane_full(const Lane& lane) const;
    // A launch, not of a graph, begins and ends; the end is also due after a failure.
    void launch_begin();
    Result<void> launch_end(gpu::Stream stream);
    // A launch of a graph begins; nothing of the graph can come any more.
    void graph_begin(uint64_t graph);
    virtual void graph_end(uint64_t graph);
    gpu::Event last_event() const { return last_event_; }
    gpu::Event join_event() const { return join_event_; }

  protected:
    DeviceStreamed(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count);
    // Events; what the driver must be able to do.
    Result<void> prepare();
    void head_is(Head* head, gpu::Address device);
    // Looks `spins` times before it yields when nothing happens.
    void thread_start(int spins);
    void end();

    // On the thread: whether something happened.
    virtual bool round();
    // Under state_mutex_: something may come that round() must look for.
    virtual bool expects() const { return false; }
    // Whoever waits goes on.
    virtual void streams_let_go() = 0;
    uint64_t launches_ended() const { return word_load(head_->ended); }
    // Under state_mutex_.
    void wake();
    bool stopped() const;

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const int32_t rank_, rank_count_;
    mutable std::mutex state_mutex_;

  private:
    bool waiting() const;
    void rest(int idle_rounds);
    void run();

    std::shared_ptr<StreamClaims> claims_;
    Head* head_ = nullptr;
    gpu::Address head_device_ = 0;
    gpu::Event last_event_ = nullptr, join_event_ = nullptr;
    std::vector<gpu::Stream> lane_streams_;  // of all lanes but the first
    uint32_t marked_[lanes_max] = {};        // under the mutex

    std::condition_variable rung_;
    std::map<uint64_t, uint32_t> graphs_;  // how many launches each holds
    uint32_t flights_ = 0;  // launches, not of graphs, of which the device tells the end
    bool broken_ = false;   // it will not, for telling could not be enqueued
    bool woken_ = false;
    bool ending_ = false;
    int spins_ = 0;
    std::thread thread_;
};

}  // namespace weft
