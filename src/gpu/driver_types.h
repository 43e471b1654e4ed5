// The types and constants of the CUDA driver API that this library uses, declared here so that no
// toolkit is needed to build. Values and layouts are the driver's ABI (cuda.h of CUDA 11.3
// to 13.0); tests/unit/gpu/driver_types_check.cpp compares them with cuda.h where there is one.
// Thread rule: values. Failure rule: none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::gpu {

// Enumerations travel as int, as in the ABI.
using Status = int;  // CUresult
using Device = int;
using Address = unsigned long long;  // CUdeviceptr
using Context = struct ContextOpaque*;
using Module = struct ModuleOpaque*;
using Function = struct FunctionOpaque*;
using Stream = struct StreamOpaque*;
using Event = struct EventOpaque*;
using Graph = struct GraphOpaque*;
using GraphNode = struct GraphNodeOpaque*;
using UserObject = struct UserObjectOpaque*;
using HostCall = void (*)(void*);
using MemoryHandle = unsigned long long;  // CUmemGenericAllocationHandle

struct Uuid {
    char bytes[16];
};

// CUipcMemHandle
struct IpcHandle {
    char bytes[64];
};

struct MemoryLocation {
    int type;
    int id;
};

// CUmemAllocationProp
struct MemoryProperties {
    int type;
    int handle_types;  // bits
    MemoryLocation location;
    void* windows;  // null
    struct Flags {
        unsigned char compression;
        unsigned char rdma;  // NICs may be given it
        unsigned short usage;
        unsigned char reserved[4];
    } flags;
};

// CUmemAccessDesc
struct MemoryAccess {
    MemoryLocation location;
    int flags;
};

namespace status {
inline constexpr Status success = 0;
inline constexpr Status invalid_value = 1;
inline constexpr Status out_of_memory = 2;
inline constexpr Status not_initialized = 3;
inline constexpr Status stub_library = 34;
inline constexpr Status no_device = 100;
inline constexpr Status invalid_device = 101;
inline constexpr Status invalid_context = 201;
inline constexpr Status peer_access_unsupported = 217;
inline constexpr Status invalid_handle = 400;
inline constexpr Status not_found = 500;
inline constexpr Status not_ready = 600;
inline constexpr Status peer_access_already_enabled = 704;
inline constexpr Status launch_failed = 719;
inline constexpr Status cooperative_launch_too_large = 720;
inline constexpr Status not_permitted = 800;
inline constexpr Status not_supported = 801;
inline constexpr Status stream_capture_unsupported = 900;
inline constexpr Status stream_capture_isolation = 905;
}  // namespace status

namespace device_attribute {
inline constexpr int multiprocessor_count = 16;
inline constexpr int capability_major = 75;
inline constexpr int capability_minor = 76;
inline constexpr int cooperative_launch = 95;
inline constexpr int virtual_memory = 102;
inline constexpr int posix_descriptors = 103;
inline constexpr int rdma_with_virtual_memory = 110;
}  // namespace device_attribute

namespace pointer_attribute {
inline constexpr int memory_type = 2;
inline constexpr int buffer_id = 7;
inline constexpr int is_managed = 8;
inline constexpr int device_ordinal = 9;
inline constexpr int legacy_ipc_capable = 10;
inline constexpr int range_start = 11;
inline constexpr int range_size = 12;
inline constexpr int pool_handle = 17;
}  // namespace pointer_attribute

namespace memory_type {
inline constexpr unsigned host = 1;
inline constexpr unsigned device = 2;
}  // namespace memory_type

// Of memory made by cuMemCreate.
namespace allocation_type {
inline constexpr int pinned = 1;
}

namespace location_type {
inline constexpr int device = 1;
}

namespace handle_type {
inline constexpr int posix_descriptor = 1;
}

namespace access_flag {
inline constexpr int read_write = 3;
}

namespace granularity {
inline constexpr int recommended = 1;
}

namespace ipc_flag {
inline constexpr unsigned lazy_peer_access = 1;
}

namespace function_attribute {
inline constexpr int local_bytes = 3;
inline constexpr int registers = 4;
inline constexpr int dynamic_shared_max = 8;
}  // namespace function_attribute

namespace capture_mode {
inline constexpr int global = 0;
inline constexpr int thread_local_ = 1;
inline constexpr int relaxed = 2;
}  // namespace capture_mode

namespace capture_status {
inline constexpr int none = 0;
inline constexpr int active = 1;
inline constexpr int invalidated = 2;
}  // namespace capture_status

// Of memory allocated and of memory registered.
namespace host_alloc_flag {
inline constexpr unsigned portable = 1;
inline constexpr unsigned mapped = 2;
}  // namespace host_alloc_flag

namespace stream_flag {
inline constexpr unsigned non_blocking = 1;
}

namespace wait_value_flag {
inline constexpr unsigned equal = 1;
}

namespace event_flag {
inline constexpr unsigned no_timing = 2;
}

namespace user_object_flag {
inline constexpr unsigned no_destructor_sync = 1;
inline constexpr unsigned graph_move = 1;
}  // namespace user_object_flag

}  // namespace weft::gpu
