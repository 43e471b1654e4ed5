// What programs call of the CUDA driver and the library does not: capture, graphs, timed events,
// virtual memory and IPC. In the form of src/gpu/driver_table.h; all of it is optional, a function
// that is missing is a null pointer. The stand-in driver serves a part of it. Types and layouts are
// the driver's ABI (cuda.h of CUDA 11.3 to 13.0); tests/unit/gpu/driver_types_check.cpp compares
// them. Thread rule: values. Failure rule: none.
#pragma once

#include "src/gpu/driver_types.h"

namespace weft::gpu {

using GraphExec = struct GraphExecOpaque*;
using MemoryHandle = unsigned long long;

struct MemoryPlace {
    int kind;  // 1: a device
    int id;
};

struct MemoryKind {
    int type;          // 1: pinned
    int handle_types;  // 1: a file descriptor
    MemoryPlace place;
    void* windows;
    unsigned char flags[8];
};
static_assert(sizeof(MemoryKind) == 32);

struct MemoryAccess {
    MemoryPlace place;
    int rights;  // 3: reads and writes
};

struct IpcHandle {
    char bytes[64];
};

}  // namespace weft::gpu

// clang-format off
#define WEFT_PROGRAM_FUNCTIONS(ROW) \
    ROW(cuStreamBeginCapture, 10010, Status(Stream stream, int mode)) \
    ROW(cuStreamEndCapture, 10000, Status(Stream stream, Graph* graph)) \
    ROW(cuGraphInstantiateWithFlags, 11040, Status(GraphExec* ready, Graph graph, unsigned long long flags)) \
    ROW(cuGraphLaunch, 10000, Status(GraphExec ready, Stream stream)) \
    ROW(cuGraphExecDestroy, 10000, Status(GraphExec ready)) \
    ROW(cuGraphDestroy, 10000, Status(Graph graph)) \
    ROW(cuEventElapsedTime, 2000, Status(float* milliseconds, Event begin, Event end)) \
    ROW(cuMemGetAllocationGranularity, 10020, Status(size_t* bytes, const MemoryKind* kind, int which)) \
    ROW(cuMemCreate, 10020, \
        Status(MemoryHandle* memory, size_t bytes, const MemoryKind* kind, unsigned long long flags)) \
    ROW(cuMemRelease, 10020, Status(MemoryHandle memory)) \
    ROW(cuMemAddressReserve, 10020, \
        Status(Address* at, size_t bytes, size_t alignment, Address wish, unsigned long long flags)) \
    ROW(cuMemAddressFree, 10020, Status(Address at, size_t bytes)) \
    ROW(cuMemMap, 10020, \
        Status(Address at, size_t bytes, size_t offset, MemoryHandle memory, unsigned long long flags)) \
    ROW(cuMemUnmap, 10020, Status(Address at, size_t bytes)) \
    ROW(cuMemSetAccess, 10020, Status(Address at, size_t bytes, const MemoryAccess* access, size_t count)) \
    ROW(cuMemExportToShareableHandle, 10020, \
        Status(void* handle, MemoryHandle memory, int type, unsigned long long flags)) \
    ROW(cuIpcGetMemHandle, 4010, Status(IpcHandle* handle, Address at))
// clang-format on

namespace weft::gpu {

struct ProgramTable {
#define WEFT_PROGRAM_MEMBER(name, version, ...)    \
    using name##_type = __VA_ARGS__;               \
    static constexpr int name##_version = version; \
    name##_type* name = nullptr;
    WEFT_PROGRAM_FUNCTIONS(WEFT_PROGRAM_MEMBER)
#undef WEFT_PROGRAM_MEMBER
};

}  // namespace weft::gpu
