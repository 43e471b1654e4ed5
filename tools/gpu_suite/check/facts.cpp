// What the driver and the device are and allow: nothing here fails but a driver that is not there.
#include <vector>

#include "src/gpu/export.h"
#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/outcome.h"

namespace weft::suite {

namespace {

struct Attribute {
    const char* name;
    int number;  // CUdevice_attribute
};

constexpr Attribute attributes[] = {{"multiprocessors", 16},
                                    {"clock_khz", 13},
                                    {"ecc", 32},
                                    {"copy_engines", 40},
                                    {"unified_addressing", 41},
                                    {"memory_bus_bits", 37},
                                    {"memory_clock_khz", 36},
                                    {"l2_bytes", 38},
                                    {"capability_major", 75},
                                    {"capability_minor", 76},
                                    {"host_register", 99},
                                    {"managed_memory", 83},
                                    {"cooperative_launch", 95},
                                    {"stream_memory_operations", 122},
                                    {"virtual_memory", 102},
                                    {"handle_file_descriptor", 103},
                                    {"gpu_direct_rdma", 116},
                                    {"dma_buf", 124},
                                    {"multicast", 132}};

// A step of an attempt: its name and what came of it.
bool step(const Device& device, std::string& said, const char* name, gpu::Status status) {
    const char* text = nullptr;
    if (status != gpu::status::success) {
        device->cuGetErrorName(status, &text);
        said = std::string(name) + " says " + (text != nullptr ? text : "an unknown error");
    }
    return status == gpu::status::success;
}

constexpr uint64_t shared_bytes = 2 << 20;

// As a peer would: memory of ours by its descriptor, written at one address and read at the other.
Result<std::string> virtual_memory(const Device& device) {
    if (!gpu::descriptors_supported(device.driver(), device.ordinal())) {
        return std::string("driver or device have none");
    }
    const auto memory = TRY(gpu::ExportedMemory::create(device.place(), shared_bytes));
    value_set("virtual_memory_unit", static_cast<double>(memory->bytes()));
    std::vector<gpu::ExportedPart> parts(1);
    parts[0].note = TRY(memory->note());
    parts[0].descriptor = TRY(memory->descriptor());
    const auto seen = TRY(gpu::ImportedMemory::open(device.place(), std::move(parts)));
    constexpr uint64_t sent = 0x0123456789abcdef;
    uint64_t got = 0;
    device.put(memory->address(), &sent, sizeof(sent));
    device.get(&got, seen->address(), sizeof(got));
    return std::string(got == sent ? "works" : "what was written is not seen at its other address");
}

// Only another process could open it.
Result<std::string> ipc(const Device& device) {
    if (device->cuIpcGetMemHandle == nullptr) {
        return std::string("the driver has no such function");
    }
    gpu::IpcHandle handle{};
    TRY(gpu::driver_check(device.driver(),
                          device->cuIpcGetMemHandle(&handle, device.take(shared_bytes)),
                          "cuIpcGetMemHandle"));
    return std::string("gives a handle");
}

std::string said(const Result<std::string>& tried) {
    return tried.ok() ? tried.value() : tried.error().what;
}

// A word written and awaited by a stream; then the same captured.
std::string memory_operations(const Device& device, bool captured) {
    const gpu::ProgramTable& cuda = device.program();
    if (device->cuStreamWriteValue32 == nullptr || device->cuStreamWaitValue32 == nullptr ||
        (captured && cuda.cuStreamBeginCapture == nullptr)) {
        return "the driver has no such functions";
    }
    std::string said = "works";
    const gpu::Stream stream = device.stream_make();
    uint64_t* const word = device.take_pinned(1);
    gpu::Address at = 0;
    device.done(device->cuMemHostGetDevicePointer(&at, word, 0), "the place of pinned memory");
    if (captured && !step(device, said, "begin",
                          cuda.cuStreamBeginCapture(stream, gpu::capture_mode::relaxed))) {
        return said;
    }
    const bool taken =
        step(device, said, "write", device->cuStreamWriteValue32(stream, at, 7, 0)) &&
        step(device, said, "wait",
             device->cuStreamWaitValue32(stream, at, 7, gpu::wait_value_flag::equal));
    if (captured) {
        gpu::Graph graph = nullptr;
        gpu::GraphExec ready = nullptr;
        if (!step(device, said, "end", cuda.cuStreamEndCapture(stream, &graph)) || !taken ||
            !step(device, said, "instantiate",
                  cuda.cuGraphInstantiateWithFlags(&ready, graph, 0)) ||
            !step(device, said, "launch", cuda.cuGraphLaunch(ready, stream))) {
            return said;
        }
    }
    device.synchronize(stream);
    return taken && *word != 7 ? "leaves the word as it was" : said;
}

}  // namespace

void facts(const Device& device, const Options&) {
    for (const Attribute& one : attributes) {
        value_set(one.name, device.attribute(one.number));
    }
    value_set("virtual memory", said(virtual_memory(device)));
    value_set("ipc", said(ipc(device)));
    value_set("stream memory operations", memory_operations(device, false));
    value_set("captured memory operations", memory_operations(device, true));
    std::string missing;
#define WEFT_MISSING(name, version, ...) \
    missing += device.program().name == nullptr ? std::string(" ") + #name : "";
    WEFT_PROGRAM_FUNCTIONS(WEFT_MISSING)
#undef WEFT_MISSING
    value_set("functions missing", missing);
}

}  // namespace weft::suite
