// Any bytes: refused, or a host that is valid and encodes to the same bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "topology/cluster.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace weft::topology;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto host = host_decode(bytes);
    if (host.ok() && (!host_check(host.value()).ok() || host_encode(host.value()) != bytes)) {
        std::abort();
    }
    return 0;
}
