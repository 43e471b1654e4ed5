#include "tools/topo/json.h"

#include <functional>

#include "src/base/log.h"
#include "tools/common/output.h"
#include "topology/cluster_text.h"
#include "topology/host.h"

namespace weft::topo {

using namespace topology;
using tools::json_quoted;

namespace {

std::string known(int64_t value) {
    return value > 0 ? std::to_string(value) : "null";
}

std::string index_or_null(int32_t value) {
    return value >= 0 ? std::to_string(value) : "null";
}

std::string address_or_null(const std::optional<PciAddress>& address) {
    return address ? json_quoted(to_string(*address)) : "null";
}

template <class Items>
std::string array(const Items& items, const std::function<std::string(size_t)>& print,
                  const char* separator = ",\n    ") {
    std::string text;
    for (size_t i = 0; i < items.size(); ++i) {
        text += (i == 0 ? "" : separator) + print(i);
    }
    return text;
}

template <class Numbers>
std::string numbers(const Numbers& items) {
    return "[" +
           array(
               items, [&](size_t i) { return std::to_string(items[i]); }, ", ") +
           "]";
}

std::string place_json(const Place& place) {
    return "{\"kind\": " + json_quoted(to_string(place.kind)) +
           ", \"parent\": " + index_or_null(place.parent) +
           ", \"number\": " + index_or_null(place.os_index) +
           ", \"address\": " + address_or_null(place.address) + "}";
}

std::string gpu_json(const Gpu& gpu) {
    return "{\"address\": " + json_quoted(to_string(gpu.address)) +
           format(", \"vendor\": \"%04x\", \"device\": \"%04x\"", gpu.vendor, gpu.device) +
           format(", \"place\": %d, \"numa\": ", gpu.place) + index_or_null(gpu.numa) +
           ", \"pcie_bytes_per_s\": " + known(gpu.pcie_rate) +
           ", \"nvlink_bytes_per_s\": " + known(gpu.nvlink_rate) + "}";
}

std::string nic_json(const View& view, size_t index) {
    const Nic& nic = view.machine.nics[index];
    const char* const kinds[] = {"efa", "verbs", "ethernet", "unknown"};
    return "{\"address\": " + address_or_null(nic.address) +
           ", \"name\": " + json_quoted(nic.name) +
           ", \"kind\": " + json_quoted(kinds[static_cast<size_t>(nic.kind)]) +
           format(", \"vendor\": \"%04x\", \"device\": \"%04x\"", nic.vendor, nic.device) +
           format(", \"place\": %d, \"numa\": ", nic.place) + index_or_null(nic.numa) +
           ", \"pcie_bytes_per_s\": " + known(nic.pcie_rate) +
           ", \"line_bytes_per_s\": " + known(nic.line_rate) +
           ", \"rail\": " + index_or_null(rail_of(view, index)) + "}";
}

std::string rank_json(const View& view, size_t rank) {
    return "{\"place\": " + std::to_string(view.rank_places[rank]) +
           ", \"gpu\": " + index_or_null(view.rank_gpus[rank]) +
           ", \"rails\": " + numbers(view.rails.by_rank[rank]) + "}";
}

}  // namespace

std::string machine_json(const View& view) {
    const Machine& machine = view.machine;
    std::vector<std::string> notes = machine.notes;
    for (std::string& note : rails_notes(machine, view.rails)) {
        notes.push_back(std::move(note));
    }
    const auto cluster = cluster_in_blocks({Hosts{host_of(machine, view.rails), 1}});
    return "{\n  \"places\": [\n    " +
           array(machine.places, [&](size_t i) { return place_json(machine.places[i]); }) +
           "],\n  \"gpus\": [\n    " +
           array(machine.gpus, [&](size_t i) { return gpu_json(machine.gpus[i]); }) +
           "],\n  \"nics\": [\n    " +
           array(machine.nics, [&](size_t i) { return nic_json(view, i); }) +
           "],\n  \"rails\": " + numbers(view.rails.nics) + ",\n  \"ranks\": [\n    " +
           array(view.rank_places, [&](size_t i) { return rank_json(view, i); }) +
           "],\n  \"cluster\": " +
           (cluster.ok() ? json_quoted(cluster_text(cluster.value())) : "null") +
           ",\n  \"notes\": [\n    " +
           array(notes, [&](size_t i) { return json_quoted(notes[i]); }) + "]\n}\n";
}

std::string cluster_json(const Cluster& cluster) {
    std::string hash;
    for (const uint8_t byte : cluster_hash(cluster)) {
        hash += format("%02x", byte);
    }
    const Host& host = cluster.host(0);
    return "{\n  \"cluster\": " + json_quoted(cluster_text(cluster)) +
           format(",\n  \"hosts\": %d,\n  \"ranks\": %d", cluster.host_count(),
                  cluster.rank_count()) +
           ",\n  \"hash\": " + json_quoted(hash) + ",\n  \"rails_of_local_rank\": [\n    " +
           array(host.rank_rails, [&](size_t i) { return numbers(host.rank_rails[i]); }) +
           "],\n  \"rail_bytes_per_s\": [" +
           array(
               host.rail_rates, [&](size_t i) { return known(host.rail_rates[i]); }, ", ") +
           "],\n  \"local_bytes_per_s\": " + known(host.local_rate) +
           ",\n  \"rail_latency_ns\": " + known(host.rail_latency_ns) +
           ",\n  \"local_latency_ns\": " + known(host.local_latency_ns) + "\n}\n";
}

}  // namespace weft::topo
