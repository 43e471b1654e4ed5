#include "topology/graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "src/base/log.h"

namespace weft::topology {

namespace {

constexpr size_t places_max = 65536;
constexpr size_t devices_max = 4096;

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

// Up to `digits` hexadecimal digits off the front of `text`.
std::optional<uint32_t> hex_take(std::string_view& text, size_t least, size_t most) {
    uint32_t value = 0;
    size_t used = 0;
    for (; used < text.size() && used <= most; ++used) {
        const char c = text[used];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            break;
        }
        value = value << 4 | static_cast<uint32_t>(digit);
    }
    if (used < least || used > most) {
        return {};
    }
    text.remove_prefix(used);
    return value;
}

bool char_take(std::string_view& text, char wanted) {
    if (text.empty() || text.front() != wanted) {
        return false;
    }
    text.remove_prefix(1);
    return true;
}

Result<void> places_check(const Machine& machine) {
    const auto& places = machine.places;
    if (places.empty() || places[0].kind != PlaceKind::machine || places[0].parent != -1) {
        return wrong("the first place of a topology must be the machine");
    }
    if (places.size() > places_max) {
        return wrong(
            format("%zu places in a topology, at most %zu are read", places.size(), places_max));
    }
    std::set<std::pair<PlaceKind, int32_t>> numbered;
    for (size_t i = 1; i < places.size(); ++i) {
        const Place& place = places[i];
        const std::string label = place_label(place);
        if (place.kind == PlaceKind::machine) {
            return wrong("a machine inside a machine");
        }
        if (place.parent < 0 || static_cast<size_t>(place.parent) >= i) {
            return wrong(label + " hangs below nothing");
        }
        const bool is_bridge =
            place.kind == PlaceKind::bridge || place.kind == PlaceKind::host_bridge;
        if (is_bridge) {
            continue;
        }
        if (place.os_index < 0) {
            return wrong(label + ": its number is missing");
        }
        if (!numbered.emplace(place.kind, place.os_index).second) {
            return wrong("two places are " + label);
        }
    }
    return {};
}

// Every function of the bus exists once, whatever it is.
using Addresses = std::map<PciAddress, std::string>;

Result<void> address_check(Addresses& taken, const PciAddress& address, const std::string& who) {
    const auto [other, fresh] = taken.emplace(address, who);
    if (!fresh) {
        return wrong("two devices have the PCI address " + to_string(address) + ": " +
                     other->second + " and " + who);
    }
    return {};
}

Result<void> position_check(const Machine& machine, const std::string& who, int32_t place,
                            int32_t numa) {
    if (place < 0 || static_cast<size_t>(place) >= machine.places.size()) {
        return wrong(who + " hangs below nothing");
    }
    const int32_t above = place_numa(machine, place);
    if (above != -1 && numa != above) {
        return wrong(
            format("%s names NUMA node %d but is inside NUMA node %d", who.c_str(), numa, above));
    }
    const bool known = std::any_of(
        machine.places.begin(), machine.places.end(),
        [&](const Place& p) { return p.kind == PlaceKind::numa && p.os_index == numa; });
    if (numa != -1 && !known) {
        return wrong(
            format("%s names NUMA node %d, which the machine does not have", who.c_str(), numa));
    }
    return {};
}

Result<void> rate_check(const std::string& who, const char* what, int64_t rate) {
    if (rate < 0) {
        return wrong(
            format("%s: negative %s (%lld B/s)", who.c_str(), what, static_cast<long long>(rate)));
    }
    return {};
}

Result<void> gpu_check(const Machine& machine, const Gpu& gpu, Addresses& taken) {
    const std::string who = "GPU " + to_string(gpu.address);
    TRY(position_check(machine, who, gpu.place, gpu.numa));
    TRY(rate_check(who, "PCIe rate", gpu.pcie_rate));
    TRY(rate_check(who, "NVLink rate", gpu.nvlink_rate));
    return address_check(taken, gpu.address, who);
}

Result<void> nic_check(const Machine& machine, const Nic& nic, Addresses& taken,
                       std::set<std::string>& names) {
    const std::string who = nic_label(nic);
    TRY(position_check(machine, who, nic.place, nic.numa));
    TRY(rate_check(who, "PCIe rate", nic.pcie_rate));
    TRY(rate_check(who, "line rate", nic.line_rate));
    if (nic.kind == NicKind::efa && nic.vendor != 0 && nic.vendor != vendor_amazon) {
        return wrong(who + " is no device of Amazon");
    }
    if (nic.address) {
        return address_check(taken, *nic.address, who);
    }
    if (nic.name.empty()) {
        return wrong("a NIC has neither a PCI address nor a name");
    }
    if (!names.insert(nic.name).second) {
        return wrong("two NICs without a PCI address have the name " + nic.name);
    }
    return {};
}

}  // namespace

