// Any text: refused with a line, or a cluster that prints and parses back to itself.
#include "topology/cluster_text.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace weft::topology;
    const auto cluster = cluster_parse({reinterpret_cast<const char*>(data), size});
    if (!cluster.ok()) {
        return 0;
    }
    const std::string text = cluster_text(cluster.value());
    const auto again = cluster_parse(text);
    if (!again.ok() || !(again.value() == cluster.value()) || cluster_text(again.value()) != text) {
        std::abort();
    }
    return 0;
}
