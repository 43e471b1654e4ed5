#include "topology/nccl_xml.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "src/base/log.h"

namespace weft::topology {

namespace {

constexpr int64_t mbit = 1'000'000 / 8;
constexpr int64_t numa_max = 4095;

// Which element may stand in which.
constexpr std::pair<std::string_view, std::string_view> places_allowed[] = {
    {"cpu", "system"}, {"pci", "cpu"},    {"pci", "pci"}, {"nic", "cpu"},     {"nic", "pci"},
    {"gpu", "pci"},    {"nvlink", "gpu"}, {"c2c", "gpu"}, {"pcilink", "pci"}, {"net", "nic"},
};

// Per NVLink and direction, from the data sheets: P100 4 links 160 GB/s in both directions
// together, V100 6 links 300, A100 12 links 600, H100 and H200 18 links 900, B200 and B300 18
// links 1800. 0: not known.
int64_t nvlink_rate_of(int64_t compute_capability) {
    switch (compute_capability) {
        case 60:
            return 20'000'000'000;
        case 70:
        case 80:
        case 90:
            return 25'000'000'000;
        case 100:
        case 103:
            return 50'000'000'000;
        default:
            return 0;
    }
}

class Reader {
  public:
    explicit Reader(const XmlDocument& document)
        : document_(document), facts_(document.elements.size()) {}
    Result<Machine> run();

  private:
    // What is known of an element when its children are read.
    struct Facts {
        bool holds_pci = false, holds_gpu = false, holds_nic = false;
        int32_t place = -1;
        int32_t gpu = -1;  // the device of a <pci>, a <gpu> or a <nic>
        int32_t nic = -1;
        int64_t capability = 0;  // of a <gpu>
    };

    Error fault(const XmlElement& element, const std::string& reason) const {
        return xml_error(document_, element.line, reason);
    }
    Result<void> structure(size_t index);
    Result<void> element(size_t index);
    Result<void> system(const XmlElement& element);
    Result<void> cpu(const XmlElement& element, Facts& facts);
    Result<void> pci(const XmlElement& element, Facts& facts);
    Result<void> pci_bridge(const XmlElement& element, Facts& facts, const PciAddress& address);
    Result<void> gpu(const XmlElement& element, Facts& facts);
    Result<void> nvlink(const XmlElement& element);
    Result<void> net(const XmlElement& element);

    Result<int64_t> number(const XmlElement& element, const char* name, int64_t least, int64_t most,
                           int64_t missing) const;
    Result<const std::string*> needed(const XmlElement& element, const char* name) const;
    Result<int64_t> link_rate(const XmlElement& element) const;
    Facts& above(const XmlElement& element) { return facts_[static_cast<size_t>(element.parent)]; }
    template <class Device>
    void hang(Device& device, int32_t place) {
        device.place = place;
        device.numa = place_numa(machine_, place);
    }

