#include "tests/fake_cuda/kernels.h"

#include <barrier>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "src/gpu/device/lanes.h"

namespace weft::gpu {

namespace {

struct HostBlock : device::Block {
    explicit HostBlock(uint32_t threads) : Block{wait}, barrier(threads) {}
    static void wait(Block* block) { static_cast<HostBlock*>(block)->barrier.arrive_and_wait(); }
    std::barrier<> barrier;
};

template <DataType type, RedOp op>
void block_run(const device::Launch& launch, uint32_t index, uint32_t threads) {
    HostBlock block(threads);
    const auto shared = std::make_unique<device::SharedLane>();
    // Shared memory starts as anything but zeros.
    std::memset(static_cast<void*>(shared.get()), 0xcb, sizeof(*shared));
    std::vector<std::thread> others;
    const auto run = [&](uint32_t thread) {
        device::lane_run<type, op>({{thread, threads}, &block, shared.get()}, launch, index);
    };
    for (uint32_t thread = 1; thread < threads; ++thread) {
        others.emplace_back(run, thread);
    }
    run(0);
    for (std::thread& other : others) {
        other.join();
    }
}

// clang-format off
#define KERNEL(type, op) {"lanes_" #type "_" #op, block_run<DataType::type, RedOp::op>},
#define KERNELS(type) KERNEL(type, sum) KERNEL(type, prod) KERNEL(type, max) KERNEL(type, min)
FunctionOpaque functions[] = {
    KERNELS(int8) KERNELS(uint8) KERNELS(int32) KERNELS(uint32) KERNELS(int64) KERNELS(uint64)
    KERNELS(float16) KERNELS(float32) KERNELS(float64) KERNELS(bfloat16) KERNELS(float8e4m3)
    KERNELS(float8e5m2)
};
// clang-format on

}  // namespace

Function kernel_find(const char* name) {
    for (FunctionOpaque& function : functions) {
        if (std::strcmp(function.name, name) == 0) {
            return &function;
        }
    }
    return nullptr;
}

}  // namespace weft::gpu
