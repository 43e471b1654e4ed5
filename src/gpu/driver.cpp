#include "src/gpu/driver.h"

#include <dlfcn.h>

#include "src/base/log.h"

namespace weft::gpu {

namespace {

// The two interfaces of cuGetProcAddress, by the versions of CUDA that brought them. Both are plain
// symbols of the library; everything else is asked of them.
using Lookup11 = Status(const char* name, void** function, int version, uint64_t flags);
using Lookup12 = Status(const char* name, void** function, int version, uint64_t flags,
                        int* symbol_status);
constexpr int lookup_since = 11030;

struct Library {
    void* handle = nullptr;
    std::string name;
    Lookup11* lookup11 = nullptr;
    Lookup12* lookup12 = nullptr;

    void* find(const char* function, int version) const {
        void* found = nullptr;
        int why = 0;
        const Status result = lookup12 != nullptr ? lookup12(function, &found, version, 0, &why)
                                                  : lookup11(function, &found, version, 0);
        return result == status::success ? found : nullptr;
    }
};

template <class F>
F* symbol(void* library, const char* name) {
    return reinterpret_cast<F*>(dlsym(library, name));
}

Result<void*> library_open(const std::string& path) {
    const char* name = path.empty() ? "libcuda.so.1" : path.c_str();
    if (void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)) {
        return handle;
    }
    const char* why = dlerror();
    const std::string reason = why != nullptr ? why : "unknown reason";
    if (!path.empty()) {
        return make_error(Code::system, Scope::process,
                          format("cannot load WEFT_LIBCUDA=%s: %s; correct the path or unset it",
                                 name, reason.c_str()));
    }
    return make_error(
        Code::unsupported, Scope::process,
        format("no CUDA driver (%s): install NVIDIA's driver, set WEFT_LIBCUDA to its "
               "libcuda.so.1, or use host memory with WEFT_DEVICE=host",
               reason.c_str()));
}

Result<Library> library_find(const std::string& path) {
    Library library;
    library.name = path.empty() ? "libcuda.so.1" : path;
    library.handle = TRY(library_open(path));
    library.lookup12 = symbol<Lookup12>(library.handle, "cuGetProcAddress_v2");
    library.lookup11 = symbol<Lookup11>(library.handle, "cuGetProcAddress");
    if (library.lookup12 != nullptr || library.lookup11 != nullptr) {
        return library;
    }
    if (dlsym(library.handle, "cuInit") == nullptr) {
        return make_error(Code::unsupported, Scope::process,
                          format("%s is not the CUDA driver: it has neither cuInit nor "
                                 "cuGetProcAddress; set WEFT_LIBCUDA to libcuda.so.1",
                                 library.name.c_str()));
    }
    return make_error(
        Code::unsupported, Scope::process,
        format("the CUDA driver %s is older than CUDA %s: it has no cuGetProcAddress; "
               "update the driver",
               library.name.c_str(), version_text(lookup_since).c_str()));
}

// The version goes first: the message about any other function names it.
Result<int> version_ask(const Library& library) {
    constexpr int since = DriverTable::cuDriverGetVersion_version;
    auto* ask = reinterpret_cast<DriverTable::cuDriverGetVersion_type*>(
        library.find("cuDriverGetVersion", since));
    int version = 0;
    const Status result = ask != nullptr ? ask(&version) : status::stub_library;
    if (result == status::success) {
        return version;
    }
    if (result == status::stub_library) {
        return make_error(
            Code::unsupported, Scope::process,
            format("%s is a stub for linking, not the CUDA driver: take the toolkit's "
                   "stubs out of LD_LIBRARY_PATH or set WEFT_LIBCUDA to libcuda.so.1",
                   library.name.c_str()));
    }
    return make_error(Code::device, Scope::process,
                      format("cuDriverGetVersion of %s failed with status %d: reinstall the driver",
                             library.name.c_str(), result),
                      result);
}

std::string missing_text(const DriverRow& row, const Driver& driver) {
    std::string text = "the CUDA driver " + driver.path + " (CUDA " + version_text(driver.version) +
                       ") lacks " + row.name + " of CUDA " + version_text(row.version);
    if (driver.version < row.version) {
        return text + ": update it to CUDA " + version_text(row.version) + " or newer";
    }
    return text + ", which a driver of its version has: set WEFT_LIBCUDA to NVIDIA's libcuda.so.1";
}

// Fills one member; false: a required function is missing.
template <class F>
bool fill(const Library& library, F*& member, const DriverRow& row) {
    member = reinterpret_cast<F*>(library.find(row.name, row.version));
    return member != nullptr || row.need == Need::optional;
}

}  // namespace

const DriverRow driver_rows[] = {
#define WEFT_CUDA_ROW(need, name, version, ...) {#name, version, Need::need},
    WEFT_CUDA_FUNCTIONS(WEFT_CUDA_ROW)
#undef WEFT_CUDA_ROW
};
const int driver_row_count = sizeof(driver_rows) / sizeof(driver_rows[0]);

Result<Driver> driver_load(const std::string& path) {
    const Library library = TRY(library_find(path));
    Driver driver;
    Dl_info where{};
    dladdr(dlsym(library.handle,
                 library.lookup12 != nullptr ? "cuGetProcAddress_v2" : "cuGetProcAddress"),
           &where);
    driver.path = where.dli_fname != nullptr ? where.dli_fname : library.name;
    driver.version = TRY(version_ask(library));
    const DriverRow* row = driver_rows;
#define WEFT_CUDA_FILL(need, name, version, ...)                                          \
    if (!fill(library, driver.name, *row)) {                                              \
        return make_error(Code::unsupported, Scope::process, missing_text(*row, driver)); \
    }                                                                                     \
    ++row;
    WEFT_CUDA_FUNCTIONS(WEFT_CUDA_FILL)
#undef WEFT_CUDA_FILL
    return driver;
}

Result<void> driver_check(const Driver& driver, Status result, const std::string& call) {
    if (result == status::success) {
        return {};
    }
    const char* name = nullptr;
    const char* text = nullptr;
    if (driver.cuGetErrorName(result, &name) != status::success || name == nullptr) {
        name = "an error without a name";
    }
    if (driver.cuGetErrorString(result, &text) != status::success || text == nullptr) {
        text = "no description";
    }
    return make_error(Code::device, Scope::process,
                      format("%s failed: %s (%s)", call.c_str(), name, text), result);
}

Result<int> driver_init(const Driver& driver) {
    const Status result = driver.cuInit(0);
    int count = 0;
    if (result != status::no_device) {
        TRY(driver_check(driver, result, "cuInit of " + driver.path));
        TRY(driver_check(driver, driver.cuDeviceGetCount(&count), "cuDeviceGetCount"));
    }
    if (count == 0) {
        return make_error(Code::unsupported, Scope::process,
                          format("the CUDA driver %s sees no device: check nvidia-smi and "
                                 "CUDA_VISIBLE_DEVICES, or use host memory with WEFT_DEVICE=host",
                                 driver.path.c_str()));
    }
    return count;
}

std::string version_text(int version) {
    return format("%d.%d", version / 1000, version % 1000 / 10);
}

}  // namespace weft::gpu
