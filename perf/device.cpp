#include "perf/device.h"

#include <cstdio>
#include <cstdlib>

namespace weft::perf {
namespace {

template <class T>
T value_or_exit(Result<T> result) {
    if (!result.ok()) {
        std::fprintf(stderr, "weft-perf: --mem device: %s\n", result.error().what.c_str());
        std::_Exit(1);
    }
    return std::move(result).value();
}

const gpu::Driver& driver_get() {
    static const auto* const driver = [] {
        const char* path = std::getenv("WEFT_LIBCUDA");
        return new gpu::Driver(value_or_exit(gpu::driver_load(path != nullptr ? path : "")));
    }();
    return *driver;
}

gpu::PrimaryContext context_of(const gpu::Driver& driver, int local_rank) {
    const int count = value_or_exit(gpu::driver_init(driver));
    gpu::Device device = 0;
    const gpu::Status found = driver.cuDeviceGet(&device, local_rank % count);
    if (const auto checked = gpu::driver_check(driver, found, "cuDeviceGet"); !checked.ok()) {
        value_or_exit(Result<int>(checked.error()));
    }
    return value_or_exit(gpu::PrimaryContext::retain(driver, device));
}

}  // namespace

Device::Device(int local_rank)
    : driver_(driver_get()),
      context_(context_of(driver_, local_rank)),
      guard_(value_or_exit(gpu::ContextGuard::push(driver_, context_.get()))) {
    check(driver_.cuStreamCreateWithPriority(&stream_, gpu::stream_flag::non_blocking, 0),
          "cuStreamCreateWithPriority");
}

Device::~Device() {
    driver_.cuStreamDestroy(stream_);
}

void Device::check(gpu::Status status, const char* call) const {
    if (const auto checked = gpu::driver_check(driver_, status, call); !checked.ok()) {
        value_or_exit(Result<int>(checked.error()));
    }
}

void* Device::take(size_t bytes) const {
    gpu::Address address = 0;
    check(driver_.cuMemAlloc(&address, bytes), "cuMemAlloc (lower -e or --rotate)");
    return reinterpret_cast<void*>(address);
}

void Device::give_back(void* memory) const {
    driver_.cuMemFree(reinterpret_cast<gpu::Address>(memory));
}

void Device::copy(void* to, const void* from, size_t bytes) const {
    check(driver_.cuMemcpyAsync(reinterpret_cast<gpu::Address>(to),
                                reinterpret_cast<gpu::Address>(from), bytes, stream_),
          "cuMemcpyAsync");
    synchronize();
}

void Device::synchronize() const {
    check(driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
}

}  // namespace weft::perf
