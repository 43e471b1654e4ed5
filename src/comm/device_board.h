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
#include "src/comm/board_memory.h"
#include "src/comm/board_windows.h"
#include "src/comm/device_streamed.h"
#include "src/gpu/device/board.h"

namespace weft {

// A rank's board as this rank's device reaches it, and its words.
struct BoardPeer {
    std::shared_ptr<void> held;  // keeps both; shared: with other ranks of the process
    gpu::Address board = 0;
    gpu::Address words = 0;
};

class DeviceBoard : public DeviceStreamed {
  public:
    static Result<std::shared_ptr<DeviceBoard>> create(std::shared_ptr<gpu::Seat> seat,
                                                       int32_t rank, int32_t rank_count,
                                                       bool exported);
    ~DeviceBoard() override;

    const std::shared_ptr<BoardMemory>& memory() const { return memory_; }
    // All ranks' boards and names, by rank. Before the first launch.
    void connect(std::vector<BoardPeer> peers, std::vector<std::string> names);
    // The board of a rank of this process.
    Result<BoardPeer> reach(const std::shared_ptr<BoardMemory>& theirs);
    // The one of which `note` tells, of whatever process. Waits, at most till the deadline.
    Result<BoardPeer> reach(const std::string& note, Nanos deadline);

    std::optional<Error> poll(uint32_t) override;
    std::optional<uint64_t> standing(uint32_t) override;
    std::string waits_for(uint32_t) override;
    void serve(Shard& shard, std::function<void(const Error&)> failed) override;
    std::string way() const override;
    uint64_t copied_bytes() const override { return copied_bytes_; }
    BoardWindows* windows() override { return &windows_; }

    // --- under the mutex, with the context current
    std::unique_ptr<Parts> parts(const std::vector<Call>& calls, uint64_t graph) override;
    Result<void> part_in(const BoardPart& part, bool last, uint64_t graph, gpu::Stream stream);
    Result<void> part_out(const BoardPart& part, uint32_t step, gpu::Stream stream);

  private:
    // The owner's, before its words.
    struct Own {
        Head head;
        gpu::device::LaneEnd end;
        uint64_t boards[gpu::device::ranks_max];
    };

    DeviceBoard(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t rank_count, bool exported);
    Result<void> allocate(bool exported);
    Own& own() const { return *static_cast<Own*>(memory_->head()); }
    void streams_let_go() override;
    bool is_late(uint32_t peer) const;
    gpu::Address own_at(uint64_t offset) const { return own_device_ + offset; }
    gpu::Address word_at(const BoardPeer& peer, uint32_t word) const;

    Result<void> word_await(uint32_t word, gpu::Stream stream);
    Result<void> word_tell(int32_t peer, uint32_t word, gpu::Stream stream);
    using SlotWord = uint32_t (BoardLayout::*)(uint32_t slot, uint32_t peer) const;
    Result<void> peers_await(SlotWord word, uint32_t slot, gpu::Stream stream);
    Result<void> peers_tell(SlotWord word, uint32_t slot, gpu::Stream stream);

    gpu::device::BoardLaunch launch_of(const gpu::device::Fingerprint& args) const;
    gpu::device::BoardLaunch launch_of(const BoardPart& part) const;
    Result<uint64_t> lies_at(const BoardPart& part, const WindowPlace& place, int32_t rank) const;
    void clears(gpu::device::BoardLaunch& launch, uint32_t word, uint32_t count) const;
    void checks(gpu::device::BoardLaunch& launch, uint64_t card, uint32_t first,
                uint32_t count) const;
    Result<void> launch(gpu::device::BoardLaunch launch, uint64_t card, gpu::Stream stream);
    Result<void> launch_one(gpu::device::BoardLaunch& launch, uint32_t blocks, gpu::Stream stream);
    Result<void> carried_launch(const Call& call, gpu::device::Launch& launch, gpu::Stream stream);
    Result<void> scale(const BoardPart& part, gpu::Stream stream);
    Result<void> reduce(const BoardPart& part, gpu::Stream stream);

    Result<void> collective_in(const BoardPart& part, gpu::Stream stream);
    Result<void> shares_reduce(const BoardPart& part, gpu::Stream stream);
    Result<void> collective_out(const BoardPart& part, gpu::Stream stream);
    Result<void> message_in(const BoardMessage& message, gpu::Stream stream);
    Result<void> message_out(const BoardMessage& message, gpu::Stream stream);

    const BoardLayout layout_;
    std::shared_ptr<BoardMemory> memory_;  // shared: with the ranks of the process
    gpu::Address own_device_ = 0;          // of Own
    std::vector<BoardPeer> peers_;         // by rank, the own one too
    std::vector<std::string> names_;
    BoardWindows windows_;
    std::atomic<uint64_t> copied_bytes_{0};
};

}  // namespace weft
