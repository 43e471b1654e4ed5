#include "src/comm/memory.h"

#include "src/base/log.h"
#include "src/comm/process.h"
#include "src/gpu/kind.h"
#include "transports/memory.h"

namespace weft {

namespace {

Result<void> wait_for(const gpu::DevicePlace& at) {
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(*at.driver, at.context));
    return gpu::driver_check(*at.driver, at.driver->cuCtxSynchronize(), "waiting for the device");
}

}  // namespace

Result<void*> DeviceMemories::take(const gpu::Driver& driver, int device, size_t bytes) {
    TRY(gpu::driver_init(driver));
    gpu::Device own = 0;
    TRY(gpu::driver_check(driver, driver.cuDeviceGet(&own, device),
                          format("ncclMemAlloc : CUDA device %d", device)));
    auto context =
        std::make_unique<gpu::PrimaryContext>(TRY(gpu::PrimaryContext::retain(driver, own)));
    Result<std::unique_ptr<gpu::ExportedMemory>> made =
        gpu::ExportedMemory::create(context->place(), bytes);
    if (!made.ok()) {
        made.error().what = "ncclMemAlloc : " + made.error().what;
        return std::move(made).error();
    }
    void* const memory = reinterpret_cast<void*>(made.value()->address());
    const std::lock_guard lock(mutex_);
    taken_[memory] = {std::move(context), std::move(made).value()};
    return memory;
}

Result<bool> DeviceMemories::give_back(void* memory) {
    Taken taken;
    {
        const std::lock_guard lock(mutex_);
        const auto found = taken_.find(memory);
        if (found == taken_.end()) {
            return false;
        }
        taken = std::move(found->second);
        taken_.erase(found);
    }
    // What is unmapped is gone at once, and programs may free what the device still uses, as they
    // may with cuMemFree.
    const gpu::DevicePlace at = taken.context->place();
    Result<void> waited = wait_for(at);
    if (!waited.ok()) {
        waited.error().what = format("ncclMemFree : freeing %p: ", memory) + waited.error().what;
        const std::lock_guard lock(mutex_);
        taken_[memory] = std::move(taken);
        return std::move(waited).error();
    }
    return true;
}

Result<void*> memory_alloc(size_t bytes) {
    if (bytes == 0) {
        return static_cast<void*>(nullptr);
    }
    const gpu::KindFound kind = gpu::kind_find(settings().device, settings().libcuda);
    void* memory = nullptr;
    if (kind.kind == gpu::Kind::device) {
        const gpu::Driver* const driver = TRY(Process::get().cuda());
        memory = TRY(Process::get().device_memories().take(*driver, kind.device, bytes));
    } else {
        memory = TRY(shared_alloc(bytes));
    }
    LOG(info, alloc, "ncclMemAlloc size %zu pointer %p", bytes, memory);
    return memory;
}

Result<void> memory_free(void* memory) {
    if (memory == nullptr) {
        return {};
    }
    const bool on_device = TRY(Process::get().device_memories().give_back(memory));
    return on_device ? Result<void>() : shared_free(memory);
}

}  // namespace weft
