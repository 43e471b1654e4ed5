// Contexts of devices: the primary one, retained and released; what is current on a thread, pushed
// and popped. Flags and limits of a context belong to the program, which may have set them, and are
// never touched. Thread rule: thread-bound. Lifetime: the driver is borrowed for life. Failure
// rule: Result; the end of either object logs.
#pragma once

#include <string>
#include <utility>

#include "src/base/result.h"
#include "src/gpu/driver.h"

namespace weft::gpu {

// Where calls that concern a device's memory go. The driver is borrowed for life; the context is
// held by whoever gave this.
struct DevicePlace {
    const Driver* driver = nullptr;
    Context context = nullptr;
    Device device = 0;
};

// What names the device in every process: its UUID in hex, the bus address where the driver has
// none.
std::string device_uuid(const Driver& driver, Device device);

// A reference to a device's primary context. While one is held the context exists.
class PrimaryContext {
  public:
    static Result<PrimaryContext> retain(const Driver& driver, Device device);
    ~PrimaryContext();
    PrimaryContext(PrimaryContext&& other) noexcept
        : driver_(std::exchange(other.driver_, nullptr)),
          device_(other.device_),
          context_(other.context_) {}
    PrimaryContext& operator=(PrimaryContext&&) = delete;
    Context get() const { return context_; }
    Device device() const { return device_; }
    DevicePlace place() const { return {driver_, context_, device_}; }

  private:
    PrimaryContext(const Driver& driver, Device device, Context context)
        : driver_(&driver), device_(device), context_(context) {}
    const Driver* driver_;  // null: moved from
    Device device_;
    Context context_;
};

// Makes a context current on this thread until the end of the scope, then what was before.
class ContextGuard {
  public:
    static Result<ContextGuard> push(const Driver& driver, Context context);
    ~ContextGuard();
    ContextGuard(ContextGuard&& other) noexcept
        : driver_(std::exchange(other.driver_, nullptr)), context_(other.context_) {}
    ContextGuard& operator=(ContextGuard&&) = delete;

  private:
    ContextGuard(const Driver& driver, Context context) : driver_(&driver), context_(context) {}
    const Driver* driver_;  // null: moved from
    Context context_;
};

}  // namespace weft::gpu
