// What a communicator works on, found when it is made and never changed: host memory, or a CUDA
// device. Rule: WEFT_DEVICE where it is set; else a device if a CUDA context is current on the
// calling thread, or if a CUDA runtime that the process has loaded sees a device; else the host.
// Looking loads no library and calls no cuInit of ours (a loaded runtime may, to count devices).
// Thread rule: reentrant; looks at the calling thread. Failure rule: what cannot be asked counts as
// absent.
#pragma once

#include <cstdint>
#include <string>

namespace weft::gpu {

enum class Kind : uint8_t { host, device };

struct KindFound {
    Kind kind = Kind::host;
    const char* why = "";  // for people
    int device = -1;       // the ordinal of what is current, -1 unknown
};

// `device` is WEFT_DEVICE: "", "host" or "cuda" in any case; `libcuda` is WEFT_LIBCUDA.
KindFound kind_find(const std::string& device, const std::string& libcuda);

}  // namespace weft::gpu
