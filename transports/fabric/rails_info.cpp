// What a rail is called and how fast it is, before it is opened: from the provider where it knows
// the NIC, else from the interface of the operating system that has the rail's address.
#include <algorithm>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "transports/fabric/hub.h"
#include "transports/fabric/nic.h"

namespace weft::fabric {

namespace {

constexpr uint64_t bits_per_mbit = 1000 * 1000;

std::string interface_of(const std::string& address) {
    const auto interfaces = interfaces_list();
    const auto found = std::ranges::find(interfaces, address, &Interface::address);
    return found == interfaces.end() ? std::string() : found->name;
}

// -1 and nothing are what the kernel says of interfaces without a line rate.
uint64_t interface_speed(const std::string& name) {
    const std::string text = file_line("/sys/class/net/" + name + "/speed");
    return text.empty() || text.size() > 9 || text[0] == '-'
               ? 0
               : std::strtoull(text.c_str(), nullptr, 10);
}

RailInfo info_of(const RailChoice& choice, const MemoryAbility& ability) {
    RailInfo rail;
    rail.name = choice.name;
    rail.address = nic_address(*choice.info);
    rail.device_memory = ability.cuda;
    rail.dmabuf = ability.dmabuf;
    const fid_nic* nic = choice.info->nic;
    if (nic != nullptr && nic->link_attr != nullptr) {
        rail.speed_mbps = nic->link_attr->speed / bits_per_mbit;
    }
    if (!rail.address.empty()) {
        return rail;
    }
    rail.interface = interface_of(choice.name);
    if (rail.speed_mbps == 0 && !rail.interface.empty()) {
        rail.speed_mbps = interface_speed(rail.interface);
    }
    return rail;
}

}  // namespace

std::string nic_address(const fi_info& info) {
    if (info.nic == nullptr || info.nic->bus_attr == nullptr ||
        info.nic->bus_attr->bus_type != FI_BUS_PCI) {
        return {};
    }
    const fi_pci_attr& pci = info.nic->bus_attr->attr.pci;
    return format("%04x:%02x:%02x.%x", pci.domain_id, pci.bus_id, pci.device_id, pci.function_id);
}

std::vector<RailInfo> FabricHub::rails_info() const {
    std::vector<RailInfo> rails;
    for (const RailChoice& choice : choices_) {
        rails.push_back(info_of(
            choice, memory_ability(*choice.info, library_.version(), library_.api_version)));
    }
    return rails;
}

}  // namespace weft::fabric
