// Memory of the host that the device reaches, and so do the ranks of this machine: the host engine
// moves it between them without a copy. Thread rule: immutable; what makes or ends one may wait for
// the device. Lifetime: its owner's, which ends it when nothing uses it. Failure rule: Result.
#pragma once

#include <cstdint>
#include <memory>

#include "src/gpu/seat.h"

namespace weft {

// With the context current, as what follows.
Result<void> host_pin(const gpu::Seat& seat, void* memory, uint64_t bytes);

class PinnedMemory {
  public:
    static Result<std::unique_ptr<PinnedMemory>> create(std::shared_ptr<gpu::Seat> seat,
                                                        uint64_t bytes);
    ~PinnedMemory();
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;

    char* at() const { return at_; }
    gpu::Address device() const { return device_; }
    // As the device reaches it.
    gpu::Address device(const void* place) const {
        return device_ + static_cast<uint64_t>(static_cast<const char*>(place) - at_);
    }

  private:
    explicit PinnedMemory(std::shared_ptr<gpu::Seat> seat) : seat_(std::move(seat)) {}
    Result<void> allocate(uint64_t bytes);

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    char* at_ = nullptr;
    gpu::Address device_ = 0;
    bool pinned_ = false;
};

}  // namespace weft
