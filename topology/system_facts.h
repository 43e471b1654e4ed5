// What hwloc does not say about this machine's devices: drivers, which interfaces can carry
// traffic, line rates. Read from the kernel; what cannot be read is left out. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "topology/graph.h"

namespace weft::topology {

struct Interface {
    bool up = false;         // administratively up, with a carrier
    bool addressed = false;  // has an IPv4 or a global IPv6 address
    bool local = false;      // loopback
    bool bridge = false;     // joins others: no way out of its own
    int64_t line_rate = 0;
    bool operator==(const Interface&) const = default;
};

struct SystemFacts {
    std::map<PciAddress, std::string> drivers;
    std::map<std::string, Interface> interfaces;
    std::map<std::string, int64_t> verbs_rates;  // RDMA device, first port
};

// `sys` is where sysfs is; interfaces are those of the calling thread's network namespace.
SystemFacts system_facts_read(const std::string& sys = "/sys");

// Bytes per second of "100 Gb/sec (4X EDR)" and of a speed in Mb/s ("25000\n", "-1"); 0 unknown.
int64_t verbs_rate_parse(std::string_view text);
int64_t interface_rate_parse(std::string_view text);

}  // namespace weft::topology
