// Memory of the stand-in driver: what is allocated, where, and by whom. Thread-safe. Fresh memory
// holds no zeros, freed memory cannot be touched any more. Memory of devices lies in files without
// names, so that other processes can be given it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/gpu/driver_types.h"

namespace weft::gpu {

enum class MemoryUse : uint8_t {
    plain,       // cuMemAlloc
    pool,        // cuMemAllocAsync
    host,        // cuMemHostAlloc
    registered,  // the program's own
    mapped,      // cuMemMap, once access is set
    opened,      // cuIpcOpenMemHandle
};

struct Allocation {
    Address begin = 0;  // 0: there is none
    size_t bytes = 0;
    Device device = 0;
    MemoryUse use = MemoryUse::plain;
    int file = -1;         // owned, of plain memory
    uint64_t id = 0;       // never used again; of mapped memory, that of the reserved addresses
    uint64_t allowed = 0;  // a bit a device, of mapped memory
    bool on_host() const { return use == MemoryUse::host || use == MemoryUse::registered; }
};

Status memory_take(Address* address, size_t bytes, Device device, MemoryUse use);
Status memory_free(Address address, MemoryUse use);
// Memory that is there already may be reached by devices from now on, and no longer. `id`: 0 for a
// new one.
uint64_t memory_id();
Status memory_add(Address address, size_t bytes, Device device, MemoryUse use, uint64_t id = 0);
void memory_allow(Address address, uint64_t devices);
Status memory_remove(Address address, MemoryUse use);
// The one in which the address lies.
Allocation memory_find(Address address);
// Whether all of it may be reached, by one allocation or by several side by side.
bool memory_holds(Address address, size_t bytes);
// Ends the process with a line if a kernel touches what no allocation holds. The allocation is the
// calling thread's until its next call.
const Allocation& memory_access_check(const void* at, uint64_t bytes);

// Addresses that nobody may touch, elsewhere in every process.
Address space_reserve(size_t bytes);
// Nobody may touch them again.
void space_close(Address address, size_t bytes);

// What a file that stands for memory says of itself, behind the memory.
struct FileNote {
    uint64_t magic = 0;
    uint64_t bytes = 0;
    int device = 0;
    int handle_types = 0;  // 0: plain memory
};
int file_make(size_t bytes, int device, int handle_types);  // -1: out of memory
bool file_note(int file, FileNote* note);                   // false: it is no such file
bool file_map(int file, Address at, size_t bytes);

}  // namespace weft::gpu
