// A device of the stand-in with a context, a stream and the kernels of floats, and a program of two
// ranks on it. Thread-bound, but for launches. Lifetime: memory and streams go with the machine.
// Failure rule: a call that does not work fails the test.
#pragma once

#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/gpu/context.h"
#include "src/gpu/device/mem.h"
#include "src/gpu/device/program.h"
#include "src/gpu/images.h"
#include "src/gpu/layout.h"
#include "tests/unit/gpu/fake.h"

namespace weft::gpu {

inline constexpr size_t count = 100;
inline constexpr uint64_t bytes = count * sizeof(float);

// Looks until it is so; only a hang takes this long.
inline bool comes_true(const std::function<bool()>& it) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!it()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

// Driver calls that must work here.
#define WORKS(call) REQUIRE((call) == gpu::status::success)

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
        kernel = function(kernel_name(Family::lanes, DataType::float32, RedOp::sum));
        stream = make_stream();
    }
    ~Machine() {
        for (const Stream each : streams) {
            driver.cuStreamDestroy(each);
        }
        for (const Address each : memory) {
            driver.cuMemFree(each);
        }
        driver.cuModuleUnload(module);
    }
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    Function function(const std::string& name) {
        Function found = nullptr;
        WORKS(driver.cuModuleGetFunction(&found, module, name.c_str()));
        return found;
    }
    Stream make_stream(unsigned flags = stream_flag::non_blocking) {
        Stream made = nullptr;
        WORKS(driver.cuStreamCreateWithPriority(&made, flags, 0));
        streams.push_back(made);
        return made;
    }
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
        return launch_any(kernel, argument, blocks, on);
    }
    template <class Argument>
    Status launch_any(Function which, Argument argument, unsigned blocks, Stream on) {
        void* arguments[] = {&argument};
        return driver.cuLaunchKernel(which, blocks, 1, 1, 256, 1, 1, 0, on, arguments, nullptr);
    }

    Driver driver;
    std::optional<PrimaryContext> context;
    std::optional<ContextGuard> guard;
    Module module = nullptr;
    Function kernel = nullptr;
    Stream stream = nullptr;
    std::vector<Address> memory;
    std::vector<Stream> streams;
};

// Two ranks that put their input into each other's output, whose address they were told.
struct Swap {
    // What the program does right, or forgets.
    struct Care {
        bool zeroes = true;  // the ranks' memories, before the first operation
        bool counts = true;  // operations, on the device
    };
    explicit Swap(Machine& machine) : Swap(machine, Care{}) {}
    Swap(Machine& machine, Care takes) : layout(2, 0), care(takes) {
        std::vector<uint64_t> memories;
        for (uint64_t rank = 0; rank < 2; ++rank) {
            std::vector<float> values(count, static_cast<float>(rank + 1));
            inputs[rank] = reinterpret_cast<Address>(machine.put(values));
            outputs[rank] = machine.allocate(bytes);
            memories.push_back(machine.allocate(layout.bytes()));
            if (care.zeroes) {
                WORKS(machine.driver.cuMemsetD8Async(memories.back(), 0, layout.bytes(),
                                                     machine.stream));
            }
            memory[rank] = memories.back();
        }
        const uint64_t* const table = machine.put(memories);
        words = machine.allocate(1024);
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
        using device::Do;
        const std::vector<device::Step> steps = {
            {Do::copy, 2, 0, 0, 0, 0, bytes},
            {Do::post, layout.word_place(Word::arrived, 0, rank), base_number(Base::memory, peer),
             told, 0, 1, bytes},
            {Do::await, layout.word_place(Word::arrived, 0, peer), base_number(Base::memory, rank),
             heard, 0, 1, bytes}};
        const std::vector<device::Operand> operands = {{0, 6, 1},
                                                       {0, base_number(Base::input, rank), 1}};
        const std::vector<device::StreamEnd> ends = {{told, 2}, {heard, 2}};
        return {machine.put(steps),
                machine.put(operands),
                machine.put(ends),
                3,
                2,
                care.counts ? 2u : 0u,
                2,
                256};
    }

    // The launch of one rank alone.
    device::Launch alone(uint32_t rank) const {
        device::Launch made{1, 1, {}};
        made.ranks[0] = launch.ranks[rank];
        return made;
    }

    void stop() const { device::store_release(reinterpret_cast<uint64_t*>(words), 1); }
    device::LaneEnd end(uint32_t rank) const { return launch.ranks[rank].part.ends[0]; }
    // The word by which a rank is told of its peer's data, and its value.
    uint64_t arrived(uint32_t rank) const {
        return device::load_acquire(reinterpret_cast<const uint64_t*>(memory[rank]) +
                                    layout.word_place(Word::arrived, 0, 1 - rank));
    }

    Layout layout;
    Care care;
    Address words = 0, memory[2] = {};
    Address inputs[2] = {}, outputs[2] = {};
    device::Launch launch{2, 1, {}};
};

}  // namespace weft::gpu
