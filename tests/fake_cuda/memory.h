// Memory of the stand-in driver: what is allocated, where, and by whom. Thread-safe. Fresh memory
// holds no zeros, freed memory cannot be touched any more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/gpu/driver_types.h"

namespace weft::gpu {

struct Allocation {
    Address begin = 0;  // 0: there is none
    size_t bytes = 0;
    Context context = nullptr;
    bool host = false;
    bool registered = false;  // not allocated here
};

Status memory_take(Address* address, size_t bytes, Context context, bool host);
Status memory_free(Address address, bool host);
// Memory of the program that the device may reach from now on, and no longer.
Status memory_register(Address address, size_t bytes, Context context);
Status memory_unregister(Address address);
// The one in which the address lies.
Allocation memory_find(Address address);
bool memory_holds(Address address, size_t bytes);
// Ends the process with a line if a kernel touches what no allocation holds. The allocation is the
// calling thread's until its next call.
const Allocation& memory_access_check(const void* at, uint64_t bytes);

}  // namespace weft::gpu
