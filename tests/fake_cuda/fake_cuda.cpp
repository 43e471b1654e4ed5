// A stand-in for libcuda.so.1: exactly the functions of src/gpu/driver_table.h, found through
// cuGetProcAddress as in the real one. What it does not imitate answers "not supported". It proves
// nothing about speed or about a GPU's memory model.
#include <dlfcn.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <vector>

#include "src/gpu/device/mem.h"
#include "src/gpu/device/program.h"
#include "src/gpu/driver_table.h"
#include "tests/fake_cuda/block.h"
#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/hostile.h"
#include "tests/fake_cuda/kernels.h"
#include "tests/fake_cuda/memory.h"
#include "tests/fake_cuda/streams.h"
#include "tools/gpu_suite/check/program_table.h"

#define FAKE_EXPORT extern "C" __attribute__((visibility("default")))

FakeCudaControl fake_cuda_control = {.capture_begin = weft::gpu::capture_begin,
                                     .capture_end = weft::gpu::capture_end,
                                     .graph_launch = weft::gpu::graph_launch,
                                     .graph_destroy = weft::gpu::graph_destroy,
                                     .pool_take = weft::gpu::pool_take,
                                     .pool_free = weft::gpu::pool_free};

namespace weft::gpu {

struct ModuleOpaque {
    const void* image = nullptr;
};

struct UserObjectOpaque {
    HostCall destroy = nullptr;
    void* value = nullptr;
};

namespace {

constexpr int device_max = 8;

std::mutex& mutex = *new std::mutex;  // never destroyed, see streams.cpp
std::atomic<bool> initialised{false};
ContextOpaque primary[device_max] = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};
thread_local std::vector<Context> stack;
std::set<Function>& functions_loaded = *new std::set<Function>;  // under mutex
std::atomic<bool> dead{false};  // the device answers nothing any more

// Every function but a few needs cuInit first, and most a context.
Status ready() {
    return initialised ? status::success : status::not_initialized;
}

#define REQUIRE FAKE_REQUIRE

}  // namespace

bool device_valid(Device device) {
    return device >= 0 && device < fake_cuda_control.devices;
}

Context context_current() {
    return stack.empty() ? nullptr : stack.back();
}

Status in_context() {
    if (!initialised) {
        return status::not_initialized;
    }
    if (dead) {
        return status::launch_failed;
    }
    return context_current() == nullptr ? status::invalid_context : status::success;
}

Status in_context_unsafe(bool waits) {
    REQUIRE(in_context());
    return unsafe_call(waits);
}

