#include "tools/topo/tree.h"

#include <algorithm>

#include "src/base/log.h"
#include "topology/cluster_text.h"
#include "topology/host.h"
#include "topology/units.h"

namespace weft::topo {

using namespace topology;

namespace {

std::string id_text(uint16_t vendor, uint16_t device) {
    return vendor == 0 ? "" : format("  %04x:%04x", vendor, device);
}

std::string rate_part(const char* what, int64_t rate) {
    return rate == 0 ? "" : "  " + std::string(what) + " " + rate_rounded(rate);
}

std::string gpu_line(const View& view, size_t index) {
    const Gpu& gpu = view.machine.gpus[index];
    const std::string ranks = ranks_of_gpu(view, index);
    return "GPU " + to_string(gpu.address) + id_text(gpu.vendor, gpu.device) +
           rate_part("PCIe", gpu.pcie_rate) + rate_part("NVLink", gpu.nvlink_rate) +
           (ranks.empty() ? "" : "  " + ranks);
}

std::string nic_text(const Nic& nic) {
    const bool unsaid = nic.kind == NicKind::efa && nic.address && !nic.name.empty();
    return nic_label(nic) + (unsaid ? " " + nic.name : "") + id_text(nic.vendor, nic.device) +
           rate_part("line", nic.line_rate) + rate_part("PCIe", nic.pcie_rate);
}

// Places are printed with what is inside them; bridges only if something is.
class Tree {
  public:
    explicit Tree(const View& view) : view_(view), children_(view.machine.places.size()) {
        for (size_t i = 1; i < view.machine.places.size(); ++i) {
            children_[static_cast<size_t>(view.machine.places[i].parent)].push_back(i);
        }
    }
    std::string text() { return place(0, 0); }

  private:
    std::string place(size_t index, size_t depth) {
        const std::string indent(2 * depth, ' ');
        std::string inside = devices(index, indent + "  ");
        for (const size_t child : children_[index]) {
            inside += place(child, depth + 1);
        }
        const Place& here = view_.machine.places[index];
        const bool bridge = here.kind == PlaceKind::bridge || here.kind == PlaceKind::host_bridge;
        if (bridge && inside.empty()) {
            return "";
        }
        const std::string ranks = ranks_of_place(view_, index);
        return indent + place_label(here) + (ranks.empty() ? "" : "  " + ranks) + "\n" + inside;
    }

    std::string devices(size_t index, const std::string& indent) {
        std::string text;
        for (size_t i = 0; i < view_.machine.gpus.size(); ++i) {
            if (view_.machine.gpus[i].place == static_cast<int32_t>(index)) {
                text += indent + gpu_line(view_, i) + "\n";
            }
        }
        for (size_t i = 0; i < view_.machine.nics.size(); ++i) {
            const Nic& nic = view_.machine.nics[i];
            const int32_t rail = rail_of(view_, i);
            if (nic.place == static_cast<int32_t>(index) && rail >= 0) {
                text += indent + nic_text(nic) + format("  rail %d\n", rail);
            }
        }
        return text;
    }

    const View& view_;
    std::vector<std::vector<size_t>> children_;
};

std::string ranks_text(const View& view) {
    std::string text;
    for (size_t rank = 0; rank < view.rank_places.size(); ++rank) {
        const int32_t gpu = view.rank_gpus[rank];
        const auto place = static_cast<size_t>(view.rank_places[rank]);
        const std::string where =
            gpu >= 0 ? "GPU " + to_string(view.machine.gpus[static_cast<size_t>(gpu)].address)
                     : place_label(view.machine.places[place]);
        const auto& rails = view.rails.by_rank[rank];
        text += format("rank %zu: %s, ", rank, where.c_str()) +
                (rails.empty() ? "no rail" : (rails.size() == 1 ? "rail " : "rails ")) +
                list_text(rails) + "\n";
    }
    return text;
}

std::string optional_rate(const std::optional<int64_t>& rate) {
    return !rate ? "unknown" : *rate == 0 ? "none" : rate_rounded(*rate);
}

}  // namespace

std::string tree_text(const View& view) {
    std::string text = Tree(view).text() + "\n" + ranks_text(view);
    const Host host = host_of(view.machine, view.rails);
    const auto cluster = cluster_in_blocks({Hosts{host, 1}});
    text += cluster.ok() ? "\nas a cluster: " + cluster_text(cluster.value()) + "\n" : "";
    for (const auto& notes : {view.machine.notes, rails_notes(view.machine, view.rails)}) {
        for (const std::string& note : notes) {
            text += "note: " + note + "\n";
        }
    }
    return text;
}

std::string comparison_text(std::span<const Comparison> rows) {
    std::string text;
    for (const Comparison& row : rows) {
        const char* verdict = row.verdict == Comparison::Verdict::same        ? "same"
                              : row.verdict == Comparison::Verdict::different ? "DIFFERENT"
                                                                              : "not known";
        text += format("%-16s expected %-14s found %-14s %s\n", row.what.c_str(),
                       row.expected.c_str(), row.found.c_str(), verdict);
    }
    return text;
}

std::string profiles_text() {
    std::string text = format("%-20s %-16s %-8s %-12s %-16s %s\n", "name", "GPUs", "rails", "each",
                              "NVLink per GPU", "latency");
    for (const Profile& profile : profiles()) {
        const std::string gpus = std::to_string(profile.gpus) + " x " + profile.gpu;
        const std::string rails = profile.rails ? std::to_string(*profile.rails) : "unknown";
        text += format("%-20s %-16s %-8s %-12s %-16s %s\n", profile.name, gpus.c_str(),
                       rails.c_str(), optional_rate(profile.rail_rate).c_str(),
                       optional_rate(profile.nvlink_rate).c_str(),
                       latency_text(profile.rail_latency_ns.value_or(0)).c_str());
    }
    return text;
}

std::string cluster_summary(const Cluster& cluster) {
    std::string text = cluster_text(cluster) + "\n";
    text += format("%d hosts, %d ranks, hash ", cluster.host_count(), cluster.rank_count());
    for (const uint8_t byte : cluster_hash(cluster)) {
        text += format("%02x", byte);
    }
    text += "\nevery host:\n";
    const Host& host = cluster.host(0);
    for (size_t local = 0; local < host.rank_rails.size(); ++local) {
        const auto& rails = host.rank_rails[local];
        text += format("  local rank %zu: %s ", local, rails.size() == 1 ? "rail" : "rails") +
                list_text({rails.begin(), rails.end()}) + "\n";
    }
    return text;
}

}  // namespace weft::topo
