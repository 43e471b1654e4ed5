// Windows: equal buffers of all ranks of a communicator with boards, each of which every rank
// reaches where it lies. A set of them is one rank's view. Thread-safe; what makes or ends a window
// may wait for the device. Lifetime: a window keeps what of its peers it has mapped, its user must
// have ended what uses it. Failure rule: Result.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "src/base/clock.h"
#include "src/comm/board_direct.h"
#include "src/comm/handover.h"
#include "src/gpu/seat.h"
#include "src/gpu/user_memory.h"

namespace weft {

struct WindowRange {
    uint64_t address = 0, bytes = 0;
    bool symmetric = false;  // the program promises equal offsets on all ranks in every collective
};

// A rank's own part of a window that is not yet one. `note` is what the others must be told.
struct WindowOffer {
    // `exported`: for other processes too. Fails with what is wrong with the memory.
    static Result<WindowOffer> make(gpu::Seat& seat, const WindowRange& range, bool exported);

    WindowRange range;
    std::shared_ptr<const gpu::UserExport> exported;       // shared with those kept for the device
    std::vector<std::unique_ptr<Handover::Offer>> offers;  // until all have asked
    std::string note;
};

class BoardWindow {
  public:
    // `notes`: what all ranks told, by rank. Waits, at most till the deadline.
    static Result<std::shared_ptr<BoardWindow>> make(std::shared_ptr<gpu::Seat> seat, int32_t rank,
                                                     const WindowOffer& own,
                                                     const std::vector<std::string>& notes,
                                                     Nanos deadline);
    ~BoardWindow();
    BoardWindow(const BoardWindow&) = delete;
    BoardWindow& operator=(const BoardWindow&) = delete;

    const WindowRange& range() const { return range_; }
    int32_t rank() const { return rank_; }
    int32_t rank_count() const { return static_cast<int32_t>(peers_.size()); }
    // Where this rank's device finds that rank's part.
    uint64_t address_of(int32_t rank) const { return peers_[static_cast<size_t>(rank)].address; }
    // In every rank's part, of a symmetric window.
    bool holds(uint64_t address, uint64_t bytes) const;

  private:
    BoardWindow(std::shared_ptr<gpu::Seat> seat, int32_t rank, const WindowOffer& own);
    Result<void> reach(const std::string& note, Nanos deadline);

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const WindowRange range_;
    const int32_t rank_;
    const std::shared_ptr<const gpu::UserExport> exported_;  // shared with those kept
    uint64_t common_bytes_;                                  // the least of all ranks
    bool all_symmetric_;
    std::vector<gpu::UserImport> peers_;  // by rank
    std::vector<gpu::UserNote> notes_;    // what peers_ was made of
};

class BoardWindows {
  public:
    // `exported`: other processes have parts in them.
    BoardWindows(std::shared_ptr<gpu::Seat> seat, int32_t rank, bool exported)
        : seat_(std::move(seat)), rank_(rank), exported_(exported) {}

    Result<WindowOffer> offer(const WindowRange& range);
    // No window has come of it: nothing keeps the memory any more.
    void withdraw(WindowOffer offer);
    Result<std::shared_ptr<BoardWindow>> map(const WindowOffer& own,
                                             const std::vector<std::string>& notes,
                                             Nanos deadline) const;
    // All ranks do so in the same order, so it has the same number on all.
    void add(std::shared_ptr<BoardWindow> window);
    // Null: it is none of these.
    std::shared_ptr<BoardWindow> take(const void* window);
    WindowPlace find(uint64_t address, uint64_t bytes) const;
    // Of a rank's part, for this rank's device. Fails if the window was taken out meanwhile.
    Result<uint64_t> reach(const WindowPlace& place, int32_t rank) const;

  private:
    struct Numbered {
        uint32_t number = 0;
        std::shared_ptr<BoardWindow> window;  // shared: with who asks about it
    };
    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const int32_t rank_;
    const bool exported_;
    mutable std::mutex mutex_;
    uint32_t made_ = 0;
    std::vector<Numbered> windows_;
};

// The windows of the process, for calls that name no communicator. Thread-safe.
class WindowTable {
  public:
    void add(const std::shared_ptr<BoardWindow>& window);
    std::shared_ptr<BoardWindow> find(const void* window);

  private:
    std::mutex mutex_;
    std::vector<std::weak_ptr<BoardWindow>> windows_;
};

}  // namespace weft