std::string to_string(const PciAddress& address) {
    return format("%04x:%02x:%02x.%x", address.domain, address.bus, address.device,
                  address.function);
}

std::optional<PciAddress> pci_address_parse(std::string_view text) {
    PciAddress address;
    const auto colons = std::count(text.begin(), text.end(), ':');
    if (colons == 2) {
        const auto domain = hex_take(text, 4, 8);
        if (!domain || !char_take(text, ':')) {
            return {};
        }
        address.domain = *domain;
    }
    const auto bus = hex_take(text, 2, 2);
    if (!bus || !char_take(text, ':')) {
        return {};
    }
    const auto device = hex_take(text, 2, 2);
    if (!device || *device > 0x1f || !char_take(text, '.')) {
        return {};
    }
    const auto function = hex_take(text, 1, 1);
    if (!function || *function > 7 || !text.empty()) {
        return {};
    }
    address.bus = static_cast<uint8_t>(*bus);
    address.device = static_cast<uint8_t>(*device);
    address.function = static_cast<uint8_t>(*function);
    return address;
}

const char* to_string(PlaceKind kind) {
    switch (kind) {
        case PlaceKind::machine:
            return "machine";
        case PlaceKind::package:
            return "package";
        case PlaceKind::numa:
            return "NUMA node";
        case PlaceKind::host_bridge:
            return "host bridge";
        case PlaceKind::bridge:
            return "bridge";
    }
    return "?";
}

const char* to_string(NicKind kind) {
    switch (kind) {
        case NicKind::efa:
            return "EFA";
        case NicKind::verbs:
            return "verbs device";
        case NicKind::ethernet:
            return "interface";
        case NicKind::unknown:
            return "NIC";
    }
    return "?";
}

std::string nic_label(const Nic& nic) {
    const std::string kind = to_string(nic.kind);
    if (!nic.address) {
        return kind + " " + nic.name;
    }
    const bool named = nic.kind != NicKind::efa && !nic.name.empty();
    return kind + " " + (named ? nic.name + " " : "") + to_string(*nic.address);
}

std::string place_label(const Place& place) {
    const std::string kind = to_string(place.kind);
    if (place.kind == PlaceKind::package || place.kind == PlaceKind::numa) {
        return format("%s %d", kind.c_str(), place.os_index);
    }
    if (!place.address) {
        return kind;
    }
    if (place.kind == PlaceKind::host_bridge) {
        return kind + format(" %04x:%02x", place.address->domain, place.address->bus);
    }
    return kind + " " + to_string(*place.address);
}

void machine_sort(Machine& machine) {
    std::sort(machine.gpus.begin(), machine.gpus.end(),
              [](const Gpu& a, const Gpu& b) { return a.address < b.address; });
    std::sort(machine.nics.begin(), machine.nics.end(), [](const Nic& a, const Nic& b) {
        return std::tuple(!a.address, a.address, a.name) <
               std::tuple(!b.address, b.address, b.name);
    });
}

Result<void> machine_check(const Machine& machine) {
    TRY(places_check(machine));
    if (machine.gpus.size() + machine.nics.size() > devices_max) {
        return wrong(format("%zu GPUs and %zu NICs in one machine, at most %zu are read",
                            machine.gpus.size(), machine.nics.size(), devices_max));
    }
    Addresses taken;
    for (const Place& place : machine.places) {
        if (place.kind == PlaceKind::bridge && place.address) {
            TRY(address_check(taken, *place.address, place_label(place)));
        }
    }
    for (const Gpu& gpu : machine.gpus) {
        TRY(gpu_check(machine, gpu, taken));
    }
    std::set<std::string> names;
    for (const Nic& nic : machine.nics) {
        TRY(nic_check(machine, nic, taken, names));
    }
    return {};
}

int32_t place_depth(const Machine& machine, int32_t place) {
    int32_t depth = 0;
    for (; place > 0; ++depth) {
        place = machine.places[static_cast<size_t>(place)].parent;
    }
    return depth;
}

int32_t common_depth(const Machine& machine, int32_t a, int32_t b) {
    // A parent stands before its children, so the later of two different places is never above.
    while (a != b) {
        int32_t& lower = a > b ? a : b;
        lower = machine.places[static_cast<size_t>(lower)].parent;
    }
    return place_depth(machine, a);
}

int32_t place_numa(const Machine& machine, int32_t place) {
    while (place >= 0) {
        const Place& here = machine.places[static_cast<size_t>(place)];
        if (here.kind == PlaceKind::numa) {
            return here.os_index;
        }
        place = here.parent;
    }
    return -1;
}

}  // namespace weft::topology
