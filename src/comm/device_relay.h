// Calls on device memory that go through pinned host memory: a few slots, the words by which
// streams ask for a slot to be served and hear that it was, and a thread that serves them with the
// host engine. Which is why it works between any ranks. Everything is taken when it is made.
//
// A slot goes round like this: the stream copies into it and stores the number of a part in
// `asked`; the thread reads and clears it, runs the part's calls, stores 1 to `done`; the stream
// waits for that, and the kernel that copies out clears it. Parts of one group go to the slots in
// turn, from the first on; the last of a group says so.
//
// Thread rule: serve() once, the rest as device_streamed.h. Lifetime: likewise; after leave() the
// shard is not used. Failure rule: Result; a failed part goes to `failed`, given to serve().
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "src/comm/device_streamed.h"
#include "src/comm/relay_cut.h"
#include "src/gpu/device/move.h"

namespace weft {

class DeviceRelay : public DeviceStreamed {
  public:
    static constexpr uint32_t slots = 4;
    static constexpr uint64_t slot_bytes = 4 << 20;

    static Result<std::shared_ptr<DeviceRelay>> create(std::shared_ptr<gpu::Seat> seat,
                                                       int32_t rank, int32_t rank_count);
    ~DeviceRelay() override;

    std::optional<Error> poll(uint32_t) override { return {}; }
    // The host engine says it.
    std::optional<uint64_t> standing(uint32_t) override { return {}; }
    std::string waits_for(uint32_t) override { return {}; }
    void serve(Shard& shard, std::function<void(const Error&)> failed) override;
    std::string way() const override;
    void leave() override;
    // A graph begins one of its launches.
    void ring();

    // --- under the mutex, with the context current
    std::unique_ptr<Parts> parts(const std::vector<Call>& calls, uint64_t graph) override;
    Result<void> graph_start(gpu::Stream stream) override;
    void graph_end(uint64_t graph) override;
    // One part: in, and out once it was served. `last` of its launch. `graph`: 0 for none.
    Result<void> part_in(const RelayPart& part, bool last, uint64_t graph, gpu::Stream stream);
    Result<void> part_out(const RelayPart& part, uint32_t step, gpu::Stream stream);

  private:
    struct Words {
        Head head;
        DeviceWord asked[slots], done[slots];
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

    using DeviceStreamed::DeviceStreamed;
    Result<void> allocate();
    char* slot_at(uint32_t slot) const;
    gpu::Address device_address(const void* at) const;
    Result<void> rows_move(const std::vector<SlotRows>& rows, uint32_t slot, bool in,
                           gpu::Stream stream);
    Result<void> launch(gpu::device::MoveLaunch& moves, gpu::Stream stream);
    std::optional<Asked> asked_take();
    bool round() override;
    bool expects() const override { return begun_ != served_; }
    void launch_announced() override { begun_++; }
    void streams_let_go() override;
    bool ask();
    bool settle();

    char* memory_ = nullptr;
    gpu::Address device_memory_ = 0;
    Words* words_ = nullptr;

    // Under state_mutex_.
    std::map<uint32_t, Asked> asked_;  // by number
    uint32_t number_ = 0;
    uint64_t begun_ = 0, served_ = 0;  // launches that the thread should look for, and has served

    std::mutex shard_mutex_;  // held while the shard is used
    Shard* shard_ = nullptr;
    std::function<void(const Error&)> failed_;
    // Of the thread.
    uint32_t next_slot_ = 0;
    std::deque<Served> serving_;
    std::optional<Error> failure_;
};

}  // namespace weft
