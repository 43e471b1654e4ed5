#include "perf/device.h"

#include <cstdlib>

namespace weft::perf {
namespace {

const gpu::Driver& driver_found(DeviceFailed failed) {
    static const auto* const driver = [failed] {
        const char* const path = std::getenv("WEFT_LIBCUDA");
        Result<gpu::Driver> loaded = gpu::driver_load(path != nullptr ? path : "");
        if (!loaded.ok()) {
            failed(loaded.error());
        }
        return new gpu::Driver(std::move(loaded).value());
    }();
    return *driver;
}

}  // namespace

template <class T>
T Device::value(Result<T> result, const char* words) const {
    if (!result.ok()) {
        if (words != nullptr) {
            done(result.error().sys, words);
        }
        failed_(result.error());
    }
    return std::move(result).value();
}

gpu::PrimaryContext Device::context_of(const Choice& choice) const {
    const int count = value(gpu::driver_init(driver_));
    gpu::Device device = 0;
    done(driver_.cuDeviceGet(&device, choice(driver_, count)), "cuDeviceGet");
    return value(gpu::PrimaryContext::retain(driver_, device), words_.retain);
}

Device::Device(DeviceFailed failed, const Choice& choice, const DeviceWords& words)
    : failed_(failed),
      words_(words),
      driver_(driver_found(failed)),
      context_(context_of(choice)),
      guard_(value(gpu::ContextGuard::push(driver_, context_.get()), words_.push)),
      stream_(stream_make()) {
}

Device::~Device() {
    driver_.cuStreamDestroy(stream_);
}

void Device::done(gpu::Status status, const char* what) const {
    if (const auto checked = gpu::driver_check(driver_, status, what); !checked.ok()) {
        failed_(checked.error());
    }
}

gpu::Stream Device::stream_make() const {
    gpu::Stream made = nullptr;
    done(driver_.cuStreamCreateWithPriority(&made, gpu::stream_flag::non_blocking, 0),
         words_.stream);
    return made;
}

gpu::Address Device::take(size_t bytes) const {
    gpu::Address address = 0;
    done(driver_.cuMemAlloc(&address, bytes > 0 ? bytes : 1), words_.take);
    return address;
}

void Device::give_back(gpu::Address memory) const {
    driver_.cuMemFree(memory);
}

void Device::put(gpu::Address to, const void* from, size_t bytes) const {
    if (bytes > 0) {
        done(driver_.cuMemcpyAsync(to, reinterpret_cast<gpu::Address>(from), bytes, stream_),
             words_.put);
    }
    synchronize();
}

void Device::get(void* to, gpu::Address from, size_t bytes) const {
    if (bytes > 0) {
        done(driver_.cuMemcpyAsync(reinterpret_cast<gpu::Address>(to), from, bytes, stream_),
             words_.get);
    }
    synchronize();
}

void Device::synchronize(gpu::Stream stream) const {
    done(driver_.cuStreamSynchronize(stream), words_.wait);
}

bool Device::idle() const {
    return driver_.cuStreamQuery(stream_) == gpu::status::success;
}

}  // namespace weft::perf
