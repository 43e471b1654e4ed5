// The driver's functions that concern memory, by the names of src/gpu/driver_table.h: parts of the
// stand-in's table. Thread-safe, as CUDA's are.
#pragma once

#include <atomic>

#include "src/gpu/driver_types.h"
#include "tests/fake_cuda/streams.h"

namespace weft::gpu {

struct ContextOpaque {
    Device device = 0;
    int references = 0;
};

// What is current on the calling thread; null: nothing.
Context context_current();
// The driver is initialised and a context is current.
Status in_context();
// Likewise, and a call that may wait for the device is allowed; it does if `waits`.
Status in_context_unsafe(bool waits = true);
bool device_valid(Device device);

// True once: when it has counted down to nothing.
inline bool comes_up(std::atomic<int>& count) {
    int left = count;
    while (left > 0 && !count.compare_exchange_weak(left, left - 1)) {
    }
    return left == 1;
}

#define FAKE_REQUIRE(expression)                                           \
    if (const Status result_ = (expression); result_ != status::success) { \
        return result_;                                                    \
    }

// memory_calls.cpp
struct MemoryCalls {
    static Status cuMemAlloc(Address* address, size_t bytes);
    static Status cuMemFree(Address address);
    static Status cuMemHostAlloc(void** memory, size_t bytes, unsigned flags);
    static Status cuMemFreeHost(void* memory);
    static Status cuMemHostRegister(void* memory, size_t bytes, unsigned flags);
    static Status cuMemHostUnregister(void* memory);
    static Status cuMemHostGetDevicePointer(Address* address, void* memory, unsigned flags);
    static Status cuMemGetAddressRange(Address* base, size_t* bytes, Address address);
    static Status cuMemcpyAsync(Address to, Address from, size_t bytes, Stream stream);
    static Status cuMemsetD8Async(Address to, unsigned char value, size_t count, Stream stream);
    static Status cuPointerGetAttributes(unsigned count, int* attributes, void** values,
                                         Address address);
};

// virtual_memory.cpp
struct VirtualCalls : MemoryCalls {
    static Status cuMemGetAllocationGranularity(size_t* granularity,
                                                const MemoryProperties* properties, int option);
    static Status cuMemCreate(MemoryHandle* handle, size_t bytes,
                              const MemoryProperties* properties, unsigned long long flags);
    static Status cuMemRelease(MemoryHandle handle);
    static Status cuMemAddressReserve(Address* address, size_t bytes, size_t alignment,
                                      Address wish, unsigned long long flags);
    static Status cuMemAddressFree(Address address, size_t bytes);
    static Status cuMemMap(Address address, size_t bytes, size_t offset, MemoryHandle handle,
                           unsigned long long flags);
    static Status cuMemUnmap(Address address, size_t bytes);
    static Status cuMemSetAccess(Address address, size_t bytes, const MemoryAccess* access,
                                 size_t count);
    static Status cuMemGetAccess(unsigned long long* flags, const MemoryLocation* location,
                                 Address address);
    static Status cuMemExportToShareableHandle(void* shared, MemoryHandle handle, int type,
                                               unsigned long long flags);
    static Status cuMemImportFromShareableHandle(MemoryHandle* handle, void* shared, int type);
    static Status cuMemRetainAllocationHandle(MemoryHandle* handle, void* address);
    static Status cuMemGetAllocationPropertiesFromHandle(MemoryProperties* properties,
                                                         MemoryHandle handle);
};

// ipc.cpp
struct IpcCalls : VirtualCalls {
    static Status cuIpcGetMemHandle(IpcHandle* handle, Address address);
    static Status cuIpcOpenMemHandle(Address* address, IpcHandle handle, unsigned flags);
    static Status cuIpcCloseMemHandle(Address address);
};

// The addresses that were reserved together with this one; 0 bytes: none.
struct Reserved {
    Address begin = 0;
    size_t bytes = 0;
};
Reserved reserved_find(Address address);

// What programs call: memory of the device's pool.
Status pool_take(Address* address, size_t bytes, Stream stream);
Status pool_free(Address address, Stream stream);

}  // namespace weft::gpu
