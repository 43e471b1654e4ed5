#include "src/comm/pinned_memory.h"

#include "src/base/log.h"
#include "transports/memory.h"

namespace weft {

Result<void> host_pin(const gpu::Seat& seat, void* memory, uint64_t bytes) {
    const gpu::Driver& cuda = seat.driver();
    return gpu::driver_check(
        cuda,
        cuda.cuMemHostRegister(memory, bytes,
                               gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
        format("pinning %llu bytes of host memory for %s (check ulimit -l)",
               static_cast<unsigned long long>(bytes), seat.facts().name.c_str()));
}

Result<std::unique_ptr<PinnedMemory>> PinnedMemory::create(std::shared_ptr<gpu::Seat> seat,
                                                           uint64_t bytes) {
    std::unique_ptr<PinnedMemory> made(new PinnedMemory(std::move(seat)));
    TRY(made->allocate(bytes));
    return made;
}

Result<void> PinnedMemory::allocate(uint64_t bytes) {
    at_ = static_cast<char*>(TRY(shared_alloc(bytes)));
    TRY(host_pin(*seat_, at_, bytes));
    pinned_ = true;
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(cuda, cuda.cuMemHostGetDevicePointer(&device_, at_, 0),
                             "the device's address of pinned host memory");
}

PinnedMemory::~PinnedMemory() {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok() && pinned_) {  // else the program has reset its device
        cuda.cuMemHostUnregister(at_);
    }
    if (at_ != nullptr) {
        (void)shared_free(at_);
    }
}

}  // namespace weft
