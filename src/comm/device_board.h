// Calls on device memory by boards, of ranks on one host that reach each other's device memory:
// what others need of a rank's data its kernels copy to its own board, and every rank reads what it
// needs from the boards of the others. Nobody stores into another rank's user memory or board;
// ranks store each other's words (board_layout.h has both).
//
// A collective's part in slot s, on the caller's stream of rank r: wait until every peer p has
// *left* s; clear these words, copy rows into the slot, then fill the card; store *arrived* at
// every p. Then: wait for *arrived* of every p; compare the cards; clear these words; copy or
// reduce, in the order of ranks, out of the slots; store *left* at every p. By shares, all wait for
// *reduced* before they copy. A message's part does the same with one peer: *taken*, *sent*. A call
// on windows does it all but copying rows into the slot, and ends with a wait for *left*.
//
// Nobody stores a word that was not cleared since it was stored last, so 0 and 1 suffice and a
// replayed graph counts nothing. r stores `arrived` at p again only after it waited for p's `left`
// of the same slot, which p stored after the kernel that cleared `arrived`. p stores `left` at r
// again only after it waited for the next `arrived` of r, which r stored after the kernel that
// cleared `left`. `reduced` at p is stored between r's `arrived` and p's `left`, and cleared before
// that `left`. Stopped, a rank's words come at any time; its cards are void then (board.h).
//
// Thread rule, lifetime: as device_streamed.h. Failure rule: Result; what kernels find: poll().
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "src/comm/board_cut.h"
#include "src/comm/board_set.h"
#include "src/comm/board_windows.h"
#include "src/comm/device_streamed.h"

namespace weft {

class DeviceBoard : public DeviceStreamed {
  public:
    static Result<std::shared_ptr<DeviceBoard>> create(std::shared_ptr<gpu::Seat> seat,
                                                       int32_t rank, int32_t rank_count,
                                                       bool exported);
    ~DeviceBoard() override;

    // Its own and the others', which are connected before the first launch.
    BoardSet* boards() override { return &boards_; }

    std::optional<Error> poll(uint32_t) override;
    std::optional<uint64_t> standing(uint32_t) override;
    std::string waits_for(uint32_t) override;
    void serve(Shard& shard, std::function<void(const Error&)> failed) override;
    std::string way() const override;
    uint64_t copied_bytes() const override { return copied_bytes_; }
    BoardWindows* windows() override { return &windows_; }

    // --- under the mutex, with the context current
    std::unique_ptr<Parts> parts(const std::vector<Call>& calls, const Lane& lane) override;
    uint64_t message_bytes(int32_t) const override { return boards_.layout().half_bytes(); }
    Result<void> part_in(const BoardPart& part, const Lane& lane);
    Result<void> part_out(const BoardPart& part, uint32_t step, const Lane& lane);
    void parts_over(const Lane&) {}

  private:
    DeviceBoard(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count, bool exported);
    void streams_let_go() override { boards_.let_go(); }

    gpu::device::BoardLaunch launch_of(const BoardPart& part) const;
    Result<uint64_t> lies_at(const BoardPart& part, const WindowPlace& place, int32_t rank) const;
    Result<void> scale(const BoardPart& part, gpu::Stream stream);
    Result<void> reduce(const BoardPart& part, gpu::Stream stream);

    Result<void> collective_in(const BoardPart& part, gpu::Stream stream);
    Result<void> shares_reduce(const BoardPart& part, gpu::Stream stream);
    Result<void> collective_out(const BoardPart& part, gpu::Stream stream);

    BoardSet boards_;
    BoardWindows windows_;
    std::atomic<uint64_t> copied_bytes_{0};
};

}  // namespace weft
