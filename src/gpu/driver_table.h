// The one list of CUDA driver functions this library uses. A row: whether the library can do
// without it (required, optional), its name, the version of its interface (as CUDA numbers
// versions: 11030 is 11.3) that is asked of cuGetProcAddress, its type in the words of
// driver_types.h. What the version means is cudaTypedefs.h's PFN_<name>_v<version>, and it is
// checked against that. A row is added together with its first user. Thread rule: constants.
#pragma once

#include "src/gpu/driver_types.h"

// clang-format off
#define WEFT_CUDA_FUNCTIONS(ROW) \
    ROW(required, cuInit, 2000, Status(unsigned flags)) \
    ROW(required, cuDriverGetVersion, 2020, Status(int* version)) \
    ROW(required, cuGetErrorName, 6000, Status(Status error, const char** text)) \
    ROW(required, cuGetErrorString, 6000, Status(Status error, const char** text)) \
    ROW(required, cuDeviceGet, 2000, Status(Device* device, int ordinal)) \
    ROW(required, cuDeviceGetCount, 2000, Status(int* count)) \
    ROW(required, cuDeviceGetName, 2000, Status(char* name, int bytes, Device device)) \
    ROW(required, cuDeviceGetAttribute, 2000, Status(int* value, int attribute, Device device)) \
    ROW(optional, cuDeviceGetUuid, 11040, Status(Uuid* uuid, Device device)) \
    ROW(required, cuDeviceGetPCIBusId, 4010, Status(char* id, int bytes, Device device)) \
    ROW(required, cuDeviceCanAccessPeer, 4000, Status(int* can, Device device, Device peer)) \
    ROW(required, cuDevicePrimaryCtxRetain, 7000, Status(Context* context, Device device)) \
    ROW(required, cuDevicePrimaryCtxRelease, 11000, Status(Device device)) \
    ROW(required, cuCtxGetCurrent, 4000, Status(Context* context)) \
    ROW(required, cuCtxPushCurrent, 4000, Status(Context context)) \
    ROW(required, cuCtxPopCurrent, 4000, Status(Context* context)) \
    ROW(required, cuCtxSynchronize, 2000, Status()) \
    ROW(required, cuCtxGetDevice, 2000, Status(Device* device)) \
    ROW(required, cuCtxEnablePeerAccess, 4000, Status(Context peer, unsigned flags)) \
    ROW(required, cuModuleLoadData, 2000, Status(Module* module, const void* image)) \
    ROW(required, cuModuleUnload, 2000, Status(Module module)) \
    ROW(required, cuModuleGetFunction, 2000, Status(Function* function, Module module, const char* name)) \
    ROW(required, cuFuncGetAttribute, 2020, Status(int* value, int attribute, Function function)) \
    ROW(required, cuFuncSetAttribute, 9000, Status(Function function, int attribute, int value)) \
    ROW(optional, cuFuncLoad, 12040, Status(Function function)) \
    ROW(required, cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050, \
        Status(int* blocks, Function function, int block_threads, size_t shared_bytes)) \
    ROW(required, cuLaunchKernel, 4000, \
        Status(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
               unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** arguments, \
               void** extra)) \
    ROW(required, cuLaunchCooperativeKernel, 9000, \
        Status(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, \
               unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** arguments)) \
    ROW(required, cuLaunchHostFunc, 10000, Status(Stream stream, HostCall call, void* argument)) \
    ROW(required, cuMemAlloc, 3020, Status(Address* address, size_t bytes)) \
    ROW(required, cuMemFree, 3020, Status(Address address)) \
    ROW(required, cuMemHostAlloc, 2020, Status(void** memory, size_t bytes, unsigned flags)) \
    ROW(required, cuMemFreeHost, 2000, Status(void* memory)) \
    ROW(required, cuMemHostRegister, 6050, Status(void* memory, size_t bytes, unsigned flags)) \
    ROW(required, cuMemHostUnregister, 4000, Status(void* memory)) \
    ROW(required, cuMemHostGetDevicePointer, 3020, Status(Address* address, void* memory, unsigned flags)) \
    ROW(required, cuMemGetAddressRange, 3020, Status(Address* base, size_t* bytes, Address address)) \
    ROW(optional, cuMemGetAllocationGranularity, 10020, \
        Status(size_t* granularity, const MemoryProperties* properties, int option)) \
    ROW(optional, cuMemCreate, 10020, \
        Status(MemoryHandle* handle, size_t bytes, const MemoryProperties* properties, unsigned long long flags)) \
    ROW(optional, cuMemRelease, 10020, Status(MemoryHandle handle)) \
    ROW(optional, cuMemAddressReserve, 10020, \
        Status(Address* address, size_t bytes, size_t alignment, Address wish, unsigned long long flags)) \
    ROW(optional, cuMemAddressFree, 10020, Status(Address address, size_t bytes)) \
    ROW(optional, cuMemMap, 10020, \
        Status(Address address, size_t bytes, size_t offset, MemoryHandle handle, unsigned long long flags)) \
    ROW(optional, cuMemUnmap, 10020, Status(Address address, size_t bytes)) \
    ROW(optional, cuMemSetAccess, 10020, \
        Status(Address address, size_t bytes, const MemoryAccess* access, size_t count)) \
    ROW(optional, cuMemGetAccess, 10020, \
        Status(unsigned long long* flags, const MemoryLocation* location, Address address)) \
    ROW(optional, cuMemExportToShareableHandle, 10020, \
        Status(void* shared, MemoryHandle handle, int type, unsigned long long flags)) \
    ROW(optional, cuMemImportFromShareableHandle, 10020, Status(MemoryHandle* handle, void* shared, int type)) \
    ROW(optional, cuMemRetainAllocationHandle, 11000, Status(MemoryHandle* handle, void* address)) \
    ROW(optional, cuMemGetAllocationPropertiesFromHandle, 10020, \
        Status(MemoryProperties* properties, MemoryHandle handle)) \
    ROW(optional, cuIpcGetMemHandle, 4010, Status(IpcHandle* handle, Address address)) \
    ROW(optional, cuIpcOpenMemHandle, 11000, Status(Address* address, IpcHandle handle, unsigned flags)) \
    ROW(optional, cuIpcCloseMemHandle, 4010, Status(Address address)) \
    ROW(required, cuMemcpyAsync, 4000, Status(Address to, Address from, size_t bytes, Stream stream)) \
    ROW(required, cuMemsetD8Async, 3020, Status(Address to, unsigned char value, size_t count, Stream stream)) \
    ROW(required, cuPointerGetAttributes, 7000, \
        Status(unsigned count, int* attributes, void** values, Address address)) \
    ROW(required, cuStreamCreateWithPriority, 5050, Status(Stream* stream, unsigned flags, int priority)) \
    ROW(required, cuStreamDestroy, 4000, Status(Stream stream)) \
    ROW(required, cuStreamGetCtx, 9020, Status(Stream stream, Context* context)) \
    ROW(required, cuStreamWaitEvent, 3020, Status(Stream stream, Event event, unsigned flags)) \
    ROW(optional, cuStreamWriteValue32, 11070, \
        Status(Stream stream, Address at, uint32_t value, unsigned flags)) \
    ROW(optional, cuStreamWaitValue32, 11070, \
        Status(Stream stream, Address at, uint32_t value, unsigned flags)) \
    ROW(required, cuStreamSynchronize, 2000, Status(Stream stream)) \
    ROW(required, cuStreamQuery, 2000, Status(Stream stream)) \
    ROW(required, cuStreamGetCaptureInfo, 11030, \
        Status(Stream stream, int* status, uint64_t* id, Graph* graph, const GraphNode** dependencies, \
               size_t* dependency_count)) \
    ROW(required, cuThreadExchangeStreamCaptureMode, 10010, Status(int* mode)) \
    ROW(required, cuEventCreate, 2000, Status(Event* event, unsigned flags)) \
    ROW(required, cuEventRecord, 2000, Status(Event event, Stream stream)) \
    ROW(required, cuEventQuery, 2000, Status(Event event)) \
    ROW(required, cuEventSynchronize, 2000, Status(Event event)) \
    ROW(required, cuEventDestroy, 4000, Status(Event event)) \
    ROW(required, cuUserObjectCreate, 11030, \
        Status(UserObject* object, void* value, HostCall destroy, unsigned references, unsigned flags)) \
    ROW(required, cuUserObjectRelease, 11030, Status(UserObject object, unsigned references)) \
    ROW(required, cuGraphRetainUserObject, 11030, \
        Status(Graph graph, UserObject object, unsigned references, unsigned flags))
// clang-format on

namespace weft::gpu {

enum class Need : unsigned char { required, optional };

// One member per row, named as the function.
struct DriverTable {
#define WEFT_CUDA_MEMBER(need, name, version, ...) \
    using name##_type = __VA_ARGS__;               \
    static constexpr int name##_version = version; \
    name##_type* name = nullptr;
    WEFT_CUDA_FUNCTIONS(WEFT_CUDA_MEMBER)
#undef WEFT_CUDA_MEMBER
};

}  // namespace weft::gpu
