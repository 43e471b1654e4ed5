#include "src/base/log.h"
#include "src/comm/call.h"
#include "src/comm/communicator.h"
#include "src/comm/device_bundle.h"

namespace weft {

namespace {

// What CUDA knows of an address.
struct PointerFacts {
    unsigned memory = 0;  // gpu::memory_type, 0: not CUDA's
    int device = -1;
};

Result<PointerFacts> pointer_facts(const gpu::Driver& cuda, const void* at) {
    PointerFacts facts;
    int attributes[] = {gpu::pointer_attribute::memory_type,
                        gpu::pointer_attribute::device_ordinal};
    void* values[] = {&facts.memory, &facts.device};
    const gpu::Status asked =
        cuda.cuPointerGetAttributes(2, attributes, values, reinterpret_cast<gpu::Address>(at));
    // Some drivers refuse what they do not know, others say nothing of it.
    if (asked != gpu::status::invalid_value) {
        TRY(gpu::driver_check(cuda, asked, format("asking about address %p", at)));
    }
    return facts;
}

Result<void> buffer_check(const Communicator& comm, const gpu::Seat& seat, const char* function,
                          const char* name, const void* at) {
    const PointerFacts facts = TRY(pointer_facts(seat.driver(), at));
    const gpu::DeviceFacts& device = seat.facts();
    if (facts.memory == 0) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%s : %s %p is host memory that CUDA does not know, and %s works on CUDA device "
                   "%d: pass device memory, pin it with cudaHostRegister, or set WEFT_DEVICE=host",
                   function, name, at, comm.name().c_str(), device.ordinal));
    }
    if (facts.memory == gpu::memory_type::device && facts.device != device.ordinal) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%s : %s %p is memory of CUDA device %d, and %s works on device "
                   "%d: pass memory of that device",
                   function, name, at, facts.device, comm.name().c_str(), device.ordinal));
    }
    return {};
}

Result<void> stream_check(const Communicator& comm, const gpu::Seat& seat, const char* function,
                          const void* stream) {
    // The default streams belong to whatever context is current.
    constexpr uintptr_t per_thread_default = 2;
    if (reinterpret_cast<uintptr_t>(stream) <= per_thread_default) {
        return {};
    }
    gpu::Context context = nullptr;
    const gpu::Status asked =
        seat.driver().cuStreamGetCtx(static_cast<gpu::Stream>(const_cast<void*>(stream)), &context);
    TRY(gpu::driver_check(seat.driver(), asked,
                          format("%s : asking about stream %p", function, stream)));
    if (context != seat.context()) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%s : stream %p is of another CUDA context than the primary one of device %d, "
                   "which %s works on: make the stream with that device current",
                   function, stream, seat.facts().ordinal, comm.name().c_str()));
    }
    return {};
}

}  // namespace

Result<void> device_call_check(Communicator& comm, const Call& call, const char* function,
                               const void* stream) {
    const auto side = comm.device_side();
    if (side == nullptr) {
        return comm.usable();
    }
    const gpu::Seat& seat = side->seat(static_cast<uint32_t>(comm.rank()));
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat.driver(), seat.context()));
    TRY(stream_check(comm, seat, function, stream));
    if (call.count == 0) {
        return {};
    }
    if (call.scalar_at != nullptr) {
        TRY(buffer_check(comm, seat, function, "the factor at", call.scalar_at));
    }
    const CallNeeds needs = call_needs(call.coll, call.is_send, call.root == comm.rank());
    if (needs.send) {
        TRY(buffer_check(comm, seat, function, "sendbuff", call.send));
    }
    return needs.recv ? buffer_check(comm, seat, function, "recvbuff", call.recv) : Result<void>();
}

}  // namespace weft
