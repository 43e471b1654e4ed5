#include "src/sim/network.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft::sim {

namespace {

constexpr int32_t rank_count_max = 1 << 20;

Error bad(const std::string& what) {
    return make_error(Code::invalid_argument, Scope::call, "network description: " + what);
}

Result<void> port_check(const Port& port, const char* name) {
    if (!(port.bytes_per_ns > 0) || port.latency_ns < 0 || port.gap_ns < 0) {
        return bad(
            format("%s with %g bytes per ns, latency %g ns, gap %g ns: expected a positive "
                   "rate and no negative times",
                   name, port.bytes_per_ns, port.latency_ns, port.gap_ns));
    }
    return {};
}

}  // namespace

Network::OwnRails Network::own_rails(int32_t local) const {
    const auto count = static_cast<int32_t>(rails.size());
    const int32_t first = local * count / ranks_per_host;
    return {first, std::max(1, (local + 1) * count / ranks_per_host - first)};
}

Result<void> network_check(const Network& network) {
    if (network.hosts < 1 || network.ranks_per_host < 1 ||
        network.hosts > rank_count_max / network.ranks_per_host) {
        return bad(format("%d hosts of %d ranks: expected 1 to %d ranks in all", network.hosts,
                          network.ranks_per_host, rank_count_max));
    }
    if (network.hosts > 1 && network.rails.empty()) {
        return bad(format("%d hosts and no rails: name at least one", network.hosts));
    }
    TRY(port_check(network.intra, "the port inside a host"));
    for (const Port& rail : network.rails) {
        TRY(port_check(rail, "a rail"));
    }
    for (const RailFault& fault : network.faults) {
        const bool known = fault.host >= 0 && fault.host < network.hosts && fault.rail >= 0 &&
                           static_cast<size_t>(fault.rail) < network.rails.size();
        if (!known || !(fault.rate > 0)) {
            return bad(format("rail %d of host %d at %g of its rate: no such rail, or no rate",
                              fault.rail, fault.host, fault.rate));
        }
    }
    if (!(network.cross_rail_rate > 0)) {
        return bad(format("cross_rail_rate %g: expected more than 0", network.cross_rail_rate));
    }
    const Compute& compute = network.compute;
    const double least =
        std::min({network.intra_overhead.post_ns, network.inter_overhead.post_ns,
                  network.intra_overhead.completion_ns, network.inter_overhead.completion_ns,
                  network.intra_overhead.post_ns_per_byte, network.inter_overhead.post_ns_per_byte,
                  compute.step_ns, compute.copy_bytes_per_ns, compute.reduce_bytes_per_ns});
    if (least < 0) {
        return bad("an overhead or a rate of computing is negative");
    }
    if (network.header_bytes == 0 || network.control_bytes == 0) {
        return bad("messages without header bytes: expected at least 1");
    }
    return {};
}

uint32_t pieces_of(const Network& network, uint64_t bytes, int32_t own_rails) {
    const uint64_t fit = network.stripe_bytes_min == 0 ? bytes : bytes / network.stripe_bytes_min;
    return static_cast<uint32_t>(
        std::clamp<uint64_t>(fit, 1, static_cast<uint64_t>(std::max(own_rails, 1))));
}

}  // namespace weft::sim
