// Calls on device memory that go through pinned host memory: a few slots, and desks (relay_desk.h)
// where streams ask for a slot to be served by the host engine. Which is why it works between any
// ranks. Everything is taken when it is made.
//
// A part is copied into its slot, asked for at its lane's desk, at the place of the same number,
// and copied out when it is done. Parts of one lane go to the slots in turn, from the first on;
// those of several lanes share slots, in which every peer and direction has room of its own.
//
// Thread rule: serve() once, the rest as device_streamed.h. Lifetime: likewise; after leave() the
// shard is not used. Failure rule: Result; a failed part goes to `failed`, given to serve().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/comm/device_streamed.h"
#include "src/comm/pinned_memory.h"
#include "src/comm/relay_cut.h"
#include "src/comm/relay_desks.h"
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

    // --- under the mutex, with the context current
    std::unique_ptr<Parts> parts(const std::vector<Call>& calls, const Lane& lane) override;
    uint64_t message_bytes(int32_t) const override;
    void graph_end(uint64_t graph) override;
    // One part: in, and out once it was served.
    Result<void> part_in(const RelayPart& part, const Lane& lane);
    Result<void> part_out(const RelayPart& part, uint32_t step, const Lane& lane);
    void parts_over(const Lane& lane) { desks_.of(lane.number).launch_over(); }

  private:
    struct Words {
        Head head;
        RelayDesks::Words desks;
    };
    static_assert(slots <= RelayDesk::places_max);

    DeviceRelay(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count);
    Result<void> allocate();
    char* slot_at(uint32_t slot) const;
    RelayShape shape() const;
    Result<void> rows_move(const std::vector<SlotRows>& rows, uint32_t slot, bool in,
                           const Lane& lane);
    Result<void> launch(gpu::device::MoveLaunch& moves, gpu::Stream stream);
    bool round() override { return desks_.round(); }
    bool expects() const override { return desks_.expects(); }
    void streams_let_go() override { desks_.let_go(); }

    std::unique_ptr<PinnedMemory> memory_;
    Words* words_ = nullptr;
    RelayDesks desks_;
};

}  // namespace weft
