// ncclMemAlloc: on hosts memory that peers on the same host reach without a copy, on devices memory
// that may be given to them (src/gpu/export.h). Which of them follows the rule for communicators
// (src/gpu/kind.h). Thread-safe.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "src/base/result.h"
#include "src/gpu/export.h"

namespace weft {

Result<void*> memory_alloc(size_t bytes);  // null for 0 bytes
Result<void> memory_free(void* memory);    // null: nothing to do

// What was taken on devices. Lifetime: a context is retained as long as memory of it is taken.
// Taking and giving back may wait for the device, and giving back does.
class DeviceMemories {
  public:
    Result<void*> take(const gpu::Driver& driver, int device, size_t bytes);
    // False: it is no memory of a device.
    Result<bool> give_back(void* memory);

  private:
    struct Taken {
        std::unique_ptr<gpu::PrimaryContext> context;
        std::unique_ptr<gpu::ExportedMemory> memory;
    };
    std::mutex mutex_;
    std::map<void*, Taken> taken_;
};

}  // namespace weft
