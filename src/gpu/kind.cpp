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

bool context_current(const std::string& libcuda) {
    void* driver = loaded(libcuda.empty() ? "libcuda.so.1" : libcuda.c_str());
    if (driver == nullptr) {
        return false;
    }
    auto* ask =
        reinterpret_cast<DriverTable::cuCtxGetCurrent_type*>(dlsym(driver, "cuCtxGetCurrent"));
    Context context = nullptr;
    const bool current = ask != nullptr && ask(&context) == status::success && context != nullptr;
    dlclose(driver);
    return current;
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

bool runtime_sees_device(const std::string& path) {
    void* runtime = loaded(path.c_str());
    if (runtime == nullptr) {
        return false;
    }
    auto* count_devices = reinterpret_cast<int (*)(int*)>(dlsym(runtime, "cudaGetDeviceCount"));
    auto* error_take = reinterpret_cast<int (*)()>(dlsym(runtime, "cudaGetLastError"));
    int count = 0;
    bool sees = false;
    if (count_devices != nullptr) {
        sees = count_devices(&count) == 0 && count > 0;
        if (!sees && error_take != nullptr) {
            error_take();  // or the program would take our failure for its own
        }
    }
    dlclose(runtime);
    return sees;
}

}  // namespace

KindFound kind_find(const std::string& device, const std::string& libcuda) {
    if (strcasecmp(device.c_str(), "host") == 0) {
        return {Kind::host, "WEFT_DEVICE"};
    }
    if (!device.empty()) {
        return {Kind::device, "WEFT_DEVICE"};
    }
    if (context_current(libcuda)) {
        return {Kind::device, "a CUDA context is current on this thread"};
    }
    for (const std::string& path : runtimes_loaded()) {
        if (runtime_sees_device(path)) {
            return {Kind::device, "the CUDA runtime in this process sees a device"};
        }
    }
    return {Kind::host, "no CUDA context is current and no CUDA runtime sees a device"};
}

}  // namespace weft::gpu