    const XmlDocument& document_;  // borrowed for the call
    Machine machine_;
    std::vector<Facts> facts_;
    std::map<PciAddress, uint32_t> address_lines_;
    std::map<int64_t, uint32_t> numa_lines_, device_lines_;
    std::string host_;
};

Result<const std::string*> Reader::needed(const XmlElement& element, const char* name) const {
    const std::string* text = element.find(name);
    if (text == nullptr) {
        return fault(element, "<" + element.name + "> needs the attribute '" + name + "'");
    }
    return text;
}

// Decimal or 0x; an empty text counts as missing, as NCCL writes it.
Result<int64_t> Reader::number(const XmlElement& element, const char* name, int64_t least,
                               int64_t most, int64_t missing) const {
    const std::string* text = element.find(name);
    if (text == nullptr || text->empty()) {
        return missing;
    }
    const bool hex = text->size() > 2 && text->compare(0, 2, "0x") == 0;
    const size_t first = hex ? 2 : (*text)[0] == '-' ? 1 : 0;
    const char* digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
    const bool is_number = text->size() > first && text->size() <= 18 &&
                           text->find_first_not_of(digits, first) == std::string::npos;
    const int64_t value = is_number ? std::strtoll(text->c_str(), nullptr, hex ? 16 : 10) : 0;
    if (!is_number || value < least || value > most) {
        return fault(element, format("<%s %s=\"%s\">: expected a whole number from %lld to %lld",
                                     element.name.c_str(), name, printable(*text).c_str(),
                                     static_cast<long long>(least), static_cast<long long>(most)));
    }
    return value;
}

// "16.0 GT/s PCIe" or "8 GT/s", times the width. The kernel says "Unknown" where it does not know.
Result<int64_t> Reader::link_rate(const XmlElement& element) const {
    constexpr double gigatransfers_max = 1024;
    const int64_t width = TRY(number(element, "link_width", 0, 255, 0));
    const std::string* text = element.find("link_speed");
    if (text == nullptr || text->empty() || text->compare(0, 7, "Unknown") == 0) {
        return int64_t{0};
    }
    double speed = 0;  // from_chars, because strtod follows the program's locale
    const char* const end = text->data() + text->size();
    const auto read = std::from_chars(text->data(), end, speed);
    const std::string_view unit(read.ptr, static_cast<size_t>(end - read.ptr));
    const bool fits = read.ec == std::errc() && (unit == " GT/s" || unit == " GT/s PCIe");
    if (!fits || !(speed >= 0 && speed <= gigatransfers_max)) {
        return fault(element, "link_speed=\"" + printable(*text) +
                                  "\": expected a rate such as \"16.0 GT/s PCIe\"");
    }
    return pcie_rate(speed, width == 255 ? 0 : width);  // 255: the kernel's "unknown width"
}

Result<void> Reader::structure(size_t index) {
    const XmlElement& element = document_.elements[index];
    if (element.text) {
        return fault(element, "text inside <" + element.name + ">: only elements are expected");
    }
    if (index == 0) {
        return element.name == "system"
                   ? Result<void>()
                   : fault(element,
                           "NCCL's topology starts with <system>, not with <" + element.name + ">");
    }
    const std::string& parent = document_.elements[static_cast<size_t>(element.parent)].name;
    bool known = false;
    bool fits = false;
    for (const auto& [child, holder] : places_allowed) {
        known = known || child == element.name;
        fits = fits || (child == element.name && holder == parent);
    }
    if (!fits) {
        return fault(element, "<" + element.name + ">" +
                                  (known ? " must not stand in <" + parent + ">"
                                         : " is no element of NCCL's topology"));
    }
    Facts& holder = above(element);
    holder.holds_pci = holder.holds_pci || element.name == "pci";
    holder.holds_gpu = holder.holds_gpu || element.name == "gpu";
    holder.holds_nic = holder.holds_nic || element.name == "nic";
    return {};
}

Result<void> Reader::system(const XmlElement& element) {
    TRY(needed(element, "version"));
    TRY(number(element, "version", 1, 1, 1));
    machine_.places.push_back(Place{});
    return {};
}

Result<void> Reader::cpu(const XmlElement& element, Facts& facts) {
    TRY(needed(element, "numaid"));
    const int64_t numa = TRY(number(element, "numaid", -1, numa_max, -1));
    const std::string* host = element.find("host_hash");
    const std::string name = host == nullptr ? "" : *host;
    if (!numa_lines_.empty() && name != host_) {
        return fault(element,
                     "host_hash differs from the first <cpu>'s: only files of one host "
                     "are read");
    }
    host_ = name;
    const auto [other, fresh] = numa_lines_.emplace(numa, element.line);
    if (!fresh) {
        return fault(element, format("NUMA node %lld is given at line %u already",
                                     static_cast<long long>(numa), other->second));
    }
    facts.place = 0;
    if (numa != -1) {
        facts.place = static_cast<int32_t>(machine_.places.size());
        machine_.places.push_back(Place{PlaceKind::numa, 0, static_cast<int32_t>(numa), {}});
    }
    return {};
}

Result<void> Reader::pci_bridge(const XmlElement& element, Facts& facts,
                                const PciAddress& address) {
    if (facts.holds_gpu || facts.holds_nic) {
        return fault(element, "<pci> " + to_string(address) +
                                  " is a device and holds other <pci>: it cannot be both");
    }
    facts.place = static_cast<int32_t>(machine_.places.size());
    machine_.places.push_back(Place{PlaceKind::bridge, above(element).place, -1, address});
    return {};
}

Result<void> Reader::pci(const XmlElement& element, Facts& facts) {
    const std::string& text = *TRY(needed(element, "busid"));
    const auto address = pci_address_parse(text);
    if (!address) {
        return fault(element, "busid=\"" + printable(text) +
                                  "\": expected a PCI address such as 0000:10:1b.0");
    }
    const auto [other, fresh] = address_lines_.emplace(*address, element.line);
    if (!fresh) {
        return fault(element, format("PCI address %s is given at line %u already",
                                     to_string(*address).c_str(), other->second));
    }
    const auto vendor = static_cast<uint16_t>(TRY(number(element, "vendor", 0, 0xffff, 0)));
    const auto device = static_cast<uint16_t>(TRY(number(element, "device", 0, 0xffff, 0)));
    const int64_t base_class = TRY(number(element, "class", 0, 0xffffff, 0)) >> 16;
    const int64_t rate = TRY(link_rate(element));
    if (facts.holds_gpu && facts.holds_nic) {
        return fault(element, "<pci> " + to_string(*address) + " is both a GPU and a NIC");
    }
    if (facts.holds_pci) {
        return pci_bridge(element, facts, *address);
    }
    const bool is_nvidia = vendor == 0 || vendor == vendor_nvidia;
    if (facts.holds_gpu || (!facts.holds_nic && base_class == 0x03 && is_nvidia)) {
        facts.gpu = static_cast<int32_t>(machine_.gpus.size());
        Gpu& gpu = machine_.gpus.emplace_back(Gpu{*address, vendor, device, -1, -1, rate, 0});
        hang(gpu, above(element).place);
    } else if (facts.holds_nic || base_class == 0x02) {
        facts.nic = static_cast<int32_t>(machine_.nics.size());
        const NicKind kind = is_efa(vendor, device) ? NicKind::efa : NicKind::unknown;
        Nic& nic =
            machine_.nics.emplace_back(Nic{*address, "", vendor, device, kind, -1, -1, rate, 0});
        hang(nic, above(element).place);
    }
    return {};
}

Result<void> Reader::gpu(const XmlElement& element, Facts& facts) {
    facts.gpu = above(element).gpu;
    facts.capability = TRY(number(element, "sm", 0, 9999, 0));
    const int64_t device = TRY(number(element, "dev", -1, 65535, -1));
    const auto [other, fresh] = device_lines_.emplace(device, element.line);
    if (!fresh && device != -1) {
        return fault(element, format("GPU dev=\"%lld\" is given at line %u already",
                                     static_cast<long long>(device), other->second));
    }
    return {};
}

Result<void> Reader::nvlink(const XmlElement& element) {
    TRY(needed(element, "count"));
    const int64_t count = TRY(number(element, "count", 0, 1024, 0));
    const Facts& holder = above(element);
    machine_.gpus[static_cast<size_t>(holder.gpu)].nvlink_rate +=
        count * nvlink_rate_of(holder.capability);
    return {};
}

// Under a <pci> the ports of one NIC, whose rates add up; under a <cpu> NICs of their own.
Result<void> Reader::net(const XmlElement& element) {
    constexpr int64_t mbits_max = 100'000'000;
    const int64_t rate = TRY(number(element, "speed", 0, mbits_max, 0)) * mbit;
    const std::string* name = element.find("name");
    const Facts& holder = above(element);
    if (holder.nic != -1) {
        Nic& nic = machine_.nics[static_cast<size_t>(holder.nic)];
        nic.line_rate += rate;
        nic.name = nic.name.empty() && name != nullptr ? printable(*name) : nic.name;
        return {};
    }
    if (name == nullptr || name->empty()) {
        return fault(element, "<net> of a NIC without a PCI address needs the attribute 'name'");
    }
    Nic& nic = machine_.nics.emplace_back();
    nic.name = printable(*name);
    nic.line_rate = rate;
    hang(nic, holder.place);
    return {};
}

Result<void> Reader::element(size_t index) {
    const XmlElement& element = document_.elements[index];
    Facts& facts = facts_[index];
    if (element.name == "system") {
        return system(element);
    }
    if (element.name == "cpu") {
        return cpu(element, facts);
    }
    if (element.name == "pci") {
        return pci(element, facts);
    }
    if (element.name == "gpu") {
        return gpu(element, facts);
    }
    if (element.name == "nvlink") {
        return nvlink(element);
    }
    if (element.name == "nic") {
        facts.nic = above(element).nic;
        facts.place = above(element).place;
        return {};
    }
    return element.name == "net" ? net(element) : Result<void>();
}

Result<Machine> Reader::run() {
    for (size_t i = 0; i < document_.elements.size(); ++i) {
        TRY(structure(i));
    }
    for (size_t i = 0; i < document_.elements.size(); ++i) {
        TRY(element(i));
    }
    machine_sort(machine_);
    auto checked = machine_check(machine_);
    if (!checked.ok()) {
        checked.error().what = document_.file + ": " + checked.error().what;
        return std::move(checked).error();
    }
    return std::move(machine_);
}

}  // namespace

int64_t pcie_rate(double gigatransfers, int64_t width) {
    // Generations 1 and 2 send 10 bits a byte, 3 to 5 send 130 for 128, 6 packs 242 of 256.
    const double payload = gigatransfers < 8    ? 8.0 / 10
                           : gigatransfers < 64 ? 128.0 / 130
                                                : 242.0 / 256;
    return std::llround(gigatransfers * 1e9 / 8 * payload * static_cast<double>(width));
}

Result<Machine> machine_of_nccl(const XmlDocument& document) {
    return Reader(document).run();
}

}  // namespace weft::topology
