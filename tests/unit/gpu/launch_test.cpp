// Kernels through the seam, on the stand-in driver: memory, streams, events, one launch for two
// ranks and a launch each on streams of their own. What runs is the library's kernels as the host
// compiler sees them.
#include <cstring>
#include <optional>
#include <vector>

#include "src/gpu/context.h"
#include "src/gpu/device/program.h"
#include "src/gpu/images.h"
#include "tests/unit/gpu/fake.h"

using namespace weft;
using namespace weft::gpu;
using device::Do;

namespace {

constexpr size_t count = 100;
constexpr uint64_t bytes = count * sizeof(float);

// Driver calls that must work here.
#define WORKS(call) REQUIRE((call) == status::success)

class Machine {
  public:
    Machine() : driver(driver_load(FAKE_CUDA).value()) {
        REQUIRE(driver_init(driver).ok());
        context.emplace(PrimaryContext::retain(driver, 0).value());
        guard.emplace(ContextGuard::push(driver, context->get()).value());
        const auto image = device_image(DataType::float32);
        const char none[] = "";
        const void* const data = image.ok() ? static_cast<const void*>(image.value().data()) : none;
        WORKS(driver.cuModuleLoadData(&module, data));
        WORKS(driver.cuModuleGetFunction(&kernel, module,
                                         kernel_name(DataType::float32, RedOp::sum).c_str()));
        WORKS(driver.cuStreamCreateWithPriority(&stream, stream_flag::non_blocking, 0));
    }
    ~Machine() {
        driver.cuStreamDestroy(stream);
        for (const Address each : memory) {
            driver.cuMemFree(each);
        }
        driver.cuModuleUnload(module);
    }
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    Address allocate(size_t size) {
        Address address = 0;
        WORKS(driver.cuMemAlloc(&address, size));
        memory.push_back(address);
        return address;
    }
    template <class T>
    T* put(const std::vector<T>& values) {
        const Address to = allocate(values.size() * sizeof(T));
        WORKS(driver.cuMemcpyAsync(to, reinterpret_cast<Address>(values.data()),
                                   values.size() * sizeof(T), stream));
        WORKS(driver.cuStreamSynchronize(stream));
        return reinterpret_cast<T*>(to);
    }
    std::vector<float> get(Address from) {
        std::vector<float> values(count);
        WORKS(driver.cuMemcpyAsync(reinterpret_cast<Address>(values.data()), from, bytes, stream));
        WORKS(driver.cuStreamSynchronize(stream));
        return values;
    }
    Status launch(const device::RankProgram* ranks, unsigned blocks, Stream on) {
        device::Launch argument{ranks, 1};
        void* arguments[] = {&argument};
        return driver.cuLaunchKernel(kernel, blocks, 1, 1, 256, 1, 1, 0, on, arguments, nullptr);
    }

    Driver driver;
    std::optional<PrimaryContext> context;
    std::optional<ContextGuard> guard;
    Module module = nullptr;
    Function kernel = nullptr;
    Stream stream = nullptr;
    std::vector<Address> memory;
};

// Two ranks that put their input into each other's output: words 0 (mine) and 1 (the peer's).
struct Swap {
    explicit Swap(Machine& machine) {
        uint64_t* const words = machine.put<uint64_t>({0, 0, 0});
        for (uint64_t rank = 0; rank < 2; ++rank) {
            std::vector<float> values(count, static_cast<float>(rank + 1));
            inputs[rank] = reinterpret_cast<Address>(machine.put(values));
            outputs[rank] = machine.allocate(bytes);
        }
        for (uint64_t rank = 0; rank < 2; ++rank) {
            programs.push_back(program(machine, rank, reinterpret_cast<Address>(words)));
        }
        ranks = machine.put(programs);
    }

