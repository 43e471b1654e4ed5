#include "tests/fake_cuda/kernels.h"

#include <cstring>
#include <memory>

#include "src/gpu/device/board.h"
#include "src/gpu/device/oneshot.h"
#include "tests/fake_cuda/block.h"
#include "tools/gpu_suite/check/kernels.h"

namespace weft::gpu {

namespace {

template <DataType type, RedOp op>
void lanes_run(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::Launch*>(argument);
    const auto shared = std::make_unique<device::SharedLane>();
    // Shared memory starts as anything but zeros.
    std::memset(static_cast<void*>(shared.get()), 0xcb, sizeof(*shared));
    HostBlock block(threads);
    block.run([&](device::Threads thread, void* sync) {
        device::lane_run<type, op>(thread, sync, shared.get(), launch, index);
    });
}

template <DataType type, RedOp op>
void oneshot_run(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::OneshotLaunch*>(argument);
    HostBlock block(threads);
    block.run([&](device::Threads thread, void* sync) {
        device::oneshot_run<type, op>(thread, sync, launch, index);
    });
}

void move_rows(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::MoveLaunch*>(argument);
    HostBlock block(threads);
    block.run(
        [&](device::Threads thread, void* sync) { device::move_run(thread, sync, launch, index); });
}

void board_rows(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::BoardLaunch*>(argument);
    HostBlock block(threads);
    block.run([&](device::Threads thread, void* sync) {
        device::board_run(thread, sync, launch, index);
    });
}

// Those of the suite for GPU machines.
void suite_litmus(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::LitmusLaunch*>(argument);
    HostBlock block(threads);
    block.run([&](device::Threads thread, void* sync) {
        device::litmus_run(thread, sync, launch, index);
    });
}

void suite_copy(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::CopyLaunch*>(argument);
    HostBlock block(threads);
    block.run([&](device::Threads thread, void*) { device::copy_run(thread, launch, index); });
}

void suite_reduce(const void* argument, uint32_t index, uint32_t threads) {
    const auto& launch = *static_cast<const device::ReduceLaunch*>(argument);
    const char* sources[device::reduce_sources];
    HostBlock block(threads);
    block.run([&](device::Threads thread, void* sync) {
        device::reduce_run(thread, sync, sources, launch, index);
    });
}

// clang-format off
#define KERNEL(type, op) \
    {"lanes_" #type "_" #op, sizeof(device::Launch), lanes_run<DataType::type, RedOp::op>}, \
    {"oneshot_" #type "_" #op, sizeof(device::OneshotLaunch), oneshot_run<DataType::type, RedOp::op>},
#define KERNELS(type) KERNEL(type, sum) KERNEL(type, prod) KERNEL(type, max) KERNEL(type, min)
FunctionOpaque functions[] = {
    KERNELS(int8) KERNELS(uint8) KERNELS(int32) KERNELS(uint32) KERNELS(int64) KERNELS(uint64)
    KERNELS(float16) KERNELS(float32) KERNELS(float64) KERNELS(bfloat16) KERNELS(float8e4m3)
    KERNELS(float8e5m2)
    {"move_rows", sizeof(device::MoveLaunch), move_rows},
    {"board_rows", sizeof(device::BoardLaunch), board_rows},
    {"suite_litmus", sizeof(device::LitmusLaunch), suite_litmus},
    {"suite_copy", sizeof(device::CopyLaunch), suite_copy},
    {"suite_reduce", sizeof(device::ReduceLaunch), suite_reduce},
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
