// What programs call of the CUDA driver and the library does not: capture, graphs, memory of pools,
// timed events. In the form of src/gpu/driver_table.h; all of it is optional, a function that is
// missing is a null pointer. The stand-in driver serves a part of it.
// tests/unit/gpu/driver_types_check.cpp compares it with cuda.h. Thread rule: values. Failure rule:
// none.
#pragma once

#include "src/gpu/driver_types.h"

namespace weft::gpu {

using GraphExec = struct GraphExecOpaque*;

// clang-format off
#define WEFT_PROGRAM_FUNCTIONS(ROW) \
    ROW(cuStreamBeginCapture, 10010, Status(Stream stream, int mode)) \
    ROW(cuStreamEndCapture, 10000, Status(Stream stream, Graph* graph)) \
    ROW(cuGraphInstantiateWithFlags, 11040, Status(GraphExec* ready, Graph graph, unsigned long long flags)) \
    ROW(cuGraphLaunch, 10000, Status(GraphExec ready, Stream stream)) \
    ROW(cuGraphExecDestroy, 10000, Status(GraphExec ready)) \
    ROW(cuGraphDestroy, 10000, Status(Graph graph)) \
    ROW(cuMemAllocAsync, 11020, Status(Address* address, size_t bytes, Stream stream)) \
    ROW(cuEventElapsedTime, 2000, Status(float* milliseconds, Event begin, Event end))
// clang-format on

struct ProgramTable {
#define WEFT_PROGRAM_MEMBER(name, version, ...)    \
    using name##_type = __VA_ARGS__;               \
    static constexpr int name##_version = version; \
    name##_type* name = nullptr;
    WEFT_PROGRAM_FUNCTIONS(WEFT_PROGRAM_MEMBER)
#undef WEFT_PROGRAM_MEMBER
};

}  // namespace weft::gpu
