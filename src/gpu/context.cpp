#include "src/gpu/context.h"

#include "src/base/log.h"

namespace weft::gpu {

std::string device_uuid(const Driver& driver, Device device) {
    Uuid uuid{};
    std::string text;
    if (driver.cuDeviceGetUuid != nullptr &&
        driver.cuDeviceGetUuid(&uuid, device) == status::success) {
        for (const char byte : uuid.bytes) {
            text += format("%02x", static_cast<unsigned char>(byte));
        }
        return text;
    }
    char address[32] = {};
    if (driver.cuDeviceGetPCIBusId(address, sizeof(address), device) == status::success) {
        return address;
    }
    return format("device %d", device);
}

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
