// Kernels through the seam, on the stand-in driver: memory, streams, events, one launch for two
// ranks and a launch each on streams of their own. What runs is the library's kernels as the host
// compiler sees them.
#include <cstring>
#include <optional>
#include <vector>

#include "src/gpu/context.h"
#include "src/gpu/device/program.h"
#include "src/gpu/images.h"
#include "src/gpu/layout.h"
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
        WORKS(driver.cuModuleGetFunction(
            &kernel, module, kernel_name(Family::lanes, DataType::float32, RedOp::sum).c_str()));
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
    Status launch(device::Launch argument, unsigned blocks, Stream on) {
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

// Two ranks that put their input into each other's output, whose address they were told.
struct Swap {
    explicit Swap(Machine& machine) : layout(2, 0) {
        std::vector<uint64_t> memories;
        for (uint64_t rank = 0; rank < 2; ++rank) {
            std::vector<float> values(count, static_cast<float>(rank + 1));
            inputs[rank] = reinterpret_cast<Address>(machine.put(values));
            outputs[rank] = machine.allocate(bytes);
            memories.push_back(machine.allocate(layout.bytes()));
            WORKS(
                machine.driver.cuMemsetD8Async(memories.back(), 0, layout.bytes(), machine.stream));
        }
        const uint64_t* const table = machine.put(memories);
        const Address words = machine.allocate(1024);
        WORKS(machine.driver.cuMemsetD8Async(words, 0, 1024, machine.stream));
        WORKS(machine.driver.cuStreamSynchronize(machine.stream));
        for (uint32_t rank = 0; rank < 2; ++rank) {
            device::LanesRank& own = launch.ranks[rank];
            own.part.memories = table;
            own.part.abort_word = reinterpret_cast<const uint64_t*>(words);
            own.part.ends = reinterpret_cast<device::LaneEnd*>(words + 64 + 64 * rank);
            own.part.input = reinterpret_cast<const void*>(inputs[rank]);
            own.part.rank = static_cast<uint16_t>(rank);
            own.part.rank_count = 2;
            own.lanes = machine.put<device::LaneProgram>({lane(machine, rank)});
            own.more = machine.put<uint64_t>({outputs[1 - rank]});
            own.more_count = 1;
        }
    }

    device::LaneProgram lane(Machine& machine, uint32_t rank) const {
        const uint32_t peer = 1 - rank;
        const uint32_t told = layout.epoch_posted(Word::arrived, 0, peer);
        const uint32_t heard = layout.epoch_own(Word::arrived, 0, peer);
        const std::vector<device::Step> steps = {
            {Do::copy, 2, 0, 0, 0, 0, bytes},
            {Do::post, layout.word_place(Word::arrived, 0, rank), base_number(Base::memory, peer),
             told, 0, 1, bytes},
            {Do::await, layout.word_place(Word::arrived, 0, peer), base_number(Base::memory, rank),
             heard, 0, 1, bytes}};
        const std::vector<device::Operand> operands = {{0, 6, 1},
                                                       {0, base_number(Base::input, rank), 1}};
        const std::vector<device::StreamEnd> ends = {{told, 2}, {heard, 2}};
        return {machine.put(steps), machine.put(operands), machine.put(ends), 3, 2, 2, 2, 256};
    }

    // The launch of one rank alone.
    device::Launch alone(uint32_t rank) const {
        device::Launch made{1, 1, {}};
        made.ranks[0] = launch.ranks[rank];
        return made;
    }

    Layout layout;
    Address inputs[2] = {}, outputs[2] = {};
    device::Launch launch{2, 1, {}};
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
            WORKS(machine.launch(swap.launch, 2, machine.stream));
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
    WORKS(machine.launch(swap.alone(0), 1, other));
    WORKS(machine.driver.cuEventRecord(event, other));
    // Rank 0 waits for rank 1, which nobody has launched.
    CHECK(machine.driver.cuEventQuery(event) == status::not_ready);
    CHECK(machine.driver.cuStreamQuery(other) == status::not_ready);
    WORKS(machine.launch(swap.alone(1), 1, machine.stream));
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
    device::Launch argument{};
    void* arguments[] = {&argument};
    CHECK(machine.driver.cuLaunchKernel(machine.kernel, 1, 1, 1, 513, 1, 1, 0, machine.stream,
                                        arguments, nullptr) == status::invalid_value);
    std::vector<uint8_t> fresh(64);
    WORKS(machine.driver.cuMemcpyAsync(reinterpret_cast<Address>(fresh.data()), memory, 64,
                                       machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
    CHECK(fresh == std::vector<uint8_t>(64, 0xcb));
}
