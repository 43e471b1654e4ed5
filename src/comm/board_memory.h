// What a rank lays open to the others of its host: its board on the device and the words in host
// memory; and the same as another process sees it. Thread rule: immutable but for what the words
// hold; what makes or ends one may wait for the device. Lifetime: shared by all ranks of the
// process whose kernels read it; processes need not wait for each other, for what was imported
// stays there when its owner has gone. Failure rule: Result.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "src/comm/board_layout.h"
#include "src/comm/device_streamed.h"
#include "src/comm/handover.h"
#include "src/comm/pinned_memory.h"
#include "src/gpu/export.h"
#include "src/gpu/seat.h"

namespace weft {

class BoardMemory {
  public:
    // Before the words, of the owner alone.
    static constexpr uint64_t head_bytes = 4096;
    static constexpr uint64_t words_bytes(const BoardLayout& layout) {
        return head_bytes + layout.word_count() * sizeof(DeviceWord);
    }
    // What a peer waits to have left or taken begins so. `exported`: for other processes too.
    static Result<std::shared_ptr<BoardMemory>> create(std::shared_ptr<gpu::Seat> seat,
                                                       const BoardLayout& layout, bool exported);
    ~BoardMemory();
    BoardMemory(const BoardMemory&) = delete;
    BoardMemory& operator=(const BoardMemory&) = delete;

    const gpu::Seat& seat() const { return *seat_; }
    gpu::Address board() const { return board_; }
    void* head() const { return words_->at(); }
    DeviceWord* words() const { return reinterpret_cast<DeviceWord*>(words_->at() + head_bytes); }
    // What another process must be told to import it; empty if it was not exported.
    const std::string& note() const { return note_; }

  private:
    explicit BoardMemory(std::shared_ptr<gpu::Seat> seat) : seat_(std::move(seat)) {}
    Result<void> allocate(const BoardLayout& layout, bool exported);
    Result<void> words_make(const BoardLayout& layout);
    Result<void> offer();

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    gpu::Address board_ = 0;
    std::unique_ptr<gpu::ExportedMemory> exported_;  // then board_ is its address
    std::vector<std::unique_ptr<Handover::Offer>> offers_;
    std::string note_;
    std::unique_ptr<PinnedMemory> words_;
};

// The board and the words of a rank of another process, or of this one by the same way.
class BoardImport {
  public:
    static Result<std::shared_ptr<BoardImport>> open(std::shared_ptr<gpu::Seat> seat,
                                                     const BoardLayout& layout,
                                                     const std::string& note, Nanos deadline);
    ~BoardImport();
    BoardImport(const BoardImport&) = delete;
    BoardImport& operator=(const BoardImport&) = delete;
    gpu::Address board() const { return board_->address(); }
    void* words() const { return words_ + BoardMemory::head_bytes; }

  private:
    BoardImport(std::shared_ptr<gpu::Seat> seat, uint64_t bytes)
        : seat_(std::move(seat)), bytes_(bytes) {}
    Result<void> words_map(const Fd& descriptor);

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const uint64_t bytes_;                   // of the words and what lies before them
    std::unique_ptr<gpu::ImportedMemory> board_;
    char* words_ = nullptr;
    bool pinned_ = false;
};

// The boards of this process, by group and rank: where its ranks find each other's. Thread-safe.
class BoardTable {
  public:
    void add(uint64_t group, uint32_t rank, const std::shared_ptr<BoardMemory>& memory);
    std::shared_ptr<BoardMemory> find(uint64_t group, uint32_t rank);

  private:
    std::mutex mutex_;
    std::map<std::pair<uint64_t, uint32_t>, std::weak_ptr<BoardMemory>> boards_;
};

}  // namespace weft
