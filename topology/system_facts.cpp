#include "topology/system_facts.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <vector>

#include "src/base/machine.h"

namespace weft::topology {

namespace {

bool is_routable(const sockaddr* address) {
    if (address == nullptr) {
        return false;
    }
    if (address->sa_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
        return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr);
    }
    return address->sa_family == AF_INET;
}

// The kernel's list holds an interface once for each of its addresses, and once for itself.
std::map<std::string, Interface> interfaces_read(const std::string& sys) {
    std::map<std::string, Interface> interfaces;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) {
        return interfaces;
    }
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        Interface& interface = interfaces[entry->ifa_name];
        const bool running = (entry->ifa_flags & IFF_RUNNING) != 0;
        interface.up = running && (entry->ifa_flags & IFF_UP) != 0;
        interface.local = (entry->ifa_flags & IFF_LOOPBACK) != 0;
        interface.addressed = interface.addressed || is_routable(entry->ifa_addr);
    }
    freeifaddrs(list);
    for (auto& [name, interface] : interfaces) {
        const std::string folder = sys + "/class/net/" + name;
        interface.bridge = access((folder + "/bridge").c_str(), F_OK) == 0;
        interface.line_rate = interface_rate_parse(file_line(folder + "/speed"));
    }
    return interfaces;
}

}  // namespace

int64_t verbs_rate_parse(std::string_view text) {
    double gbits = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), gbits);
    text.remove_prefix(static_cast<size_t>(read.ptr - text.data()));
    const bool is_rate = read.ec == std::errc() && text.substr(0, 7) == " Gb/sec";
    return is_rate && gbits > 0 && gbits < 1e6 ? std::llround(gbits * 1e9 / 8) : 0;
}

int64_t interface_rate_parse(std::string_view text) {
    constexpr int64_t mbits_max = 100'000'000;
    int64_t mbits = 0;
    std::from_chars(text.data(), text.data() + text.size(), mbits);
    // Virtual interfaces say -1, or the largest number of 32 bits.
    return mbits > 0 && mbits < mbits_max ? mbits * 125'000 : 0;
}

SystemFacts system_facts_read(const std::string& sys) {
    SystemFacts facts;
    const std::string devices = sys + "/bus/pci/devices/";
    for (const std::string& name : folder_entries(devices)) {
        const auto address = pci_address_parse(name);
        const std::string driver = link_name(devices + name + "/driver");
        if (address && !driver.empty()) {
            facts.drivers[*address] = driver;
        }
    }
    const std::string verbs = sys + "/class/infiniband/";
    for (const std::string& name : folder_entries(verbs)) {
        facts.verbs_rates[name] = verbs_rate_parse(file_line(verbs + name + "/ports/1/rate"));
    }
    facts.interfaces = interfaces_read(sys);
    return facts;
}

}  // namespace weft::topology
