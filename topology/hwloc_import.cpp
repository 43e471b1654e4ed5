#include "topology/hwloc_import.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "src/base/log.h"

namespace weft::topology {

namespace {

constexpr uint32_t class_network = 0x02;
constexpr uint32_t class_display = 0x03;
constexpr uint32_t class_infiniband = 0x0c06;

PciAddress address_of(const hwloc_obj_attr_u::hwloc_pcidev_attr_s& pci) {
    return {pci.domain, pci.bus, pci.dev, pci.func};
}

// hwloc says GB/s, 0 for unknown.
int64_t rate_of(float gigabytes) {
    return gigabytes > 0 ? std::llround(static_cast<double>(gigabytes) * 1e9) : 0;
}

class Importer {
  public:
    Importer(hwloc_topology_t topology, const SystemFacts* facts)
        : topology_(topology), facts_(facts) {}
    Machine run();

  private:
    int32_t add(const Place& place) {
        machine_.places.push_back(place);
        return static_cast<int32_t>(machine_.places.size()) - 1;
    }
    void note(std::string line) { machine_.notes.push_back(std::move(line)); }
    void packages();
    void numa_nodes();
    int32_t place_of(hwloc_obj_t object);
    int32_t place_of_cpus(hwloc_obj_t object) const;
    void pci_device(hwloc_obj_t object);
    void nic(hwloc_obj_t object);
    bool interface_serves(const Nic& nic);
    void loose_interfaces();
    void nvlinks();

