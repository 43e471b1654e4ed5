#include "transports/fabric/library.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <set>

namespace weft::fabric {

namespace {

// The layouts of fi_info and fi_fabric_attr in the headers of 1.17; a newer library converts for
// callers of these symbol versions.
constexpr const char* info_symbols = "FABRIC_1.3";
constexpr const char* fabric_symbols = "FABRIC_1.1";
constexpr const char* first_symbols = "FABRIC_1.0";

// The newest interface version that is asked for. From 1.18 on efa uses hardware writes by default,
// from 1.20 on memory can be registered as dma-buf; nothing newer is needed, and the structures
// this library fills are those of 1.20 (transports/fabric/newer.h).
constexpr uint32_t api_newest = FI_VERSION(1, 20);

template <class F>
bool resolve(void* library, F& function, const char* name, const char* version) {
    void* symbol = dlvsym(library, name, version);
    if (symbol == nullptr) {
        symbol = dlsym(library, name);  // a build without symbol versions
    }
    function = reinterpret_cast<F>(symbol);
    return symbol != nullptr;
}

std::string loader_text() {
    const char* text = dlerror();
    return text != nullptr ? text : "unknown reason";
}

Result<void*> open_first(const std::string& path) {
    constexpr int flags = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE;
    if (!path.empty()) {
        if (void* library = dlopen(path.c_str(), flags)) {
            return library;
        }
        return make_error(Code::system, Scope::process,
                          format("cannot load WEFT_LIBFABRIC=%s: %s; correct the path or unset it",
                                 path.c_str(), loader_text().c_str()));
    }
    for (const char* name : {"/opt/amazon/efa/lib64/libfabric.so.1",
                             "/opt/amazon/efa/lib/libfabric.so.1", "libfabric.so.1"}) {
        if (void* library = dlopen(name, flags)) {
            return library;
        }
    }
    return make_error(
        Code::unsupported, Scope::process,
        format("libfabric not found (%s): install libfabric1 or the EFA installer, or "
               "set WEFT_LIBFABRIC to libfabric.so.1",
               loader_text().c_str()));
}

int collect_copy(dl_phdr_info* info, size_t, void* copies) {
    if (info->dlpi_name != nullptr &&
        std::string_view(info->dlpi_name).find("libfabric.so") != std::string_view::npos) {
        static_cast<std::set<std::string>*>(copies)->insert(info->dlpi_name);
    }
    return 0;
}

void report_copies(const Library& ours) {
    std::set<std::string> copies;
    dl_iterate_phdr(collect_copy, &copies);
    if (copies.size() < 2) {
        return;
    }
    std::string list;
    for (const std::string& copy : copies) {
        list.append(list.empty() ? "" : ", ").append(copy);
    }
    log_warn(
        format("%zu copies of libfabric are loaded (%s), this library uses %s: set "
               "WEFT_LIBFABRIC to the one the rest of the process uses",
               copies.size(), list.c_str(), ours.path.c_str()));
}

}  // namespace

Result<Library> library_load(const std::string& path) {
    void* handle = TRY(open_first(path));
    Library library;
    bool whole = resolve(handle, library.get_info, "fi_getinfo", info_symbols) &&
                 resolve(handle, library.free_info, "fi_freeinfo", info_symbols) &&
                 resolve(handle, library.dup_info, "fi_dupinfo", info_symbols) &&
                 resolve(handle, library.open_fabric, "fi_fabric", fabric_symbols) &&
                 resolve(handle, library.version, "fi_version", first_symbols) &&
                 resolve(handle, library.error_text, "fi_strerror", first_symbols);
    if (!whole) {
        return make_error(Code::unsupported, Scope::process,
                          format("%s is not libfabric: it lacks fi_getinfo and friends; set "
                                 "WEFT_LIBFABRIC to libfabric.so.1",
                                 path.empty() ? "libfabric.so.1" : path.c_str()));
    }
    Dl_info where{};
    dladdr(reinterpret_cast<void*>(library.get_info), &where);
    library.path = where.dli_fname != nullptr ? where.dli_fname : path;
    uint32_t version = library.version();
    if (FI_VERSION_LT(version, FI_VERSION(1, 17))) {
        return make_error(Code::unsupported, Scope::process,
                          format("%s is libfabric %u.%u, at least 1.17 is needed: upgrade it",
                                 library.path.c_str(), FI_MAJOR(version), FI_MINOR(version)));
    }
    library.api_version = std::min(version, api_newest);
    report_copies(library);
    return library;
}

}  // namespace weft::fabric
