// A CUDA runtime as far as counting devices goes: how many is set by the test. Being loaded leaves
// a mark in the environment.
#include <stdlib.h>

__attribute__((constructor)) static void loaded(void) {
    setenv("FAKE_CUDART_LOADED", "1", 1);
}

__attribute__((visibility("default"))) int fake_cudart_devices = 1;
__attribute__((visibility("default"))) int fake_cudart_error = 0;

__attribute__((visibility("default"))) int cudaGetDeviceCount(int* count);
int cudaGetDeviceCount(int* count) {
    *count = fake_cudart_devices;
    fake_cudart_error = fake_cudart_devices > 0 ? 0 : 100;
    return fake_cudart_error;
}

__attribute__((visibility("default"))) int fake_cudart_device = 0;
__attribute__((visibility("default"))) int cudaGetDevice(int* device);
int cudaGetDevice(int* device) {
    *device = fake_cudart_device;
    return 0;
}

__attribute__((visibility("default"))) int cudaGetLastError(void);
int cudaGetLastError(void) {
    int error = fake_cudart_error;
    fake_cudart_error = 0;
    return error;
}
