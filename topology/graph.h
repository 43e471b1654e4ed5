// The machine as a plain value: what is inside what, and what the devices are. Where it comes from
// is in discover.h and nccl_xml.h. Thread rule: values, reentrant. Failure rule: machine_check()
// names the first contradiction in one line.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"

namespace weft::topology {

struct PciAddress {
    uint32_t domain = 0;
    uint8_t bus = 0;
    uint8_t device = 0;
    uint8_t function = 0;
    auto operator<=>(const PciAddress&) const = default;
};

std::string to_string(const PciAddress& address);  // "0000:10:1b.0"
// "10:1b.0" stands for domain 0. Hexadecimal in either case.
std::optional<PciAddress> pci_address_parse(std::string_view text);

enum class PlaceKind : uint8_t { machine, package, numa, host_bridge, bridge };

// The inner tree. Place 0 is the machine; a parent stands before its children.
struct Place {
    PlaceKind kind = PlaceKind::machine;
    int32_t parent = -1;
    int32_t os_index = -1;              // packages and NUMA nodes
    std::optional<PciAddress> address;  // a bridge's own; a host bridge's first bus, if known
    bool operator==(const Place&) const = default;
};

// Rates are bytes per second in one direction; 0 is "unknown".
struct Gpu {
    PciAddress address;
    uint16_t vendor = 0;
    uint16_t device = 0;
    int32_t place = -1;
    int32_t numa = -1;  // the NUMA node's os_index, -1 unknown
    int64_t pcie_rate = 0;
    int64_t nvlink_rate = 0;  // all its NVLinks together
    bool operator==(const Gpu&) const = default;
};

enum class NicKind : uint8_t {
    efa,
    verbs,     // an RDMA device that is no EFA and has no plain interface
    ethernet,  // a plain network interface
    unknown,   // an NCCL file lists it without saying what it is
};

struct Nic {
    std::optional<PciAddress> address;
    std::string name;  // of its interface or RDMA device, for people only; may be empty
    uint16_t vendor = 0;
    uint16_t device = 0;
    NicKind kind = NicKind::unknown;
    int32_t place = -1;
    int32_t numa = -1;
    int64_t pcie_rate = 0;
    int64_t line_rate = 0;
    bool operator==(const Nic&) const = default;
};

struct Machine {
    std::vector<Place> places;
    std::vector<Gpu> gpus;           // by address
    std::vector<Nic> nics;           // by address, those without one last, by name
    std::vector<std::string> notes;  // one line each: what was ignored, and why
    bool operator==(const Machine&) const = default;
};

inline constexpr uint16_t vendor_amazon = 0x1d0f;
inline constexpr uint16_t vendor_nvidia = 0x10de;

// Amazon numbers the part by generation: efa0 is the first.
constexpr bool is_efa(uint16_t vendor, uint16_t device) {
    return vendor == vendor_amazon && (device & 0xfff0) == 0xefa0;
}

const char* to_string(PlaceKind kind);
const char* to_string(NicKind kind);

// "EFA 0000:10:1b.0", "interface eth0": how messages name a NIC.
std::string nic_label(const Nic& nic);
std::string place_label(const Place& place);  // "package 0", "bridge 0000:44:00.0"

// Puts the devices into the order that Machine promises.
void machine_sort(Machine& machine);

Result<void> machine_check(const Machine& machine);

// Steps from place 0; and how deep the deepest place above both is.
int32_t place_depth(const Machine& machine, int32_t place);
int32_t common_depth(const Machine& machine, int32_t a, int32_t b);

// The NUMA node a place is in or is, -1 if none or unknown.
int32_t place_numa(const Machine& machine, int32_t place);

}  // namespace weft::topology
