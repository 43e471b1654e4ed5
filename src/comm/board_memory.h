// What a rank lays open to the others of its host: its board on the device and the words in host
// memory. Thread rule: immutable but for what the words hold. Lifetime: shared by all ranks of the
// process whose kernels read it; the end frees memory, which may wait for the device. Failure rule:
// Result.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "src/comm/board_layout.h"
#include "src/comm/device_streamed.h"
#include "src/gpu/seat.h"

namespace weft {

class BoardMemory {
  public:
    // `head_bytes`: before the words, of the owner alone. What a peer waits to have left or taken
    // begins so.
    static Result<std::shared_ptr<BoardMemory>> create(std::shared_ptr<gpu::Seat> seat,
                                                       const BoardLayout& layout,
                                                       uint64_t head_bytes);
    ~BoardMemory();
    BoardMemory(const BoardMemory&) = delete;
    BoardMemory& operator=(const BoardMemory&) = delete;

    const gpu::Seat& seat() const { return *seat_; }
    gpu::Address board() const { return board_; }
    void* head() const { return words_; }
    DeviceWord* words() const { return reinterpret_cast<DeviceWord*>(words_ + head_bytes_); }

  private:
    BoardMemory(std::shared_ptr<gpu::Seat> seat, uint64_t head_bytes)
        : seat_(std::move(seat)), head_bytes_(head_bytes) {}
    Result<void> allocate(const BoardLayout& layout);

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const uint64_t head_bytes_;
    gpu::Address board_ = 0;
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
