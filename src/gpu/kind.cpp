#include "src/gpu/kind.h"

#include <dlfcn.h>
#include <link.h>
#include <strings.h>

#include <string_view>
#include <vector>

#include "src/gpu/driver_table.h"

namespace weft::gpu {

namespace {

// A library the process has already; null if it has not. The caller closes it.
void* loaded(const char* name) {
    return dlopen(name, RTLD_NOW | RTLD_NOLOAD);
}

// The device of the context that is current; -1: none is.
int context_device(const std::string& libcuda) {
    void* driver = loaded(libcuda.empty() ? "libcuda.so.1" : libcuda.c_str());
    if (driver == nullptr) {
        return -1;
    }
    auto* ask =
        reinterpret_cast<DriverTable::cuCtxGetCurrent_type*>(dlsym(driver, "cuCtxGetCurrent"));
    auto* ask_device =
        reinterpret_cast<DriverTable::cuCtxGetDevice_type*>(dlsym(driver, "cuCtxGetDevice"));
    Context context = nullptr;
    Device device = -1;
    if (ask != nullptr && ask(&context) == status::success && context != nullptr &&
        (ask_device == nullptr || ask_device(&device) != status::success)) {
        device = 0;
    }
    dlclose(driver);
    return device;
}

// Wheels carry the runtime under names such as libcudart-d0da41ae.so.11.0.
std::vector<std::string> runtimes_loaded() {
    std::vector<std::string> found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* into) {
            const std::string_view path = info->dlpi_name != nullptr ? info->dlpi_name : "";
            if (path.substr(path.rfind('/') + 1).starts_with("libcudart")) {
                static_cast<std::vector<std::string>*>(into)->emplace_back(path);
            }
            return 0;
        },
        &found);
    return found;
}

// The device that runtime would use on this thread; -1: it sees none.
int runtime_device(const std::string& path) {
    void* runtime = loaded(path.c_str());
    if (runtime == nullptr) {
        return -1;
    }
    auto* count_devices = reinterpret_cast<int (*)(int*)>(dlsym(runtime, "cudaGetDeviceCount"));
    auto* device_ask = reinterpret_cast<int (*)(int*)>(dlsym(runtime, "cudaGetDevice"));
    auto* error_take = reinterpret_cast<int (*)()>(dlsym(runtime, "cudaGetLastError"));
    int count = 0, device = -1;
    if (count_devices != nullptr && count_devices(&count) == 0 && count > 0) {
        device = 0;
        if (device_ask != nullptr && device_ask(&device) != 0) {
            device = 0;
        }
    } else if (error_take != nullptr) {
        error_take();  // or the program would take our failure for its own
    }
    dlclose(runtime);
    return device;
}

KindFound look(const std::string& libcuda) {
    if (const int device = context_device(libcuda); device >= 0) {
        return {Kind::device, "a CUDA context is current on this thread", device};
    }
    for (const std::string& path : runtimes_loaded()) {
        if (const int device = runtime_device(path); device >= 0) {
            return {Kind::device, "the CUDA runtime in this process sees a device", device};
        }
    }
    return {Kind::host, "no CUDA context is current and no CUDA runtime sees a device", -1};
}

}  // namespace

KindFound kind_find(const std::string& device, const std::string& libcuda) {
    if (strcasecmp(device.c_str(), "host") == 0) {
        return {Kind::host, "WEFT_DEVICE", -1};
    }
    KindFound found = look(libcuda);
    if (!device.empty()) {
        found.kind = Kind::device;
        found.why = "WEFT_DEVICE";
        found.device = found.device < 0 ? 0 : found.device;
    }
    return found;
}

}  // namespace weft::gpu
