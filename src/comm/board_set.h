// The boards of ranks that reach each other's device memory, as one of these ranks has them: its
// own board, those of the others, all words, and what a rank enqueues on a stream that has to do
// with them: waits and stores of words, the kernel that moves rows and fills or compares cards,
// sums out of slots, messages. How calls are cut, and in what order words are stored, is the side's
// that has it (device_board.h). Ranks are numbered among those with boards.
//
// Thread rule: what enqueues, as DeviceStreamed's launches; allocate() and connect() once, before;
// the rest from any thread. Lifetime: its owner's, which frees it when nothing runs. Failure rule:
// Result; what kernels find: poll().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/comm/board_cut.h"
#include "src/comm/board_layout.h"
#include "src/comm/board_memory.h"
#include "src/comm/device_streamed.h"
#include "src/gpu/device/board.h"

namespace weft {

// A rank's board as this rank's device reaches it, and its words.
struct BoardPeer {
    std::shared_ptr<void> held;  // keeps both; shared: with other ranks of the process
    gpu::Address board = 0;
    gpu::Address words = 0;
};

class BoardSet {
  public:
    // For launches that fill no card.
    static constexpr uint64_t no_card = ~0ull;
    using SlotWord = uint32_t (BoardLayout::*)(uint32_t slot, uint32_t peer) const;

    // `total`: ranks of the communicator, over which averages are.
    BoardSet(std::shared_ptr<gpu::Seat> seat, int32_t rank, int32_t ranks, int32_t total);
    // `exported`: for ranks of other processes too.
    Result<void> allocate(bool exported);
    const std::shared_ptr<BoardMemory>& memory() const { return memory_; }
    DeviceStreamed::Head* head() const { return &own().head; }
    gpu::Address head_device() const { return own_at(offsetof(Own, head)); }
    const BoardLayout& layout() const { return layout_; }

    // The board of a rank of this process.
    Result<BoardPeer> reach(const std::shared_ptr<BoardMemory>& theirs);
    // The one of which `note` tells, of whatever process. Waits, at most till the deadline.
    Result<BoardPeer> reach(const std::string& note, Nanos deadline);
    // All ranks' boards and names, by rank. Before the first launch.
    void connect(std::vector<BoardPeer> peers, std::vector<std::string> names);

    std::optional<Error> poll() const;
    // What changes whenever a word does.
    uint64_t standing() const;
    // The ranks that are late, by name; empty: none.
    std::string late_names() const;
    // Whoever waits for a word goes on.
    void let_go();

    // --- launches
    gpu::Address board(uint32_t rank) const { return peers_[rank].board; }
    gpu::Address slot(uint32_t rank, uint32_t slot) const {
        return board(rank) + BoardLayout::slot(slot);
    }
    // Of this rank; of a peer.
    Result<void> word_await(uint32_t word, gpu::Stream stream);
    Result<void> word_tell(int32_t peer, uint32_t word, gpu::Stream stream);
    // From all peers; at all peers.
    Result<void> peers_await(SlotWord word, uint32_t slot, gpu::Stream stream);
    Result<void> peers_tell(SlotWord word, uint32_t slot, gpu::Stream stream);

    // A launch without rows, then what it does beside them: own words that are 0 afterwards; the
    // cards at this place of `count` ranks' boards, which must be like its own.
    gpu::device::BoardLaunch launch_of(const gpu::device::Fingerprint& args) const;
    void clears(gpu::device::BoardLaunch& launch, uint32_t word, uint32_t count) const;
    void checks(gpu::device::BoardLaunch& launch, uint64_t card, uint32_t first,
                uint32_t count) const;
    // `card`: its place on the own board, or no_card.
    Result<void> launch(gpu::device::BoardLaunch launch, uint64_t card, gpu::Stream stream);
    // `whole`: of all ranks, an average of integers is divided now.
    Result<void> sum(const Call& call, gpu::Address to, const std::vector<gpu::Address>& from,
                     uint64_t bytes, bool whole, gpu::Stream stream);
    // Rows that are multiplied by this rank's factor on their way.
    Result<void> scale(const Call& call, const gpu::device::Move& rows, gpu::Stream stream);

    Result<void> message_in(const BoardMessage& message, gpu::Stream stream);
    Result<void> message_out(const BoardMessage& message, gpu::Stream stream);

  private:
    // The owner's, before its words.
    struct Own {
        DeviceStreamed::Head head;
        gpu::device::LaneEnd end;
        uint64_t boards[gpu::device::ranks_max];
    };

    Own& own() const { return *static_cast<Own*>(memory_->head()); }
    gpu::Address own_at(uint64_t offset) const { return own_device_ + offset; }
    gpu::Address word_at(int32_t rank, uint32_t word) const;
    bool is_late(uint32_t peer) const;
    // Of steps that all have as many bytes: the rest of the program is filled in.
    Result<void> carried_launch(const Call& call, gpu::device::Launch& launch, gpu::Stream stream);
    Result<void> launch_one(gpu::device::BoardLaunch& launch, uint32_t blocks, gpu::Stream stream);

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const int32_t rank_, ranks_, total_;
    const BoardLayout layout_;
    std::shared_ptr<BoardMemory> memory_;  // shared: with the ranks of the process
    gpu::Address own_device_ = 0;          // of Own
    std::vector<BoardPeer> peers_;         // by rank, the own one too
    std::vector<std::string> names_;
};

// What a card says of a call.
gpu::device::Fingerprint fingerprint_of(const Call& call);
// Rows into a slot, or out of it.
void move_add(gpu::device::BoardLaunch& launch, const SlotRows& rows, gpu::Address slot, bool in);

}  // namespace weft
