#include "topology/discover.h"

#include <hwloc.h>

#include <cerrno>
#include <cstring>

#include "src/base/handle.h"
#include "src/base/log.h"
#include "topology/hwloc_import.h"
#include "topology/nccl_xml.h"
#include "topology/system_facts.h"
#include "topology/xml.h"

namespace weft::topology {

namespace {

struct TopologyTraits {
    using type = hwloc_topology_t;
    static type null() { return nullptr; }
    static void close(type topology) noexcept { hwloc_topology_destroy(topology); }
};
using Topology = Handle<TopologyTraits>;

Error refused(const std::string& what, int number) {
    return make_error(Code::system, Scope::call,
                      what + ": " + std::strerror(number) +
                          " (HWLOC_XML_VERBOSE=1 HWLOC_COMPONENTS_VERBOSE=1 show more)",
                      number);
}

// `path` empty: this machine.
Result<Topology> load(const std::string& path) {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0) {
        return refused("hwloc cannot start", errno);
    }
    Topology topology(raw);
    // Caches and cores are of no use here; without them a large machine loads faster.
    hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    hwloc_topology_set_type_filter(raw, HWLOC_OBJ_PACKAGE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    // A process that may use a part of the machine still sees all of it, so that all agree.
    hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
    if (!path.empty() && hwloc_topology_set_xml(raw, path.c_str()) != 0) {
        return refused(path + ": hwloc cannot read it", errno);
    }
    if (hwloc_topology_load(raw) != 0) {
        return refused(
            path.empty() ? "hwloc cannot read this machine" : path + ": hwloc refuses it", errno);
    }
    return topology;
}

Result<Machine> checked(Machine machine, const std::string& path) {
    auto result = machine_check(machine);
    if (!result.ok()) {
        result.error().what = (path.empty() ? "this machine" : path) + ": " + result.error().what;
        return std::move(result).error();
    }
    return machine;
}

}  // namespace

Result<Machine> machine_live() {
    const Topology topology = TRY(load(""));
    if (hwloc_topology_is_thissystem(topology.get()) == 0) {
        // HWLOC_XMLFILE or HWLOC_SYNTHETIC put another machine in its place.
        return checked(machine_of_hwloc(topology.get(), nullptr), "");
    }
    const SystemFacts facts = system_facts_read();
    return checked(machine_of_hwloc(topology.get(), &facts), "");
}

Result<Machine> machine_read(const std::string& path) {
    const XmlDocument document = TRY(xml_read(path));
    if (document.elements[0].name == "system") {
        return machine_of_nccl(document);
    }
    if (document.elements[0].name != "topology") {
        return xml_error(document, document.elements[0].line,
                         "<" + document.elements[0].name +
                             "> starts neither hwloc's (<topology>) nor NCCL's (<system>) format");
    }
    TRY(hwloc_document_check(document));
    const Topology topology = TRY(load(path));
    return checked(machine_of_hwloc(topology.get(), nullptr), path);
}

Result<std::string> hwloc_xml(const std::string& path) {
    if (!path.empty()) {
        TRY(hwloc_document_check(TRY(xml_read(path))));
    }
    const Topology topology = TRY(load(path));
    char* buffer = nullptr;
    int size = 0;
    if (hwloc_topology_export_xmlbuffer(topology.get(), &buffer, &size, 0) != 0) {
        return refused("hwloc cannot write XML", errno);
    }
    std::string text(buffer);  // `size` counts the 0 at its end
    hwloc_free_xmlbuffer(topology.get(), buffer);
    return text;
}

}  // namespace weft::topology
