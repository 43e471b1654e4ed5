// EC2 instance types as data: what is expected of a machine of a type, and a cluster of them
// without having one. What is not known is absent. Pure. Thread rule: reentrant. Failure rule: an
// unknown name gives the nearest known one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "topology/cluster.h"
#include "topology/graph.h"

namespace weft::topology {

// Rates are bytes per second in one direction.
struct Profile {
    const char* name;
    const char* gpu;
    int32_t gpus;
    std::optional<int32_t> rails;
    std::optional<int64_t> rail_rate;
    std::optional<int64_t> nvlink_rate;  // per GPU; 0: it has none
    std::optional<int64_t> rail_latency_ns;
    std::optional<uint16_t> efa_device;  // PCI device id
    std::optional<int32_t> numa_nodes;
    std::optional<int64_t> nic_pcie_rate;
};

std::span<const Profile> profiles();
Result<const Profile*> profile_find(std::string_view name);

// N hosts of the type, every GPU a rank, ranks in blocks. An error if the number of rails is not
// known.
Result<Cluster> profile_cluster(const Profile& profile, int32_t hosts);

// What the profile says and what the machine has, a row for each fact.
struct Comparison {
    enum class Verdict : uint8_t { same, different, not_known };
    std::string what;
    std::string expected;
    std::string found;
    Verdict verdict;
};
std::vector<Comparison> profile_compare(const Profile& profile, const Machine& machine);

}  // namespace weft::topology
