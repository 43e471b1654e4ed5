// Any bytes: the scanner refuses them with a line that names the file, or gives elements whose
// parents stand before them; what the NCCL reader then accepts is free of contradictions and has
// rails that exist.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "topology/hwloc_import.h"
#include "topology/nccl_xml.h"
#include "topology/rails.h"

namespace {

void expect(bool holds) {
    if (!holds) {
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace weft::topology;
    XmlLimits limits;
    limits.elements = 2000;
    const auto document = xml_parse({reinterpret_cast<const char*>(data), size}, "f", limits);
    if (!document.ok()) {
        expect(document.error().what.substr(0, 2) == "f:");
        return 0;
    }
    const auto& elements = document.value().elements;
    for (size_t i = 0; i < elements.size(); ++i) {
        expect(elements[i].parent < static_cast<int32_t>(i) && (i == 0 || elements[i].parent >= 0));
    }
    (void)hwloc_document_check(document.value());
    const auto machine = machine_of_nccl(document.value());
    if (!machine.ok()) {
        expect(machine.error().what.substr(0, 2) == "f:");
        return 0;
    }
    expect(machine_check(machine.value()).ok());
    const RailMap map = rails_map(machine.value(), rank_places(machine.value(), 0));
    for (const auto& rails : map.by_rank) {
        expect(rails.empty() == map.nics.empty());
    }
    return 0;
}
