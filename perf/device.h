// A CUDA device as a program uses it that calls the library: the driver, a context that is current,
// a stream, memory, copies. weft-perf's, shared with tools and tests, who compile device.cpp with
// their own. The driver, WEFT_LIBCUDA's or the loader's, is loaded when the first is made. Thread
// rule: made and ended by one thread; calls are thread-safe as the driver's are. Lifetime: the
// driver stays; context and stream go with the object, memory is given back by its owner. Failure
// rule: the program's `failed` says why and ends the process.
#pragma once

#include <cstddef>
#include <functional>

#include "include/weft/nccl.h"
#include "src/gpu/context.h"

namespace weft::perf {

using DeviceFailed = void (*)(const Error& error);  // does not return

// What a program calls the driver's calls when they fail; null: what src/gpu/context.h calls them.
struct DeviceWords {
    const char* retain = nullptr;
    const char* push = nullptr;
    const char* stream = "cuStreamCreateWithPriority";
    const char* take = "cuMemAlloc";
    const char* put = "cuMemcpyAsync";
    const char* get = "cuMemcpyAsync";
    const char* wait = "cuStreamSynchronize";
};

class Device {
  public:
    // Which device, of `count` that there are.
    using Choice = std::function<int(const gpu::Driver& driver, int count)>;
    Device(DeviceFailed failed, const Choice& choice, const DeviceWords& words = {});
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    const gpu::Driver& driver() const { return driver_; }
    const gpu::Driver* operator->() const { return &driver_; }
    gpu::DevicePlace place() const { return context_.place(); }
    // A stream of its own, on which it copies; and in the library's calls.
    gpu::Stream stream() const { return stream_; }
    cudaStream_t cuda_stream() const { return reinterpret_cast<cudaStream_t>(stream_); }
    gpu::Stream stream_make() const;
    gpu::Address take(size_t bytes) const;
    void give_back(gpu::Address memory) const;
    void put(gpu::Address to, const void* from, size_t bytes) const;  // waits, as all below
    void get(void* to, gpu::Address from, size_t bytes) const;
    void synchronize(gpu::Stream stream) const;
    void synchronize() const { synchronize(stream_); }
    bool idle() const;  // its own stream has run out
    void done(gpu::Status status, const char* what) const;

  private:
    template <class T>
    T value(Result<T> result, const char* words = nullptr) const;
    gpu::PrimaryContext context_of(const Choice& choice) const;

    const DeviceFailed failed_;
    const DeviceWords words_;
    const gpu::Driver& driver_;
    gpu::PrimaryContext context_;
    gpu::ContextGuard guard_;
    gpu::Stream stream_;
};

}  // namespace weft::perf
