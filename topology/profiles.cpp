#include "topology/profiles.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "src/base/log.h"
#include "src/base/names.h"
#include "topology/rails.h"
#include "topology/units.h"
#include "topology/xml.h"

namespace weft::topology {

namespace {

constexpr int64_t gbit = 1'000'000'000 / 8;
constexpr int64_t gigabyte = 1'000'000'000;
constexpr int64_t us = 1'000;
constexpr std::nullopt_t unknown = std::nullopt;

// GPUs, EFA rates and counts: karpenter-provider-aws, zz_generated.bandwidth.go and
// zz_generated.vpclimits.go (August 2026). NVLink: NVIDIA's data sheets, half of the sum of both
// directions. EFA ids, NUMA nodes and PCIe rates: the hwloc recordings of ai-dynamo/nixl. Latency:
// aws-ofi-nccl's tuner model for p5 and p5en, its platform table for the others (platform-aws.cpp);
// neither was measured here. p6e-gb200: sources differ on how many EFA devices a host shows.
// clang-format off
constexpr Profile table[] = {
    // name             GPU             n  rails    rail rate    NVLink per GPU  latency   EFA id   NUMA     NIC's PCIe
    {"p3dn.24xlarge", "V100 32G",       8, 1,       100 * gbit, 150 * gigabyte, 150 * us, 0xefa0,  2,       unknown},
    {"p4d.24xlarge",  "A100 40G",       8, 4,       100 * gbit, 300 * gigabyte, 75 * us,  0xefa0,  2,       unknown},
    {"p4de.24xlarge", "A100 80G",       8, 4,       100 * gbit, 300 * gigabyte, 75 * us,  0xefa0,  2,       unknown},
    {"p5.4xlarge",    "H100",           1, 1,       100 * gbit, unknown,        unknown,  0xefa1,  unknown, unknown},
    {"p5.48xlarge",   "H100",           8, 32,      100 * gbit, 450 * gigabyte, 20 * us,  0xefa1,  2,       15'753'846'154},
    {"p5e.48xlarge",  "H200",           8, 32,      100 * gbit, 450 * gigabyte, 20 * us,  0xefa1,  2,       15'753'846'154},
    {"p5en.48xlarge", "H200",           8, 16,      200 * gbit, 450 * gigabyte, 18 * us,  0xefa2,  2,       31'507'692'308},
    {"p6-b200.48xlarge", "B200",        8, 8,       400 * gbit, 900 * gigabyte, 35 * us,  0xefa3,  2,       63'015'384'615},
    {"p6-b300.48xlarge", "B300",        8, 16,      400 * gbit, 900 * gigabyte, 35 * us,  unknown, 2,       unknown},
    {"p6e-gb200.36xlarge", "B200",      4, unknown, unknown,    900 * gigabyte, unknown,  0xefa3,  unknown,   63'015'384'615},
    {"g5.48xlarge",   "A10G",           8, 1,       100 * gbit, 0,              unknown,  0xefa0,  2,       unknown},
    {"g6.48xlarge",   "L4",             8, 1,       100 * gbit, 0,              unknown,  0xefa1,  2,       unknown},
    {"g6e.12xlarge",  "L40S",           4, 1,       100 * gbit, 0,              unknown,  unknown, unknown, unknown},
    {"g6e.24xlarge",  "L40S",           4, 2,       100 * gbit, 0,              unknown,  unknown, unknown, unknown},
    {"g6e.48xlarge",  "L40S",           8, 4,       100 * gbit, 0,              unknown,  unknown, unknown, unknown},
    {"g7e.12xlarge",  "RTX PRO 6000",   2, 1,       400 * gbit, 0,              unknown,  unknown, unknown, unknown},
    {"g7e.24xlarge",  "RTX PRO 6000",   4, 2,       400 * gbit, 0,              unknown,  unknown, unknown, unknown},
    {"g7e.48xlarge",  "RTX PRO 6000",   8, 4,       400 * gbit, 0,              unknown,  unknown, unknown, unknown},
};
// clang-format on

using Verdict = Comparison::Verdict;

Comparison compare(std::string what, std::optional<std::string> expected,
                   std::optional<std::string> found) {
    const Verdict verdict = !expected || !found   ? Verdict::not_known
                            : *expected == *found ? Verdict::same
                                                  : Verdict::different;
    return {std::move(what), expected.value_or("unknown"), found.value_or("unknown"), verdict};
}

std::optional<std::string> count_text(std::optional<int64_t> count) {
    return count ? std::optional(std::to_string(*count)) : std::nullopt;
}

// Rates that agree to a fiftieth are the same: the tools round line codes differently.
Comparison compare_rates(std::string what, std::optional<int64_t> expected,
                         const std::set<int64_t>& found) {
    std::string texts;
    bool same = expected.has_value();
    for (const int64_t rate : found) {
        texts += (texts.empty() ? "" : ", ") + rate_rounded(rate);
        same = same && std::llabs(rate - *expected) <= *expected / 50;
    }
    const bool known = expected && !found.empty() && found.count(0) == 0;
    const Verdict verdict = !known ? Verdict::not_known : same ? Verdict::same : Verdict::different;
    const std::string wanted = !expected        ? "unknown"
                               : *expected == 0 ? "none"
                                                : rate_rounded(*expected);
    return {std::move(what), wanted, texts.empty() ? "unknown" : texts, verdict};
}

std::string spread(const RailMap& map) {
    size_t least = SIZE_MAX;
    size_t most = 0;
    for (const auto& rails : map.by_rank) {
        least = std::min(least, rails.size());
        most = std::max(most, rails.size());
    }
    if (map.by_rank.empty()) {
        return "0";
    }
    return std::to_string(least) + (least == most ? "" : " to " + std::to_string(most));
}

// How many rails a rank has when it is as even as can be.
std::optional<std::string> expected_spread(const Profile& profile) {
    if (!profile.rails) {
        return {};
    }
    RailMap map;
    for (const auto& rails : rails_in_blocks(profile.gpus, *profile.rails)) {
        map.by_rank.emplace_back(rails.begin(), rails.end());
    }
    return spread(map);
}

std::optional<std::string> id_text(std::optional<uint16_t> device) {
    return device ? std::optional(format("1d0f:%04x", *device)) : std::nullopt;
}

std::optional<std::string> ids_found(const Machine& machine, const RailMap& map) {
    std::set<std::string> ids;
    for (const int32_t index : map.nics) {
        const Nic& nic = machine.nics[static_cast<size_t>(index)];
        if (nic.vendor != 0) {
            ids.insert(format("%04x:%04x", nic.vendor, nic.device));
        }
    }
    std::string text;
    for (const std::string& id : ids) {
        text += (text.empty() ? "" : ", ") + id;
    }
    return ids.empty() ? std::nullopt : std::optional(text);
}

}  // namespace

std::span<const Profile> profiles() {
    return table;
}

Result<const Profile*> profile_find(std::string_view name) {
    std::vector<std::string_view> names;
    for (const Profile& profile : table) {
        if (name == profile.name) {
            return &profile;
        }
        names.emplace_back(profile.name);
    }
    return make_error(Code::invalid_argument, Scope::call,
                      "profile '" + printable(name) + "' is unknown; the nearest one is " +
                          std::string(nearest_name(name, names)));
}

Result<Cluster> profile_cluster(const Profile& profile, int32_t hosts) {
    if (!profile.rails) {
        return make_error(Code::unsupported, Scope::call,
                          format("%s: how many EFA devices a host has is not known; describe the "
                                 "cluster as \"hosts=%d ranks=%d rails=... nic=...\"",
                                 profile.name, hosts, profile.gpus));
    }
    Host host;
    host.rank_rails = rails_in_blocks(profile.gpus, *profile.rails);
    host.rail_rates.assign(static_cast<size_t>(*profile.rails), profile.rail_rate.value_or(0));
    host.local_rate = profile.nvlink_rate.value_or(0);
    host.rail_latency_ns = profile.rail_latency_ns.value_or(0);
    return cluster_in_blocks({Hosts{std::move(host), hosts}});
}

std::vector<Comparison> profile_compare(const Profile& profile, const Machine& machine) {
    const RailMap map = rails_map(machine, gpu_places(machine));
    const bool any_efa = rail_kind(machine) == NicKind::efa;
    // A file that does not say what its NICs are may still be right about their number.
    const bool countable = any_efa || rail_kind(machine) == NicKind::unknown;
    std::set<int64_t> lines, links, nvlinks;
    for (const int32_t index : map.nics) {
        const Nic& nic = machine.nics[static_cast<size_t>(index)];
        lines.insert(nic.line_rate);
        links.insert(nic.pcie_rate);
    }
    for (const Gpu& gpu : machine.gpus) {
        nvlinks.insert(gpu.nvlink_rate);
    }
    const auto numa = std::count_if(machine.places.begin(), machine.places.end(),
                                    [](const Place& p) { return p.kind == PlaceKind::numa; });
    const auto rails = static_cast<int64_t>(countable ? map.nics.size() : 0);
    return {
        compare("GPUs", count_text(profile.gpus),
                count_text(static_cast<int64_t>(machine.gpus.size()))),
        compare("EFA rails", count_text(profile.rails), count_text(rails)),
        compare("rails per GPU", expected_spread(profile), countable ? spread(map) : "0"),
        compare("EFA device", id_text(profile.efa_device),
                countable ? ids_found(machine, map) : "none"),
        compare_rates("rail rate", profile.rail_rate, lines),
        compare_rates("NIC's PCIe rate", profile.nic_pcie_rate, links),
        compare_rates("NVLink per GPU", profile.nvlink_rate, nvlinks),
        compare("NUMA nodes", count_text(profile.numa_nodes), count_text(numa)),
    };
}

}  // namespace weft::topology