namespace {

// What was planted by the environment, once the program starts.
__attribute__((constructor)) void plant() {
    const auto number = [](const char* name) {
        const char* const text = std::getenv(name);
        return text != nullptr ? std::atoi(text) : 0;
    };
    fake_cuda_control.launch_lost = number("FAKE_CUDA_LOST");
    fake_cuda_control.narrow = static_cast<unsigned>(number("FAKE_CUDA_NARROW"));
    fake_cuda_control.launch_stuck = number("FAKE_CUDA_STUCK");
    fake_cuda_control.device_dies = number("FAKE_CUDA_DEAD");
    fake_cuda_control.copy_wrong = number("FAKE_CUDA_WRONG");
    fake_cuda_control.block_threads = static_cast<unsigned>(std::max(1, number("FAKE_CUDA_BLOCK")));
}

// What kernels ask at each access. Not by cuInit, which programs call while kernels of theirs run.
__attribute__((constructor)) void watch_kernels() {
    device::access_check = kernel_access;
    device::vector_high_first = vector_torn;
}

// Ours has no end, and lets nobody see that it should.
void never_end() {
    while (true) {
        std::this_thread::yield();
    }
}

// As many blocks as fit the device, of all kernels together.
class Places {
  public:
    void take() {
        const auto free = [this] {
            return fake_cuda_control.resident_blocks == 0 ||
                   used_ < fake_cuda_control.resident_blocks;
        };
        std::unique_lock lock(mutex_);
        if (!free()) {
            const Held held(fake_cuda_hostile.blocks_held);
            changed_.wait(lock, free);
        }
        ++used_;
    }
    void leave() {
        const std::lock_guard lock(mutex_);
        --used_;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned used_ = 0;
};
Places places;

// Blocks begin in any order, each when there is a place for it.
void grid_run(Function function, const void* argument, unsigned blocks, unsigned threads,
              Context context) {
    std::vector<unsigned> order(blocks);
    for (unsigned block = 0; block < blocks; ++block) {
        order[block] = block;
    }
    static thread_local std::minstd_rand random(fake_cuda_control.late + 1);
    std::shuffle(order.begin(), order.end(), random);
    std::vector<std::thread> running;
    for (const unsigned block : order) {
        places.take();
        running.emplace_back([&, block] {
            HostBlock::owner = context;
            function->run(argument, block, threads);
            places.leave();
        });
    }
    for (std::thread& block : running) {
        block.join();
    }
}

// What a stream writes or awaits.
std::atomic_ref<uint32_t> word_of(Address at) {
    return std::atomic_ref(*reinterpret_cast<uint32_t*>(at));
}

// A kernel that was not loaded is loaded by its first launch, which waits for the device.
Status kernel_loaded(Function function) {
    if (fake_cuda_control.lazy == 0) {
        return status::success;
    }
    {
        const std::lock_guard lock(mutex);
        if (!functions_loaded.insert(function).second) {
            return status::success;
        }
    }
    return unsafe_call();
}

// One function per row; the rows without one answer "not supported".
struct Fake : IpcCalls {
    static Status cuInit(unsigned flags) {
        fake_cuda_control.init_count++;
        if (fake_cuda_control.devices == 0) {
            return status::no_device;
        }
        initialised = true;
        return flags == 0 ? status::success : status::invalid_value;
    }
    static Status cuDriverGetVersion(int* version) {
        *version = fake_cuda_control.version;
        return status::success;
    }
    static Status cuGetErrorName(Status error, const char** text) {
        *text = error == status::success          ? "CUDA_SUCCESS"
                : error == status::invalid_device ? "CUDA_ERROR_INVALID_DEVICE"
                                                  : nullptr;
        return *text != nullptr ? status::success : status::invalid_value;
    }
    static Status cuGetErrorString(Status error, const char** text) {
        *text = error == status::invalid_device ? "invalid device ordinal" : nullptr;
        return *text != nullptr ? status::success : status::invalid_value;
    }
    static Status cuDeviceGetCount(int* count) {
        REQUIRE(ready());
        *count = fake_cuda_control.devices;
        return status::success;
    }
    static Status cuDeviceGet(Device* device, int ordinal) {
        REQUIRE(ready());
        *device = ordinal;
        return device_valid(ordinal) ? status::success : status::invalid_device;
    }
    static Status cuDeviceGetUuid(Uuid* uuid, Device device) {
        REQUIRE(ready());
        std::memset(uuid->bytes, device + 1, sizeof(uuid->bytes));
        return device_valid(device) ? status::success : status::invalid_device;
    }
    static Status cuDevicePrimaryCtxRetain(Context* context, Device device) {
        REQUIRE(ready());
        if (!device_valid(device)) {
            return status::invalid_device;
        }
        const std::lock_guard lock(mutex);
        primary[device].references++;
        fake_cuda_control.primary_refs++;
        *context = &primary[device];
        return status::success;
    }
    static Status cuDevicePrimaryCtxRelease(Device device) {
        REQUIRE(ready());
        const std::lock_guard lock(mutex);
        if (!device_valid(device) || primary[device].references == 0) {
            return status::invalid_context;
        }
        primary[device].references--;
        fake_cuda_control.primary_refs--;
        return status::success;
    }
    static Status cuCtxGetCurrent(Context* context) {
        REQUIRE(ready());
        *context = stack.empty() ? nullptr : stack.back();
        return status::success;
    }
    static Status cuCtxPushCurrent(Context context) {
        REQUIRE(ready());
        const std::lock_guard lock(mutex);
        if (context != nullptr && context->references == 0) {
            return status::invalid_context;
        }
        stack.push_back(context);
        return status::success;
    }
    static Status cuCtxPopCurrent(Context* context) {
        REQUIRE(ready());
        if (stack.empty()) {
            return status::invalid_context;
        }
        *context = stack.back();
        stack.pop_back();
        return status::success;
    }
    // Within a capture, or when nothing may wait, as the calls that wait by the way.
    static Status cuCtxSynchronize() { return in_context_unsafe(); }
    static Status cuCtxGetDevice(Device* device) {
        REQUIRE(in_context());
        *device = stack.back()->device;
        return status::success;
    }
    static Status cuModuleLoadData(Module* module, const void* image) {
        REQUIRE(in_context());
        REQUIRE(unsafe_call());
        *module = new ModuleOpaque{image};
        return image != nullptr ? status::success : status::invalid_value;
    }
    static Status cuModuleUnload(Module module) {
        REQUIRE(unsafe_call());
        delete module;
        return status::success;
    }
    static Status cuFuncLoad(Function function) {
        REQUIRE(in_context());
        const std::lock_guard lock(mutex);
        functions_loaded.insert(function);
        return status::success;
    }
    static Status cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function, int, size_t) {
        *blocks = 1;
        return in_context();
    }
    static Status cuDeviceGetName(char* name, int bytes, Device device) {
        REQUIRE(ready());
        std::snprintf(name, static_cast<size_t>(bytes), "stand-in %d", device);
        return device_valid(device) ? status::success : status::invalid_device;
    }
    static Status cuDeviceGetAttribute(int* value, int attribute, Device device) {
        REQUIRE(ready());
        const unsigned resident = fake_cuda_control.resident_blocks;
        *value = attribute == device_attribute::multiprocessor_count
                     ? static_cast<int>(resident != 0 ? resident : 132)
                 : attribute == device_attribute::capability_major   ? 9
                 : attribute == device_attribute::cooperative_launch ? 1
                 : attribute == device_attribute::virtual_memory ||
                         attribute == device_attribute::posix_descriptors ||
                         attribute == device_attribute::rdma_with_virtual_memory
                     ? (fake_cuda_control.no_virtual_memory != 0 ? 0 : 1)
                     : 0;
        return device_valid(device) ? status::success : status::invalid_device;
    }
    static Status cuDeviceCanAccessPeer(int* can, Device device, Device peer) {
        *can = device != peer && fake_cuda_control.no_peers == 0 ? 1 : 0;
        return ready();
    }
    static Status cuCtxEnablePeerAccess(Context peer, unsigned flags) {
        REQUIRE(in_context());
        if (flags != 0 || peer == stack.back()) {
            return status::invalid_device;
        }
        peer_enable(stack.back()->device, peer->device);
        return status::success;
    }
    static Status cuModuleGetFunction(Function* function, Module, const char* name) {
        REQUIRE(in_context());
        *function = kernel_find(name);
        return *function != nullptr ? status::success : status::not_found;
    }
    static Status cuLaunchKernel(Function function, unsigned x, unsigned y, unsigned z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned,
                                 Stream stream, void** arguments, void**) {
        REQUIRE(in_context());
        if (function == nullptr || y != 1 || z != 1 || block_y != 1 || block_z != 1 || x == 0 ||
            block_x == 0 || block_x > device::block_threads_max) {
            return status::invalid_value;
        }
        REQUIRE(kernel_loaded(function));
        fake_cuda_control.launches++;
        fake_cuda_control.widest_block = std::max(fake_cuda_control.widest_block.load(), block_x);
        fake_cuda_control.small_launches += std::strncmp(function->name, "oneshot", 7) == 0 ? 1 : 0;
        if (fake_cuda_control.launch_fails > 0 && --fake_cuda_control.launch_fails == 0) {
            return status::launch_failed;
        }
        if (comes_up(fake_cuda_control.device_dies)) {
            dead = true;
            return status::launch_failed;
        }
        const unsigned narrow = fake_cuda_control.narrow;
        if (comes_up(fake_cuda_control.launch_lost) || (narrow != 0 && block_x > narrow)) {
            return status::success;
        }
        if (comes_up(fake_cuda_control.launch_stuck)) {
            stream_give(stream, never_end);
            return status::success;
        }
        const auto* const given = static_cast<const char*>(arguments[0]);
        const std::vector<char> argument(given, given + function->argument_bytes);
        return stream_give(
            stream, [=, threads = fake_cuda_control.block_threads.load(), context = stack.back()] {
                grid_run(function, argument.data(), x, threads, context);
            });
    }
    static Status cuLaunchCooperativeKernel(Function function, unsigned x, unsigned y, unsigned z,
                                            unsigned block_x, unsigned block_y, unsigned block_z,
                                            unsigned shared, Stream stream, void** arguments) {
        if (fake_cuda_control.resident_blocks != 0 && x > fake_cuda_control.resident_blocks) {
            return status::cooperative_launch_too_large;
        }
        return cuLaunchKernel(function, x, y, z, block_x, block_y, block_z, shared, stream,
                              arguments, nullptr);
    }
    static Status cuStreamWriteValue32(Stream stream, Address at, uint32_t value, unsigned flags) {
        REQUIRE(in_context());
        if (!memory_holds(at, 4) || at % 4 != 0 || flags != 0) {
            return status::invalid_value;
        }
        return stream_give(stream, [=] { word_of(at).store(value, std::memory_order_release); });
    }
    static Status cuStreamWaitValue32(Stream stream, Address at, uint32_t value, unsigned flags) {
        REQUIRE(in_context());
        if (!memory_holds(at, 4) || at % 4 != 0 || flags != wait_value_flag::equal) {
            return status::invalid_value;
        }
        return stream_give(stream, [=] {
            while (word_of(at).load(std::memory_order_acquire) != value) {
                std::this_thread::yield();
            }
        });
    }
    static Status cuLaunchHostFunc(Stream stream, HostCall call, void* argument) {
        REQUIRE(ready());
        return stream_give(stream, [=] { call(argument); });
    }
    static Status cuStreamCreateWithPriority(Stream* stream, unsigned flags, int) {
        REQUIRE(in_context());
        *stream = new StreamOpaque(stack.back(), (flags & stream_flag::non_blocking) == 0);
        return status::success;
    }
    static Status cuStreamDestroy(Stream stream) {
        delete stream;
        return status::success;
    }
    static Status cuStreamGetCtx(Stream stream, Context* context) {
        REQUIRE(in_context());
        *context = stream != nullptr ? stream->context : stack.back();
        return status::success;
    }
    static Status cuStreamWaitEvent(Stream stream, Event event, unsigned) {
        return event_wait(stream, event);
    }
    static Status cuStreamSynchronize(Stream stream) {
        REQUIRE(stream_question(stream));
        stream_wait_idle(stream);
        return status::success;
    }
    static Status cuStreamQuery(Stream stream) {
        REQUIRE(stream_question(stream));
        return stream_idle(stream) ? status::success : status::not_ready;
    }
    static Status cuStreamGetCaptureInfo(Stream stream, int* state, uint64_t* id, Graph* graph,
                                         const GraphNode**, size_t*) {
        return capture_info(stream, state, id, graph);
    }
    static Status cuThreadExchangeStreamCaptureMode(int* mode) {
        return capture_mode_exchange(mode);
    }
    static Status cuUserObjectCreate(UserObject* object, void* value, HostCall destroy,
                                     unsigned references, unsigned flags) {
        *object = new UserObjectOpaque{destroy, value};
        return references == 1 && flags == user_object_flag::no_destructor_sync
                   ? status::success
                   : status::invalid_value;
    }
    static Status cuUserObjectRelease(UserObject object, unsigned) {
        object->destroy(object->value);
        delete object;
        return status::success;
    }
    static Status cuGraphRetainUserObject(Graph graph, UserObject object, unsigned, unsigned) {
        graph->held.emplace_back(object->destroy, object->value);
        delete object;
        return status::success;
    }
    static Status cuEventCreate(Event* event, unsigned) {
        REQUIRE(in_context());
        *event = new EventOpaque;
        return status::success;
    }
    static Status cuEventRecord(Event event, Stream stream) { return event_record(event, stream); }
    static Status cuEventQuery(Event event) {
        REQUIRE(event_question(event));
        return event->state->reached() ? status::success : status::not_ready;
    }
    static Status cuEventSynchronize(Event event) {
        REQUIRE(event_question(event));
        event->state->await(event->record);
        return status::success;
    }
    static Status cuEventDestroy(Event event) {
        delete event;
        return status::success;
    }
};

template <class... A>
Status not_supported(A...) {
    return status::not_supported;
}

template <class... A>
constexpr auto not_supported_as(Status (*)(A...)) {
    return &not_supported<A...>;
}

// What programs call. A graph that is ready is the graph.
struct FakeProgram {
    static Status cuMemAllocAsync(Address* address, size_t bytes, Stream stream) {
        return pool_take(address, bytes, stream);
    }
    static Status cuStreamBeginCapture(Stream stream, int mode) {
        return capture_begin(stream, mode);
    }
    static Status cuStreamEndCapture(Stream stream, Graph* graph) {
        *graph = capture_end(stream);
        return *graph != nullptr ? status::success : status::stream_capture_unsupported;
    }
    static Status cuGraphInstantiateWithFlags(GraphExec* ready, Graph graph, unsigned long long) {
        *ready = reinterpret_cast<GraphExec>(graph);
        return status::success;
    }
    static Status cuGraphLaunch(GraphExec ready, Stream stream) {
        return graph_launch(reinterpret_cast<Graph>(ready), stream);
    }
    static Status cuGraphExecDestroy(GraphExec ready) {
        graph_destroy(reinterpret_cast<Graph>(ready));
        return status::success;
    }
};

struct Entry {
    const char* name;
    int version;
    void* function;
};

const Entry* table_find(const char* name) {
    static const Entry entries[] = {
#define FAKE_ENTRY(need, name, version, ...)                                               \
    {#name, version, [] {                                                                  \
         auto pick = []<class F>(F*) -> DriverTable::name##_type* {                        \
             if constexpr (requires { &F::name; }) {                                       \
                 return &F::name;                                                          \
             } else {                                                                      \
                 return not_supported_as(static_cast<DriverTable::name##_type*>(nullptr)); \
             }                                                                             \
         };                                                                                \
         return reinterpret_cast<void*>(pick(static_cast<Fake*>(nullptr)));                \
     }()},
        WEFT_CUDA_FUNCTIONS(FAKE_ENTRY)
#undef FAKE_ENTRY
#define FAKE_PROGRAM(name) {#name, 2000, reinterpret_cast<void*>(&FakeProgram::name)}
            FAKE_PROGRAM(cuStreamBeginCapture),
        FAKE_PROGRAM(cuStreamEndCapture),
        FAKE_PROGRAM(cuGraphInstantiateWithFlags),
        FAKE_PROGRAM(cuGraphLaunch),
        FAKE_PROGRAM(cuGraphExecDestroy),
        FAKE_PROGRAM(cuMemAllocAsync),
#undef FAKE_PROGRAM
    };
    for (const Entry& entry : entries) {
        if (std::strcmp(entry.name, name) == 0) {
            return &entry;
        }
    }
    return nullptr;
}

}  // namespace

}  // namespace weft::gpu

using namespace weft::gpu;

FAKE_EXPORT Status cuCtxGetCurrent(Context* context) {
    return Fake::cuCtxGetCurrent(context);
}

FAKE_EXPORT Status cuCtxGetDevice(Device* device) {
    return Fake::cuCtxGetDevice(device);
}

FAKE_EXPORT Status cuInit(unsigned flags) {
    return Fake::cuInit(flags);
}

FAKE_EXPORT Status cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t,
                                       int* why) {
    const Entry* entry = table_find(name);
    const char* lacking = fake_cuda_control.lacking;
    *function = nullptr;
    *why = 1;
    if (fake_cuda_control.stub != 0) {
        return status::stub_library;
    }
    if (entry == nullptr || (lacking != nullptr && std::strcmp(lacking, name) == 0)) {
        return status::not_found;
    }
    if (version < entry->version || fake_cuda_control.version < entry->version) {
        *why = 2;
        return status::not_found;
    }
    *why = 0;
    *function = entry->function;
    return status::success;
}