    device::RankProgram program(Machine& machine, uint64_t rank, Address words) {
        const std::vector<device::Step> steps = {{Do::copy, 2, 0, 0, 0, 0, bytes},
                                                 {Do::post, 0, 0, 1, 0, 1, bytes},
                                                 {Do::await, 0, 0, 0, 0, 1, bytes}};
        const std::vector<device::Operand> operands = {{0, 1, 1}, {0, 0, 1}};
        const std::vector<device::StreamEnd> ends = {{0, 1}, {1, 1}};
        const device::LaneProgram lane{
            machine.put(steps), machine.put(operands), machine.put(ends), 3, 2, 2, 2, 256};
        const std::vector<uint64_t> bases = {inputs[rank], outputs[1 - rank]};
        const std::vector<uint64_t> places = {words + rank * 8, words + (1 - rank) * 8};
        return {machine.put<device::LaneProgram>({lane}),
                machine.put(bases),
                machine.put(places),
                machine.put<uint64_t>({0, 0}),
                reinterpret_cast<const uint64_t*>(words + 16),
                nullptr,
                0,
                1,
                2,
                1};
    }

    Address inputs[2] = {}, outputs[2] = {};
    std::vector<device::RankProgram> programs;
    const device::RankProgram* ranks = nullptr;
};

}  // namespace

TEST_CASE("one launch runs both ranks, on one or several threads a block, again and again") {
    FakeSwitches fake;
    for (const unsigned threads : {1u, 3u}) {
        fake->block_threads = threads;
        Machine machine;
        const Swap swap(machine);
        for (int round = 0; round < 3; ++round) {
            WORKS(machine.driver.cuMemsetD8Async(swap.outputs[0], 0, bytes, machine.stream));
            WORKS(machine.driver.cuMemsetD8Async(swap.outputs[1], 0, bytes, machine.stream));
            WORKS(machine.launch(swap.ranks, 2, machine.stream));
            CHECK(machine.get(swap.outputs[0]) == std::vector<float>(count, 2));
            CHECK(machine.get(swap.outputs[1]) == std::vector<float>(count, 1));
        }
    }
}

TEST_CASE("a launch for each rank, on two streams, joined by an event") {
    FakeSwitches fake;
    Machine machine;
    const Swap swap(machine);
    Stream other = nullptr;
    Event event = nullptr;
    WORKS(machine.driver.cuStreamCreateWithPriority(&other, stream_flag::non_blocking, 0));
    WORKS(machine.driver.cuEventCreate(&event, event_flag::no_timing));
    WORKS(machine.launch(swap.ranks, 1, other));
    WORKS(machine.driver.cuEventRecord(event, other));
    // Rank 0 waits for rank 1, which nobody has launched.
    CHECK(machine.driver.cuEventQuery(event) == status::not_ready);
    CHECK(machine.driver.cuStreamQuery(other) == status::not_ready);
    WORKS(machine.launch(swap.ranks + 1, 1, machine.stream));
    WORKS(machine.driver.cuStreamWaitEvent(machine.stream, event, 0));
    CHECK(machine.get(swap.outputs[0]) == std::vector<float>(count, 2));
    CHECK(machine.get(swap.outputs[1]) == std::vector<float>(count, 1));
    WORKS(machine.driver.cuEventQuery(event));
    WORKS(machine.driver.cuEventDestroy(event));
    WORKS(machine.driver.cuStreamDestroy(other));
}

TEST_CASE("the stand-in refuses what a driver refuses") {
    FakeSwitches fake;
    Machine machine;
    Function none = nullptr;
    CHECK(machine.driver.cuModuleGetFunction(&none, machine.module, "lanes_float32_xor") ==
          status::not_found);
    const Address memory = machine.allocate(64);
    CHECK(machine.driver.cuMemsetD8Async(memory, 0, 65, machine.stream) == status::invalid_value);
    device::Launch argument{nullptr, 1};
    void* arguments[] = {&argument};
    CHECK(machine.driver.cuLaunchKernel(machine.kernel, 1, 1, 1, 513, 1, 1, 0, machine.stream,
                                        arguments, nullptr) == status::invalid_value);
    std::vector<uint8_t> fresh(64);
    WORKS(machine.driver.cuMemcpyAsync(reinterpret_cast<Address>(fresh.data()), memory, 64,
                                       machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
    CHECK(fresh == std::vector<uint8_t>(64, 0xcb));
}
