/* A preload for programs that want a device a rank, as nccl-tests do: shows WEFT_SUITE_DEVICES
 * devices, all of them device 0. What names a device is answered here and passed on for device 0;
 * ncclCommInitAll, which takes no device twice, becomes a group of ncclCommInitRank. Thread-safe. A
 * function that the program has not loaded is left out, which only a program without the CUDA
 * runtime sees. */
#include <dlfcn.h>
#include <stdlib.h>

/* Not from nccl.h, which declares the CUDA runtime's functions where it finds its headers: the
 * names below are ours. */
typedef void* Comm;
typedef struct {
    char internal[128];
} UniqueId;
int ncclGetUniqueId(UniqueId* id);
int ncclGroupStart(void);
int ncclGroupEnd(void);
int ncclCommInitRank(Comm* comm, int count, UniqueId id, int rank);

#define SHOWN __attribute__((visibility("default")))

static _Thread_local int shown_device = 0;

static int device_count(void) {
    const char* text = getenv("WEFT_SUITE_DEVICES");
    int count = text != NULL ? atoi(text) : 1;
    return count > 0 ? count : 1;
}

/* cudaErrorInvalidDevice */
enum { invalid_device = 101 };

typedef void (*AnyFunction)(void);

/* ISO C knows no way from dlsym's result to a function but through memory. */
static AnyFunction next(const char* name) {
    AnyFunction found = NULL;
    *(void**)&found = dlsym(RTLD_NEXT, name);
    return found;
}

SHOWN int cudaGetDeviceCount(int* count);
int cudaGetDeviceCount(int* count) {
    int (*real)(int*) = (int (*)(int*))next("cudaGetDeviceCount");
    int result = real != NULL ? real(count) : 0;
    if (result == 0) {
        *count = device_count();
    }
    return result;
}

SHOWN int cudaSetDevice(int device);
int cudaSetDevice(int device) {
    int (*real)(int) = (int (*)(int))next("cudaSetDevice");
    if (device < 0 || device >= device_count()) {
        return invalid_device;
    }
    shown_device = device;
    return real != NULL ? real(0) : 0;
}

SHOWN int cudaGetDevice(int* device);
int cudaGetDevice(int* device) {
    *device = shown_device;
    return 0;
}

SHOWN int cudaDeviceGetAttribute(int* value, int attribute, int device);
int cudaDeviceGetAttribute(int* value, int attribute, int device) {
    int (*real)(int*, int, int) = (int (*)(int*, int, int))next("cudaDeviceGetAttribute");
    return real != NULL && device < device_count() ? real(value, attribute, 0) : invalid_device;
}

SHOWN int cudaDeviceGetPCIBusId(char* id, int bytes, int device);
int cudaDeviceGetPCIBusId(char* id, int bytes, int device) {
    int (*real)(char*, int, int) = (int (*)(char*, int, int))next("cudaDeviceGetPCIBusId");
    return real != NULL && device < device_count() ? real(id, bytes, 0) : invalid_device;
}

/* Programs of CUDA 12 call the name with _v2, where the properties are larger. */
SHOWN int cudaGetDeviceProperties(void* properties, int device);
int cudaGetDeviceProperties(void* properties, int device) {
    int (*real)(void*, int) = (int (*)(void*, int))next("cudaGetDeviceProperties");
    return real != NULL && device < device_count() ? real(properties, 0) : invalid_device;
}

SHOWN int cudaGetDeviceProperties_v2(void* properties, int device);
int cudaGetDeviceProperties_v2(void* properties, int device) {
    int (*real)(void*, int) = (int (*)(void*, int))next("cudaGetDeviceProperties_v2");
    return real != NULL && device < device_count() ? real(properties, 0) : invalid_device;
}

SHOWN int ncclCommInitAll(Comm* comms, int count, const int* devices);
int ncclCommInitAll(Comm* comms, int count, const int* devices) {
    UniqueId id;
    int result = ncclGetUniqueId(&id);
    (void)devices;
    if (result == 0) {
        result = ncclGroupStart();
    }
    if (result != 0) {
        return result;
    }
    for (int rank = 0; rank < count && result == 0; rank++) {
        result = ncclCommInitRank(&comms[rank], count, id, rank);
    }
    int ended = ncclGroupEnd();
    return result != 0 ? result : ended;
}
