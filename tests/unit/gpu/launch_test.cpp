// Kernels through the seam, on the stand-in driver: memory, streams, events, one launch for two
// ranks and a launch each on streams of their own. What runs is the library's kernels as the host
// compiler sees them.
#include <vector>

#include "tests/unit/gpu/machine.h"

using namespace weft;
using namespace weft::gpu;

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
    std::vector<uint64_t> fresh(8);
    WORKS(machine.driver.cuMemcpyAsync(reinterpret_cast<Address>(fresh.data()), memory, 64,
                                       machine.stream));
    WORKS(machine.driver.cuStreamSynchronize(machine.stream));
    // No zeros, and what is counted on here was put there by nobody.
    for (size_t i = 0; i < fresh.size(); ++i) {
        CHECK(fresh[i] >> 32 == 0xcbcbcbcb);
        CHECK((i == 0 || fresh[i] < fresh[i - 1]));
    }
}
