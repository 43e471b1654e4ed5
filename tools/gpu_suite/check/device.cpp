#include "tools/gpu_suite/check/device.h"

#include <dlfcn.h>

#include <chrono>
#include <cstddef>

#include "tools/gpu_suite/check/outcome.h"

extern "C" const std::byte weft_kernels_suite[];

namespace weft::suite {

namespace {

constexpr perf::DeviceWords device_words{.retain = "retaining the context",
                                         .push = "making the context current",
                                         .stream = "making a stream",
                                         .take = "allocating device memory",
                                         .put = "copying to the device",
                                         .get = "copying from the device",
                                         .wait = "waiting for a stream"};

void failed(const Error& error) {
    fail("%s", error.what.c_str());
}

std::string name_of(const gpu::Driver& driver, int ordinal) {
    char name[128] = {};
    const Result<void> got = gpu::driver_check(
        driver, driver.cuDeviceGetName(name, sizeof(name), ordinal), "the device's name");
    if (!got.ok()) {
        failed(got.error());
    }
    return name;
}

// Its facts are told before anything of it is used.
perf::Device::Choice choice_of(int ordinal) {
    return [ordinal](const gpu::Driver& driver, int count) {
        if (ordinal >= count) {
            fail("there is no device %d: the driver sees %d", ordinal, count);
        }
        value_set("device", name_of(driver, ordinal));
        value_set("driver", gpu::version_text(driver.version));
        return ordinal;
    };
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
    : perf::Device(failed, choice_of(ordinal), device_words),
      program_(program_found(driver().path)),
      ordinal_(ordinal),
      name_(name_of(driver(), ordinal)) {
}

void Device::use() const {
    done(driver().cuCtxPushCurrent(place().context), device_words.push);
}

uint64_t* Device::take_pinned(size_t words) const {
    void* memory = nullptr;
    done(driver().cuMemHostAlloc(&memory, words * 8,
                                 gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
         "allocating pinned memory");
    auto* const taken = static_cast<uint64_t*>(memory);
    for (size_t i = 0; i < words; i++) {
        taken[i] = 0;
    }
    return taken;
}

void Device::fill(gpu::Address at, unsigned char byte, size_t bytes) const {
    if (bytes > 0) {
        done(driver().cuMemsetD8Async(at, byte, bytes, stream()), "filling device memory");
        synchronize();
    }
}

int Device::attribute(int number) const {
    int value = 0;
    return driver().cuDeviceGetAttribute(&value, number, ordinal_) == 0 ? value : -1;
}

gpu::Function Device::kernel(const char* name) const {
    if (module_ == nullptr) {
        done(driver().cuModuleLoadData(&module_, weft_kernels_suite),
             "loading the suite's kernels");
    }
    gpu::Function found = nullptr;
    done(driver().cuModuleGetFunction(&found, module_, name), name);
    return found;
}

void Device::launch_any(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                        void* argument) const {
    void* arguments[] = {argument};
    // Blocks wait for each other.
    done(driver().cuLaunchCooperativeKernel(kernel, blocks, 1, 1, threads, 1, 1, 0, stream,
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
