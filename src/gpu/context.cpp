#include "src/gpu/context.h"

#include "src/base/log.h"

namespace weft::gpu {

Result<PrimaryContext> PrimaryContext::retain(const Driver& driver, Device device) {
    Context context = nullptr;
    const Status result = driver.cuDevicePrimaryCtxRetain(&context, device);
    TRY(driver_check(driver, result, format("retaining the context of CUDA device %d", device)));
    return PrimaryContext(driver, device, context);
}

PrimaryContext::~PrimaryContext() {
    if (driver_ == nullptr) {
        return;
    }
    const Status result = driver_->cuDevicePrimaryCtxRelease(device_);
    if (result != status::success) {
        // A process on its way out may have ended the driver before.
        LOG(info, init, "releasing the context of CUDA device %d: status %d", device_, result);
    }
}

Result<ContextGuard> ContextGuard::push(const Driver& driver, Context context) {
    TRY(driver_check(driver, driver.cuCtxPushCurrent(context), "cuCtxPushCurrent"));
    return ContextGuard(driver, context);
}

ContextGuard::~ContextGuard() {
    if (driver_ == nullptr) {
        return;
    }
    Context popped = nullptr;
    const Status result = driver_->cuCtxPopCurrent(&popped);
    if (result != status::success || popped != context_) {
        log_warn(
            format("a CUDA context was left current that this library did not push: status %d, "
                   "context %p instead of %p",
                   result, static_cast<void*>(popped), static_cast<void*>(context_)));
    }
}

}  // namespace weft::gpu
