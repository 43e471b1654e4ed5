// libfabric, loaded at run time: the few exported functions; everything else is inline through
// fid->ops. Thread rule: load once, then read-only. Lifetime: never unloaded, for providers keep
// threads and atfork handlers. Failure rule: one line that says what to install or set.
#pragma once

#include <rdma/fabric.h>

#include <cstdint>
#include <string>

#include "src/base/handle.h"
#include "src/base/log.h"
#include "src/base/result.h"

namespace weft::fabric {

struct Library {
    decltype(&::fi_getinfo) get_info = nullptr;
    decltype(&::fi_freeinfo) free_info = nullptr;
    decltype(&::fi_dupinfo) dup_info = nullptr;
    decltype(&::fi_fabric) open_fabric = nullptr;
    decltype(&::fi_version) version = nullptr;
    decltype(&::fi_strerror) error_text = nullptr;
    std::string path;          // what the loader mapped
    uint32_t api_version = 0;  // what we ask of fi_getinfo
};

// `path` empty: EFA's install folder, then the loader's libfabric.so.1. A second copy in the
// process is reported with a warning, since two copies do not see each other's endpoints.
Result<Library> library_load(const std::string& path);

// Owns one object that fi_close ends.
template <class T>
struct FidTraits {
    using type = T*;
    static type null() { return nullptr; }
    static void close(type object) noexcept {
        int rc = fi_close(&object->fid);
        if (rc != 0) {
            LOG(info, net, "closing a libfabric object of class %zu failed: error %d",
                object->fid.fclass, -rc);
        }
    }
};
template <class T>
using FidHandle = Handle<FidTraits<T>>;

}  // namespace weft::fabric
