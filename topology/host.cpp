#include "topology/host.h"

#include <algorithm>

namespace weft::topology {

Host host_of(const Machine& machine, const RailMap& map) {
    Host host;
    for (const int32_t index : map.nics) {
        const Nic& nic = machine.nics[static_cast<size_t>(index)];
        const bool limited = nic.pcie_rate > 0 && nic.pcie_rate < nic.line_rate;
        host.rail_rates.push_back(limited ? nic.pcie_rate : nic.line_rate);
    }
    for (const auto& rails : map.by_rank) {
        host.rank_rails.emplace_back(rails.begin(), rails.end());
    }
    for (const Gpu& gpu : machine.gpus) {
        const bool first = &gpu == &machine.gpus.front();
        host.local_rate = first ? gpu.nvlink_rate : std::min(host.local_rate, gpu.nvlink_rate);
    }
    return host;
}

}  // namespace weft::topology
