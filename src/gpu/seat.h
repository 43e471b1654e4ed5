// What the communicators of a process share on one device: its context and every kernel, loaded
// before the first operation, because loading later may wait for kernels that wait for others; and
// what is known of memory that is shared with other processes. Thread rule: immutable, but for that
// memory, which is thread-safe. Lifetime: the driver is borrowed for life; communicators share a
// seat, and the last one's end frees it, which may wait for the device. Failure rule: one line.
#pragma once

#include <memory>
#include <string>

#include "src/base/result.h"
#include "src/base/types.h"
#include "src/gpu/context.h"
#include "src/gpu/device/mem.h"
#include "src/gpu/device/program.h"
#include "src/gpu/images.h"
#include "src/gpu/user_memory.h"

namespace weft::gpu {

struct DeviceFacts {
    int ordinal = 0;
    std::string name;
    std::string uuid;  // in hex; the bus address where the driver has none
    int multiprocessors = 0;
    int capability = 0;  // 90 is 9.0
    bool cooperative = false;
};

// How kernels are run, which changes no result.
struct KernelWay {
    uint32_t block_threads = device::block_threads_max;  // the most a block has
    device::Loops loops = device::Loops::several;
};

class Seat {
  public:
    // The calling thread's capture mode must allow it; the context is pushed meanwhile.
    static Result<std::shared_ptr<Seat>> create(const Driver& driver, int ordinal,
                                                const KernelWay& way = {});
    ~Seat();
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

    const Driver& driver() const { return *driver_; }
    Device device() const { return context_.device(); }
    Context context() const { return context_.get(); }
    DevicePlace place() const { return context_.place(); }
    const DeviceFacts& facts() const { return facts_; }
    uint32_t block_threads() const { return way_.block_threads; }
    uint32_t loops() const { return static_cast<uint32_t>(way_.loops); }
    Function kernel(Family family, DataType type, RedOp op) const {
        return kernels_[static_cast<size_t>(family)][static_cast<size_t>(type)]
                       [static_cast<size_t>(op)];
    }
    Function move_kernel() const { return move_kernel_; }
    Function board_kernel() const { return board_kernel_; }
    UserExports& exports() { return exports_; }
    UserImports& imports() { return imports_; }
    // Whether that many blocks of this kernel fit the device at once, as they must if they wait for
    // each other. The line says what to do.
    Result<void> resident(Family family, DataType type, RedOp op, uint32_t blocks,
                          uint32_t threads) const;

  private:
    Seat(const Driver& driver, PrimaryContext context, DeviceFacts facts, const KernelWay& way)
        : driver_(&driver),
          context_(std::move(context)),
          facts_(std::move(facts)),
          way_(way),
          exports_(context_.place()),
          imports_(context_.place()) {}
    Result<void> load();
    Result<void> load_type(DataType type);
    Result<Function> kernel_load(Module module, const std::string& name);

    static constexpr int kernel_ops = 4;  // sum, prod, max, min
    const Driver* driver_;
    PrimaryContext context_;
    DeviceFacts facts_;
    const KernelWay way_;
    UserExports exports_;  // the context outlives both
    UserImports imports_;
    Module modules_[data_type_count + 1] = {};  // the last is move's
    Function kernels_[family_count][data_type_count][kernel_ops] = {};
    Function move_kernel_ = nullptr, board_kernel_ = nullptr;
};

// The operation a kernel does for a call's: averages and pre-multiplied sums are sums.
constexpr RedOp kernel_op(RedOp op) {
    return op == RedOp::avg || op == RedOp::pre_mul_sum ? RedOp::sum : op;
}

// Kernels and allocations made while somebody captures elsewhere in the process are none of the
// capture's business: this thread says so for the scope.
class RelaxedCapture {
  public:
    explicit RelaxedCapture(const Driver& driver);
    ~RelaxedCapture();
    RelaxedCapture(const RelaxedCapture&) = delete;
    RelaxedCapture& operator=(const RelaxedCapture&) = delete;

  private:
    const Driver& driver_;
    int mode_;
};

}  // namespace weft::gpu
