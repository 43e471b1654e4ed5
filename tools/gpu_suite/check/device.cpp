#include "tools/gpu_suite/check/device.h"

#include <dlfcn.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>

#include "tools/gpu_suite/check/outcome.h"

extern "C" const std::byte weft_kernels_suite[];

namespace weft::suite {

namespace {

template <class T>
T value_of(Result<T> result) {
    if (!result.ok()) {
        fail("%s", result.error().what.c_str());
    }
    return std::move(result).value();
}

gpu::Driver driver_found() {
    const char* path = std::getenv("WEFT_LIBCUDA");
    return value_of(gpu::driver_load(path != nullptr ? path : ""));
}

using Lookup = gpu::Status(const char*, void**, int, uint64_t, int*);

gpu::ProgramTable program_found(const std::string& path) {
    gpu::ProgramTable table;
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    auto* const lookup = library == nullptr
                             ? nullptr
                             : reinterpret_cast<Lookup*>(dlsym(library, "cuGetProcAddress_v2"));
    if (lookup == nullptr) {
        return table;
    }
    int why = 0;
#define WEFT_PROGRAM_FIND(name, version, ...)                                                      \
    if (void* found = nullptr; lookup(#name, &found, version, 0, &why) == 0 && found != nullptr) { \
        table.name = reinterpret_cast<gpu::ProgramTable::name##_type*>(found);                     \
    }
    WEFT_PROGRAM_FUNCTIONS(WEFT_PROGRAM_FIND)
#undef WEFT_PROGRAM_FIND
    return table;
}

}  // namespace

Device::Device(int ordinal)
    : driver_(driver_found()), program_(program_found(driver_.path)), ordinal_(ordinal) {
    const int count = value_of(gpu::driver_init(driver_));
    if (ordinal >= count) {
        fail("there is no device %d: the driver sees %d", ordinal, count);
    }
    char name[128] = {};
    done(driver_.cuDeviceGetName(name, sizeof(name), ordinal), "the device's name");
    name_ = name;
    value_set("device", name_);
    value_set("driver", gpu::version_text(driver_.version));
    done(driver_.cuDevicePrimaryCtxRetain(&context_, ordinal), "retaining the context");
    use();
    copies_ = stream();
}

void Device::done(gpu::Status status, const char* what) const {
    const Result<void> checked = gpu::driver_check(driver_, status, what);
    if (!checked.ok()) {
        fail("%s", checked.error().what.c_str());
    }
}

void Device::use() const {
    done(driver_.cuCtxPushCurrent(context_), "making the context current");
}

gpu::Stream Device::stream() const {
    gpu::Stream made = nullptr;
    done(driver_.cuStreamCreateWithPriority(&made, gpu::stream_flag::non_blocking, 0),
         "making a stream");
    return made;
}

gpu::Address Device::take(size_t bytes) const {
    gpu::Address address = 0;
    done(driver_.cuMemAlloc(&address, bytes > 0 ? bytes : 1), "allocating device memory");
    return address;
}

uint64_t* Device::take_pinned(size_t words) const {
    void* memory = nullptr;
    done(driver_.cuMemHostAlloc(&memory, words * 8,
                                gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
         "allocating pinned memory");
    auto* const taken = static_cast<uint64_t*>(memory);
    for (size_t i = 0; i < words; i++) {
        taken[i] = 0;
    }
    return taken;
}

void Device::put(gpu::Address to, const void* from, size_t bytes) const {
    if (bytes > 0) {
        done(driver_.cuMemcpyAsync(to, reinterpret_cast<gpu::Address>(from), bytes, copies_),
             "copying to the device");
        synchronize(copies_);
    }
}

void Device::get(void* to, gpu::Address from, size_t bytes) const {
    if (bytes > 0) {
        done(driver_.cuMemcpyAsync(reinterpret_cast<gpu::Address>(to), from, bytes, copies_),
             "copying from the device");
        synchronize(copies_);
    }
}

void Device::fill(gpu::Address at, unsigned char byte, size_t bytes) const {
    if (bytes > 0) {
        done(driver_.cuMemsetD8Async(at, byte, bytes, copies_), "filling device memory");
        synchronize(copies_);
    }
}

void Device::synchronize(gpu::Stream stream) const {
    done(driver_.cuStreamSynchronize(stream), "waiting for a stream");
}

int Device::attribute(int number) const {
    int value = 0;
    return driver_.cuDeviceGetAttribute(&value, number, ordinal_) == 0 ? value : -1;
}

gpu::Function Device::kernel(const char* name) const {
    if (module_ == nullptr) {
        done(driver_.cuModuleLoadData(&module_, weft_kernels_suite), "loading the suite's kernels");
    }
    gpu::Function found = nullptr;
    done(driver_.cuModuleGetFunction(&found, module_, name), name);
    return found;
}

void Device::launch_any(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                        void* argument) const {
    void* arguments[] = {argument};
    // Blocks wait for each other.
    done(driver_.cuLaunchCooperativeKernel(kernel, blocks, 1, 1, threads, 1, 1, 0, stream,
                                           arguments),
         "launching a kernel");
}

gpu::GraphExec Device::capture_end(gpu::Stream stream) const {
    gpu::Graph graph = nullptr;
    gpu::GraphExec ready = nullptr;
    done(program_.cuStreamEndCapture(stream, &graph), "ending the capture");
    done(program_.cuGraphInstantiateWithFlags(&ready, graph, 0), "making the graph ready");
    return ready;
}

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

Stopwatch::Stopwatch(const Device& device, gpu::Stream stream)
    : device_(device), stream_(stream), wall_(wall_seconds()) {
    device.done(device->cuEventCreate(&begin_, 0), "making an event");
    device.done(device->cuEventCreate(&end_, 0), "making an event");
    device.done(device->cuEventRecord(begin_, stream), "recording an event");
}

Stopwatch::~Stopwatch() {
    device_->cuEventDestroy(begin_);
    device_->cuEventDestroy(end_);
}

double Stopwatch::seconds() {
    device_.done(device_->cuEventRecord(end_, stream_), "recording an event");
    device_.synchronize(stream_);
    float milliseconds = 0;
    // The stand-in keeps no time.
    if (device_.program().cuEventElapsedTime == nullptr ||
        device_.program().cuEventElapsedTime(&milliseconds, begin_, end_) != 0) {
        return wall_seconds() - wall_;
    }
    return milliseconds / 1000.0;
}

}  // namespace weft::suite