    hwloc_topology_t topology_;
    const SystemFacts* facts_;  // borrowed, may be null
    Machine machine_;
    std::map<hwloc_obj_t, int32_t> places_;
};

void Importer::packages() {
    std::vector<hwloc_obj_t> found;
    for (hwloc_obj_t at = nullptr;
         (at = hwloc_get_next_obj_by_type(topology_, HWLOC_OBJ_PACKAGE, at)) != nullptr;) {
        found.push_back(at);
    }
    int32_t next = 0;
    for (hwloc_obj_t package : found) {
        // Where the system does not number them, hwloc's order does.
        const bool numbered = package->os_index != HWLOC_UNKNOWN_INDEX;
        const int32_t index = numbered ? static_cast<int32_t>(package->os_index) : next;
        next = index + 1;
        places_[package] = add(Place{PlaceKind::package, 0, index, {}});
    }
}

// Memory of GPUs is a NUMA node to the system, but not a place where devices hang.
void Importer::numa_nodes() {
    for (hwloc_obj_t at = nullptr;
         (at = hwloc_get_next_obj_by_type(topology_, HWLOC_OBJ_NUMANODE, at)) != nullptr;) {
        const std::string subtype = at->subtype == nullptr ? "" : at->subtype;
        if (subtype == "GPUMemory") {
            continue;
        }
        const hwloc_obj_t package =
            hwloc_get_ancestor_obj_by_type(topology_, HWLOC_OBJ_PACKAGE, at);
        const auto parent = places_.find(package);
        places_[at] = add(Place{PlaceKind::numa,
                                parent == places_.end() ? 0 : parent->second,
                                static_cast<int32_t>(at->os_index),
                                {}});
    }
}

// The NUMA node, if it is one only; else the package, else the machine.
int32_t Importer::place_of_cpus(hwloc_obj_t object) const {
    int32_t numa = 0;
    size_t count = 0;
    for (const auto& [known, place] : places_) {
        if (known->type == HWLOC_OBJ_NUMANODE && object->nodeset != nullptr &&
            hwloc_bitmap_isset(object->nodeset, known->os_index)) {
            numa = place;
            count++;
        }
    }
    if (count == 1) {
        return numa;
    }
    for (; object != nullptr; object = object->parent) {
        const auto found = places_.find(object);
        if (found != places_.end()) {
            return found->second;
        }
    }
    return 0;
}

// Bridges become places when something that matters hangs below them.
int32_t Importer::place_of(hwloc_obj_t object) {
    if (object->type != HWLOC_OBJ_BRIDGE) {
        return place_of_cpus(object);
    }
    const auto found = places_.find(object);
    if (found != places_.end()) {
        return found->second;
    }
    const int32_t parent = place_of(object->parent);
    const auto& bridge = object->attr->bridge;
    Place place{PlaceKind::host_bridge, parent, -1, {}};
    if (bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI) {
        place.kind = PlaceKind::bridge;
        place.address = address_of(bridge.upstream.pci);
    } else if (bridge.downstream_type == HWLOC_OBJ_BRIDGE_PCI) {
        place.address =
            PciAddress{bridge.downstream.pci.domain, bridge.downstream.pci.secondary_bus, 0, 0};
    }
    return places_[object] = add(place);
}

const char* child_name(hwloc_obj_t device, hwloc_obj_osdev_type_t type) {
    for (hwloc_obj_t child = device->io_first_child; child != nullptr;
         child = child->next_sibling) {
        if (child->type == HWLOC_OBJ_OS_DEVICE && child->attr->osdev.type == type) {
            return child->name == nullptr ? "" : child->name;
        }
    }
    return nullptr;
}

// Of a plain interface: may it carry traffic? A recorded machine does not say; then yes.
bool Importer::interface_serves(const Nic& nic) {
    if (facts_ == nullptr) {
        return true;
    }
    const auto found = facts_->interfaces.find(nic.name);
    const char* why = found == facts_->interfaces.end() ? "is not in this network namespace"
                      : !found->second.up               ? "is down"
                      : !found->second.addressed        ? "has no address"
                                                        : nullptr;
    if (why != nullptr) {
        note(nic_label(nic) + " is not used: it " + why);
    }
    return why == nullptr;
}

void Importer::nic(hwloc_obj_t object) {
    const auto& pci = object->attr->pcidev;
    Nic nic;
    nic.address = address_of(pci);
    nic.vendor = pci.vendor_id;
    nic.device = pci.device_id;
    nic.pcie_rate = rate_of(pci.linkspeed);
    const char* const plain = child_name(object, HWLOC_OBJ_OSDEV_NETWORK);
    const char* const verbs = child_name(object, HWLOC_OBJ_OSDEV_OPENFABRICS);
    const auto driver = facts_ == nullptr ? std::string() : [&] {
        const auto found = facts_->drivers.find(*nic.address);
        return found == facts_->drivers.end() ? std::string() : found->second;
    }();
    // By identity or driver, never by name: names are the administrator's.
    const bool efa =
        is_efa(nic.vendor, nic.device) || (nic.vendor == vendor_amazon && driver == "efa");
    nic.kind = efa ? NicKind::efa : plain != nullptr ? NicKind::ethernet : NicKind::verbs;
    nic.name = efa || plain == nullptr ? (verbs == nullptr ? "" : verbs) : plain;
    if (!efa && verbs != nullptr) {
        note(std::string("verbs device ") + verbs + " at " + to_string(*nic.address) +
             " is ignored: of RDMA devices only EFA is used" +
             (plain == nullptr ? "" : std::string("; its interface ") + plain + " counts"));
    }
    if (efa && facts_ != nullptr && verbs == nullptr) {
        note(nic_label(nic) + " has no RDMA device: is the efa driver loaded?");
    }
    if (!efa && plain == nullptr && verbs == nullptr) {
        note("network device " + to_string(*nic.address) + " is not used: it has no interface");
        return;
    }
    if (nic.kind == NicKind::ethernet && !interface_serves(nic)) {
        return;
    }
    if (facts_ != nullptr && nic.kind == NicKind::ethernet) {
        nic.line_rate = facts_->interfaces.at(nic.name).line_rate;
    } else if (facts_ != nullptr) {
        const auto rate = facts_->verbs_rates.find(nic.name);
        nic.line_rate = rate == facts_->verbs_rates.end() ? 0 : rate->second;
    }
    nic.place = place_of(object->parent);
    nic.numa = place_numa(machine_, nic.place);
    machine_.nics.push_back(std::move(nic));
}

void Importer::pci_device(hwloc_obj_t object) {
    const auto& pci = object->attr->pcidev;
    const uint32_t base_class = pci.class_id >> 8;
    if (base_class == class_display && pci.vendor_id == vendor_nvidia) {
        Gpu gpu{address_of(pci), pci.vendor_id, pci.device_id, place_of(object->parent)};
        gpu.numa = place_numa(machine_, gpu.place);
        gpu.pcie_rate = rate_of(pci.linkspeed);
        machine_.gpus.push_back(gpu);
        return;
    }
    const bool network = base_class == class_network || pci.class_id == class_infiniband;
    // A paravirtual device may be of another class and still have an interface.
    if (network || child_name(object, HWLOC_OBJ_OSDEV_NETWORK) != nullptr ||
        child_name(object, HWLOC_OBJ_OSDEV_OPENFABRICS) != nullptr) {
        nic(object);
    }
}

// Interfaces without a PCI device (veth in a container, devices on other buses) serve if there is
// nothing else.
void Importer::loose_interfaces() {
    const bool served = std::any_of(machine_.nics.begin(), machine_.nics.end(),
                                    [](const Nic& nic) { return nic.kind != NicKind::verbs; });
    if (served || facts_ == nullptr) {
        return;
    }
    for (const auto& [name, interface] : facts_->interfaces) {
        if (interface.up && interface.addressed && !interface.local && !interface.bridge) {
            Nic nic;
            nic.name = name;
            nic.kind = NicKind::ethernet;
            nic.place = 0;
            nic.line_rate = interface.line_rate;
            machine_.nics.push_back(std::move(nic));
        }
    }
}

// Where hwloc was built with NVML it gives a matrix of MB/s between GPUs and switches.
void Importer::nvlinks() {
    unsigned count = 1;
    hwloc_distances_s* matrix = nullptr;
    if (hwloc_distances_get_by_name(topology_, "NVLinkBandwidth", &count, &matrix, 0) != 0 ||
        count == 0) {
        return;
    }
    for (unsigned i = 0; i < matrix->nbobjs; ++i) {
        hwloc_obj_t object = matrix->objs[i];
        while (object != nullptr && object->type == HWLOC_OBJ_OS_DEVICE) {
            object = object->parent;
        }
        if (object == nullptr || object->type != HWLOC_OBJ_PCI_DEVICE) {
            continue;
        }
        uint64_t megabytes = 0;
        for (unsigned j = 0; j < matrix->nbobjs; ++j) {
            megabytes += i == j ? 0 : matrix->values[size_t{i} * matrix->nbobjs + j];
        }
        for (Gpu& gpu : machine_.gpus) {
            if (gpu.address == address_of(object->attr->pcidev) && megabytes < 1'000'000'000) {
                gpu.nvlink_rate = static_cast<int64_t>(megabytes) * 1'000'000;
            }
        }
    }
    hwloc_distances_release(topology_, matrix);
}

Machine Importer::run() {
    add(Place{});
    places_[hwloc_get_root_obj(topology_)] = 0;
    packages();
    numa_nodes();
    for (hwloc_obj_t at = nullptr; (at = hwloc_get_next_pcidev(topology_, at)) != nullptr;) {
        pci_device(at);
    }
    loose_interfaces();
    nvlinks();
    machine_sort(machine_);
    std::sort(machine_.notes.begin(), machine_.notes.end());
    return std::move(machine_);
}

Result<void> object_check(const XmlDocument& document, const XmlElement& element,
                          std::map<PciAddress, uint32_t>& lines) {
    if (element.find("type") == nullptr) {
        return xml_error(document, element.line, "<object> needs the attribute 'type'");
    }
    if (const std::string* text = element.find("pci_busid")) {
        const auto address = pci_address_parse(*text);
        if (!address) {
            return xml_error(document, element.line,
                             "pci_busid=\"" + printable(*text) +
                                 "\": expected a PCI address such as 0000:10:1b.0");
        }
        const auto [other, fresh] = lines.emplace(*address, element.line);
        if (!fresh) {
            return xml_error(document, element.line,
                             format("PCI address %s is given at line %u already",
                                    to_string(*address).c_str(), other->second));
        }
    }
    if (const std::string* text = element.find("pci_link_speed")) {
        constexpr double gigabytes_max = 1e5;
        double rate = 0;
        const char* const end = text->data() + text->size();
        const auto read = std::from_chars(text->data(), end, rate);
        if (read.ec != std::errc() || read.ptr != end || !(rate >= 0 && rate <= gigabytes_max)) {
            return xml_error(document, element.line,
                             "pci_link_speed=\"" + printable(*text) +
                                 "\": expected a rate in GB/s, not negative");
        }
    }
    return {};
}

}  // namespace

Machine machine_of_hwloc(hwloc_topology_t topology, const SystemFacts* facts) {
    return Importer(topology, facts).run();
}

Result<void> hwloc_document_check(const XmlDocument& document) {
    const auto& elements = document.elements;
    if (elements[0].name != "topology") {
        return xml_error(
            document, elements[0].line,
            "hwloc's topology starts with <topology>, not with <" + elements[0].name + ">");
    }
    std::map<PciAddress, uint32_t> lines;
    size_t machines = 0;
    for (const XmlElement& element : elements) {
        if (element.name != "object") {
            continue;
        }
        TRY(object_check(document, element, lines));
        if (element.parent == 0) {
            machines++;
        }
        if (element.parent == 0 && (machines > 1 || *element.find("type") != "Machine")) {
            return xml_error(document, element.line,
                             "<topology> must hold one object, of type Machine");
        }
    }
    if (machines == 0) {
        return xml_error(document, elements[0].line, "<topology> holds no Machine");
    }
    return {};
}

}  // namespace weft::topology
