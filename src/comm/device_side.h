// What a device communicator has of the device, whichever way its ranks reach each other: in one
// launch and by their memories (DeviceClique), or through host memory (DeviceRelay). Thread-safe.
// Lifetime: shared by the communicators concerned and by graphs that hold their launches; the end
// frees memory, which may wait for the device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "src/base/result.h"
#include "src/gpu/seat.h"

namespace weft {

class DeviceSide {
  public:
    virtual ~DeviceSide() = default;
    virtual const gpu::Seat& seat(uint32_t rank) const = 0;
    // Kernels of the rank that wait end, those that begin do nothing.
    virtual void stop(uint32_t rank) = 0;
    // No launch of the rank is under way, but for those in graphs.
    virtual bool rank_idle(uint32_t rank) = 0;
    virtual bool in_graphs(uint32_t rank) = 0;
    // What its kernels have found.
    virtual std::optional<Error> poll(uint32_t rank) = 0;
    // For reports of lateness, while launches of the rank are under way: what changes whenever one
    // has gone on (nothing: that is reported elsewhere), and what it waits for, in words.
    virtual std::optional<uint64_t> standing(uint32_t rank) = 0;
    virtual std::string waits_for(uint32_t rank) = 0;
    // Nothing is under way: its end waits for nothing.
    virtual bool idle() const = 0;
};

// Lets go of it. The last to do so frees memory: at once if nothing runs and the caller may wait,
// else on a thread of its own.
void device_release(std::shared_ptr<DeviceSide> side, bool may_wait);

}  // namespace weft
