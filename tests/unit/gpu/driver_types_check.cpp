// Our declarations of the driver against the toolkit's headers, at compile time: the type and the
// version of every function, every constant. Compiled where there is a toolkit; nothing to run.
#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstddef>
#include <type_traits>

#include "src/gpu/driver_table.h"
#include "tools/gpu_suite/check/program_table.h"

using namespace weft;

namespace {

// Same size and same kind of thing: numbers and enumerations are numbers, handles are pointers.
template <class Ours, class Theirs>
struct Same {
    static constexpr bool numbers = (std::is_integral_v<Ours> || std::is_enum_v<Ours>)&&(
        std::is_integral_v<Theirs> || std::is_enum_v<Theirs>);
    static constexpr bool value =
        sizeof(Ours) == sizeof(Theirs) && (numbers || std::is_same_v<Ours, Theirs>);
};
template <>
struct Same<gpu::Uuid, CUuuid> {
    static constexpr bool value = sizeof(gpu::Uuid) == sizeof(CUuuid);
};
// Structs of the driver: whatever one is declared as, the layout is compared below.
template <>
struct Same<gpu::IpcHandle, CUipcMemHandle> {
    static constexpr bool value = sizeof(gpu::IpcHandle) == sizeof(CUipcMemHandle);
};
template <>
struct Same<gpu::MemoryProperties, CUmemAllocationProp> {
    static constexpr bool value = sizeof(gpu::MemoryProperties) == sizeof(CUmemAllocationProp);
};
template <>
struct Same<gpu::MemoryAccess, CUmemAccessDesc> {
    static constexpr bool value = sizeof(gpu::MemoryAccess) == sizeof(CUmemAccessDesc);
};
template <class T>
constexpr bool is_layout =
    std::is_same_v<T, gpu::Uuid> || std::is_same_v<T, gpu::IpcHandle> ||
    std::is_same_v<T, gpu::MemoryProperties> || std::is_same_v<T, gpu::MemoryAccess>;
template <class T>
constexpr bool opaque = std::is_class_v<T>;

template <class A, class B>
constexpr bool pointees_same() {
    using Ours = std::remove_cv_t<A>;
    using Theirs = std::remove_cv_t<B>;
    if constexpr (std::is_const_v<A> != std::is_const_v<B>) {
        return false;
    } else if constexpr (is_layout<Ours>) {
        return Same<Ours, Theirs>::value;
    } else if constexpr (opaque<Ours> || opaque<Theirs>) {
        return opaque<Ours> && opaque<Theirs>;
    } else if constexpr (std::is_void_v<Ours> || std::is_function_v<Ours>) {
        return std::is_same_v<Ours, Theirs>;
    } else if constexpr (std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>) {
        return pointees_same<std::remove_pointer_t<Ours>, std::remove_pointer_t<Theirs>>();
    } else {
        return Same<Ours, Theirs>::value;
    }
}

template <class Ours, class Theirs>
struct Alike;
template <class R, class... A, class S, class... B>
struct Alike<R(A...), S (*)(B...)> {
    template <class X, class Y>
    static constexpr bool one() {
        return pointees_same<X, Y>();
    }
    static constexpr bool all() {
        if constexpr (sizeof...(A) == sizeof...(B)) {
            return one<R, S>() && (one<A, B>() && ...);
        } else {
            return false;
        }
    }
    static constexpr bool value = all();
};

// The comparison itself must be able to refuse.
static_assert(!Alike<int(int*), CUresult (*)(size_t*)>::value);
static_assert(!Alike<int(int, int), CUresult (*)(int)>::value);
static_assert(!Alike<int(const char*), CUresult (*)(char*)>::value);
static_assert(!Alike<int(gpu::Context), CUresult (*)(int)>::value);

#define CHECK_FUNCTION(need, name, version, ...) \
    static_assert(Alike<gpu::DriverTable::name##_type, PFN_##name##_v##version>::value, #name);
WEFT_CUDA_FUNCTIONS(CHECK_FUNCTION)
#define CHECK_PROGRAM(name, version, ...) \
    static_assert(Alike<gpu::ProgramTable::name##_type, PFN_##name##_v##version>::value, #name);
WEFT_PROGRAM_FUNCTIONS(CHECK_PROGRAM)

static_assert(gpu::status::success == CUDA_SUCCESS);
static_assert(gpu::status::invalid_value == CUDA_ERROR_INVALID_VALUE);
static_assert(gpu::status::out_of_memory == CUDA_ERROR_OUT_OF_MEMORY);
static_assert(gpu::status::not_initialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(gpu::status::stub_library == CUDA_ERROR_STUB_LIBRARY);
static_assert(gpu::status::no_device == CUDA_ERROR_NO_DEVICE);
static_assert(gpu::status::invalid_device == CUDA_ERROR_INVALID_DEVICE);
static_assert(gpu::status::invalid_context == CUDA_ERROR_INVALID_CONTEXT);
static_assert(gpu::status::invalid_handle == CUDA_ERROR_INVALID_HANDLE);
static_assert(gpu::status::not_found == CUDA_ERROR_NOT_FOUND);
static_assert(gpu::status::not_ready == CUDA_ERROR_NOT_READY);
static_assert(gpu::status::peer_access_already_enabled == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
static_assert(gpu::status::launch_failed == CUDA_ERROR_LAUNCH_FAILED);
static_assert(gpu::status::cooperative_launch_too_large == CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
static_assert(gpu::status::not_permitted == CUDA_ERROR_NOT_PERMITTED);
static_assert(gpu::status::stream_capture_unsupported == CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
static_assert(gpu::status::stream_capture_isolation == CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
static_assert(gpu::status::not_supported == CUDA_ERROR_NOT_SUPPORTED);

static_assert(gpu::device_attribute::multiprocessor_count ==
              CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(gpu::device_attribute::capability_major ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(gpu::device_attribute::capability_minor ==
              CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(gpu::device_attribute::cooperative_launch == CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH);

static_assert(gpu::pointer_attribute::memory_type == CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
static_assert(gpu::pointer_attribute::buffer_id == CU_POINTER_ATTRIBUTE_BUFFER_ID);
static_assert(gpu::pointer_attribute::is_managed == CU_POINTER_ATTRIBUTE_IS_MANAGED);
static_assert(gpu::pointer_attribute::device_ordinal == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
static_assert(gpu::memory_type::host == CU_MEMORYTYPE_HOST);
static_assert(gpu::memory_type::device == CU_MEMORYTYPE_DEVICE);

static_assert(gpu::pointer_attribute::legacy_ipc_capable ==
              CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE);
static_assert(gpu::pointer_attribute::range_start == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR);
static_assert(gpu::pointer_attribute::range_size == CU_POINTER_ATTRIBUTE_RANGE_SIZE);
static_assert(gpu::pointer_attribute::pool_handle == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE);

static_assert(gpu::device_attribute::virtual_memory ==
              CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
static_assert(gpu::device_attribute::posix_descriptors ==
              CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
static_assert(gpu::device_attribute::rdma_with_virtual_memory ==
              CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED);
static_assert(gpu::status::peer_access_unsupported == CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
static_assert(gpu::allocation_type::pinned == CU_MEM_ALLOCATION_TYPE_PINNED);
static_assert(gpu::location_type::device == CU_MEM_LOCATION_TYPE_DEVICE);
static_assert(gpu::handle_type::posix_descriptor == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
static_assert(gpu::access_flag::read_write == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
static_assert(gpu::granularity::recommended == CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
static_assert(gpu::ipc_flag::lazy_peer_access == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);

#define CHECK_FIELD(ours, our_field, theirs, their_field) \
    static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field))
CHECK_FIELD(gpu::MemoryProperties, type, CUmemAllocationProp, type);
CHECK_FIELD(gpu::MemoryProperties, handle_types, CUmemAllocationProp, requestedHandleTypes);
CHECK_FIELD(gpu::MemoryProperties, location.id, CUmemAllocationProp, location.id);
CHECK_FIELD(gpu::MemoryProperties, windows, CUmemAllocationProp, win32HandleMetaData);
CHECK_FIELD(gpu::MemoryProperties, flags.rdma, CUmemAllocationProp,
            allocFlags.gpuDirectRDMACapable);
CHECK_FIELD(gpu::MemoryProperties, flags.usage, CUmemAllocationProp, allocFlags.usage);
CHECK_FIELD(gpu::MemoryAccess, location.id, CUmemAccessDesc, location.id);
CHECK_FIELD(gpu::MemoryAccess, flags, CUmemAccessDesc, flags);

static_assert(gpu::function_attribute::local_bytes == CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
static_assert(gpu::function_attribute::registers == CU_FUNC_ATTRIBUTE_NUM_REGS);
static_assert(gpu::function_attribute::dynamic_shared_max ==
              CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);

static_assert(gpu::capture_mode::global == CU_STREAM_CAPTURE_MODE_GLOBAL);
static_assert(gpu::capture_mode::thread_local_ == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(gpu::capture_mode::relaxed == CU_STREAM_CAPTURE_MODE_RELAXED);
static_assert(gpu::capture_status::none == CU_STREAM_CAPTURE_STATUS_NONE);
static_assert(gpu::capture_status::active == CU_STREAM_CAPTURE_STATUS_ACTIVE);
static_assert(gpu::capture_status::invalidated == CU_STREAM_CAPTURE_STATUS_INVALIDATED);

static_assert(gpu::host_alloc_flag::portable == CU_MEMHOSTALLOC_PORTABLE);
static_assert(gpu::host_alloc_flag::mapped == CU_MEMHOSTALLOC_DEVICEMAP);
static_assert(gpu::host_alloc_flag::portable == CU_MEMHOSTREGISTER_PORTABLE);
static_assert(gpu::host_alloc_flag::mapped == CU_MEMHOSTREGISTER_DEVICEMAP);
static_assert(gpu::wait_value_flag::equal == CU_STREAM_WAIT_VALUE_EQ);
static_assert(gpu::stream_flag::non_blocking == CU_STREAM_NON_BLOCKING);
static_assert(gpu::event_flag::no_timing == CU_EVENT_DISABLE_TIMING);
static_assert(gpu::user_object_flag::no_destructor_sync == CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
static_assert(gpu::user_object_flag::graph_move == CU_GRAPH_USER_OBJECT_MOVE);

}  // namespace

// An executable, because Meson builds it then in every test run.
int main() {
    return 0;
}
