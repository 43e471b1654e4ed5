// Allocating, registering, copying, and what an address is.
#include <atomic>
#include <cstring>

#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/memory.h"

namespace weft::gpu {

namespace {

Status allocate(Address* address, size_t bytes, MemoryUse use) {
    FAKE_REQUIRE(in_context_unsafe());
    return memory_take(address, bytes, context_current()->device, use);
}

Status release(Address address, MemoryUse use) {
    FAKE_REQUIRE(in_context_unsafe());
    return memory_free(address, use);
}

template <class T>
Status answer(void* to, T value) {
    std::memcpy(to, &value, sizeof(value));
    return status::success;
}

// A driver tells the addresses that were reserved, not those that are mapped.
Reserved range_of(const Allocation& found) {
    return found.use == MemoryUse::mapped ? reserved_find(found.begin)
                                          : Reserved{found.begin, found.bytes};
}

Status attribute_of(const Allocation& found, int attribute, void* to) {
    const bool none = found.begin == 0;
    switch (attribute) {
        case pointer_attribute::memory_type:
            return answer(to, none              ? 0U
                              : found.on_host() ? memory_type::host
                                                : memory_type::device);
        case pointer_attribute::device_ordinal:
            return answer(to, none ? -2 : found.device);
        case pointer_attribute::is_managed:
            return answer(to, 0U);
        case pointer_attribute::buffer_id:
            return answer(to, static_cast<unsigned long long>(found.id));
        case pointer_attribute::legacy_ipc_capable:
            return answer(to, !none && found.use == MemoryUse::plain ? 1U : 0U);
        case pointer_attribute::range_start:
            return answer(to, range_of(found).begin);
        case pointer_attribute::range_size:
            return answer(to, range_of(found).bytes);
        case pointer_attribute::pool_handle:
            return answer(to, found.use == MemoryUse::pool ? 1ULL : 0ULL);
        default:
            return status::not_supported;
    }
}

}  // namespace

Status MemoryCalls::cuMemAlloc(Address* address, size_t bytes) {
    return allocate(address, bytes, MemoryUse::plain);
}

Status MemoryCalls::cuMemFree(Address address) {
    const MemoryUse use = memory_find(address).use;
    return release(address, use == MemoryUse::pool ? use : MemoryUse::plain);
}

Status MemoryCalls::cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    Address address = 0;
    FAKE_REQUIRE(allocate(&address, bytes, MemoryUse::host));
    *memory = reinterpret_cast<void*>(address);
    return status::success;
}

Status MemoryCalls::cuMemFreeHost(void* memory) {
    return release(reinterpret_cast<Address>(memory), MemoryUse::host);
}

Status MemoryCalls::cuMemHostRegister(void* memory, size_t bytes, unsigned) {
    FAKE_REQUIRE(in_context_unsafe());
    return memory_add(reinterpret_cast<Address>(memory), bytes, context_current()->device,
                      MemoryUse::registered);
}

Status MemoryCalls::cuMemHostUnregister(void* memory) {
    FAKE_REQUIRE(in_context_unsafe());
    return memory_remove(reinterpret_cast<Address>(memory), MemoryUse::registered);
}

Status MemoryCalls::cuMemHostGetDevicePointer(Address* address, void* memory, unsigned) {
    *address = reinterpret_cast<Address>(memory);
    return memory_holds(*address, 1) ? status::success : status::invalid_value;
}

// Of mapped memory, the one mapping.
Status MemoryCalls::cuMemGetAddressRange(Address* base, size_t* bytes, Address address) {
    FAKE_REQUIRE(in_context());
    const Allocation found = memory_find(address);
    if (found.begin == 0) {
        return status::not_found;
    }
    *base = found.begin;
    *bytes = found.bytes;
    return status::success;
}

// Either end may be pageable memory of the host, which is not known here.
Status MemoryCalls::cuMemcpyAsync(Address to, Address from, size_t bytes, Stream stream) {
    FAKE_REQUIRE(in_context());
    if (!memory_holds(to, bytes) && !memory_holds(from, bytes)) {
        return status::invalid_value;
    }
    const bool wrong = !memory_holds(to, 1) && comes_up(fake_cuda_control.copy_wrong);
    stream_give(stream, [=] {
        std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
        if (wrong) {
            *reinterpret_cast<char*>(to) ^= 1;
        }
    });
    return status::success;
}

Status MemoryCalls::cuMemsetD8Async(Address to, unsigned char value, size_t count, Stream stream) {
    FAKE_REQUIRE(in_context());
    if (!memory_holds(to, count)) {
        return status::invalid_value;
    }
    stream_give(stream, [=] { std::memset(reinterpret_cast<void*>(to), value, count); });
    return status::success;
}

Status MemoryCalls::cuPointerGetAttributes(unsigned count, int* attributes, void** values,
                                           Address address) {
    FAKE_REQUIRE(in_context());
    const Allocation found = memory_find(address);
    for (unsigned i = 0; i < count; ++i) {
        FAKE_REQUIRE(attribute_of(found, attributes[i], values[i]));
    }
    return status::success;
}

}  // namespace weft::gpu
