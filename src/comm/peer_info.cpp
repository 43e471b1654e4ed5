#include "src/comm/peer_info.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "src/base/bytes.h"
#include "src/base/lines.h"
#include "src/base/log.h"

namespace weft {

namespace {

constexpr size_t text_limit = 1024;
constexpr uint32_t settings_limit = 64;
constexpr uint32_t cpu_words_limit = (1u << 20) / 64;

struct MachineUse {
    std::vector<uint64_t> cpus;  // that any of its ranks may run on
    size_t ranks = 0;
    size_t cores() const {
        size_t cores = 0;
        for (const uint64_t word : cpus) {
            cores += static_cast<size_t>(std::popcount(word));
        }
        return cores;
    }
};

std::unordered_map<std::string, MachineUse> machines_of(const std::vector<PeerInfo>& infos) {
    std::unordered_map<std::string, MachineUse> machines;
    for (const PeerInfo& info : infos) {
        MachineUse& use = machines[info.machine];
        use.ranks++;
        use.cpus.resize(std::max(use.cpus.size(), info.cpus.size()));
        for (size_t i = 0; i < info.cpus.size(); i++) {
            use.cpus[i] |= info.cpus[i];
        }
    }
    return machines;
}

// Ranks of one machine may be bound to cores of their own (mpirun does that), or be confined by a
// quota that the ranks of their container share.
bool cores_suffice(const MachineUse& use, const PeerInfo& mine, size_t host_ranks) {
    return use.ranks <= use.cores() && (mine.quota == 0 || host_ranks <= mine.quota);
}

int32_t turns_of(const std::unordered_map<std::string, MachineUse>& machines) {
    size_t most = 1;
    for (const auto& [name, use] : machines) {
        const size_t cores = std::max<size_t>(use.cores(), 1);
        most = std::max(most, (use.ranks + cores - 1) / cores);
    }
    return static_cast<int32_t>(most);
}

}  // namespace

std::string peer_info_encode(const PeerInfo& info) {
    ByteWriter out;
    out.text(info.version).text(info.host_key).text(info.host_name);
    out.u32(info.pid).u64(info.process).u32(static_cast<uint32_t>(info.settings.size()));
    for (const auto& [name, value] : info.settings) {
        out.text(name).text(value);
    }
    out.u8(info.on_device ? 1 : 0).text(info.kind_why).u32(static_cast<uint32_t>(info.device));
    out.text(info.machine).u32(info.quota).u32(static_cast<uint32_t>(info.cpus.size()));
    for (const uint64_t word : info.cpus) {
        out.u64(word);
    }
    return out.take();
}

// The members before the settings keep their form in all versions, so that a mismatch can be named.
Result<PeerInfo> peer_info_decode(std::string_view bytes) {
    ByteReader in(bytes);
    PeerInfo info;
    info.version = TRY(in.text(text_limit));
    info.host_key = TRY(in.text(text_limit));
    info.host_name = TRY(in.text(text_limit));
    info.pid = TRY(in.u32());
    info.process = TRY(in.u64());
    if (info.version != WEFT_VERSION) {
        return info;
    }
    const uint32_t count = TRY(in.count(settings_limit));
    for (uint32_t i = 0; i < count; i++) {
        std::string name(TRY(in.text(text_limit)));
        std::string value(TRY(in.text(text_limit)));
        info.settings.emplace_back(std::move(name), std::move(value));
    }
    info.on_device = TRY(in.u8()) != 0;
    info.kind_why = TRY(in.text(text_limit));
    info.device = static_cast<int32_t>(TRY(in.u32()));
    info.machine = TRY(in.text(text_limit));
    info.quota = TRY(in.u32());
    const uint32_t words = TRY(in.count(cpu_words_limit));
    for (uint32_t i = 0; i < words; i++) {
        info.cpus.push_back(TRY(in.u64()));
    }
    TRY(in.end());
    return info;
}

Result<std::vector<PeerInfo>> peer_infos_decode(const std::vector<std::string>& blobs) {
    std::vector<PeerInfo> infos;
    infos.reserve(blobs.size());
    for (const std::string& blob : blobs) {
        infos.push_back(TRY(peer_info_decode(blob)));
    }
    return infos;
}

std::vector<std::pair<std::string, std::string>> settings_shared(const Settings& settings) {
    return {
        {"WEFT_EAGER_BYTES", std::to_string(settings.eager_bytes)},
        {"WEFT_TILE_BYTES", std::to_string(settings.tile_bytes)},
        {"NCCL_ALGO", settings.algo},
        {"NCCL_PROTO", settings.proto},
        {"WEFT_TOPOLOGY", settings.topology},
        {"WEFT_PROBE", settings.probe ? "1" : "0"},
        {"WEFT_PLAN", settings.plan.empty() ? "" : "set"},
        {"WEFT_TRANSPORT", settings.transport},
        {"NCCL_SHM_DISABLE", settings.shm_disable ? "1" : "0"},
        {"WEFT_PROVIDER", settings.provider},
        {"WEFT_DEVICE_RELAY", settings.device_relay ? "1" : "0"},
        {"WEFT_DEVICE_BOARD", settings.device_board ? "1" : "0"},
        {"WEFT_DEVICE_HOSTS", std::to_string(settings.device_hosts)},
    };
}

Result<void> peers_agree(const std::vector<PeerInfo>& infos) {
    const PeerInfo& first = infos.front();
    for (size_t rank = 1; rank < infos.size(); rank++) {
        const PeerInfo& info = infos[rank];
        const auto name = [&] { return peer_name(static_cast<int32_t>(rank), info); };
        if (info.version != first.version) {
            return make_error(
                Code::invalid_usage, Scope::communicator,
                format("Mismatched Weft version detected: %s has %s, %s has %s; use the same "
                       "library on all ranks",
                       peer_name(0, first).c_str(), first.version.c_str(), name().c_str(),
                       info.version.c_str()));
        }
        if (info.on_device != first.on_device) {
            const auto works = [](const PeerInfo& one) {
                return format("%s memory (%s)", one.on_device ? "device" : "host",
                              one.kind_why.c_str());
            };
            return make_error(
                Code::invalid_usage, Scope::communicator,
                format("%s works on %s, %s on %s: make a CUDA context current on all ranks, or set "
                       "WEFT_DEVICE alike",
                       peer_name(0, first).c_str(), works(first).c_str(), name().c_str(),
                       works(info).c_str()));
        }
        for (size_t i = 0; i < first.settings.size() && i < info.settings.size(); i++) {
            if (first.settings[i] == info.settings[i]) {
                continue;
            }
            return make_error(
                Code::invalid_usage, Scope::communicator,
                format("%s differs between ranks: \"%s\" on %s, \"%s\" on %s; set it alike",
                       first.settings[i].first.c_str(), first.settings[i].second.c_str(),
                       peer_name(0, first).c_str(), info.settings[i].second.c_str(),
                       name().c_str()));
        }
    }
    return {};
}

Result<void> features_agree(const std::vector<std::string>& features,
                            const std::vector<PeerInfo>& infos) {
    const auto first = std::find_if(features.begin(), features.end(),
                                    [](const std::string& one) { return !one.empty(); });
    for (auto other = first; other != features.end(); ++other) {
        if (other->empty() || *other == *first) {
            continue;
        }
        const LineDifference found = lines_differ(*other, *first);
        const auto name = [&](auto at) {
            const auto rank = at - features.begin();
            return peer_name(static_cast<int32_t>(rank), infos[static_cast<size_t>(rank)]);
        };
        return make_error(
            Code::invalid_usage, Scope::communicator,
            format("the network differs between ranks: %s is %s on %s, %s on %s; use the same "
                   "libfabric, driver and FI_* variables on all hosts (their INFO lines `Using "
                   "network` show all of it)",
                   found.name.c_str(), found.a.c_str(), name(other).c_str(), found.b.c_str(),
                   name(first).c_str()));
    }
    return {};
}

const char* to_string(WireKind kind) {
    switch (kind) {
        case WireKind::loopback:
            return "loopback";
        case WireKind::shm:
            return "shm";
        case WireKind::fabric:
            return "fabric";
    }
    return "?";
}

Result<WireKind> wire_choose(const PeerInfo& mine, const PeerInfo& peer, const Settings& settings) {
    const bool same_process = mine.process == peer.process;
    const bool same_host = mine.host_key == peer.host_key;
    if (settings.transport.empty()) {
        if (same_process) {
            return WireKind::loopback;
        }
        return same_host && !settings.shm_disable ? WireKind::shm : WireKind::fabric;
    }
    if (settings.transport == "fabric") {
        return WireKind::fabric;
    }
    if (settings.transport == "shm" && same_host) {
        return WireKind::shm;
    }
    if (settings.transport == "loopback" && same_process) {
        return WireKind::loopback;
    }
    return make_error(Code::invalid_usage, Scope::communicator,
                      format("WEFT_TRANSPORT=%s cannot reach pid %u on host %s; allowed are "
                             "loopback (within a process), shm (within a host) and fabric",
                             settings.transport.c_str(), peer.pid, peer.host_name.c_str()));
}

std::string peer_name(int32_t rank, const PeerInfo& info) {
    return format("rank %d (host %s, pid %u)", rank, info.host_name.c_str(), info.pid);
}

namespace {

// Every rank makes the same lists, whichever host it is on.
std::vector<std::vector<int32_t>> hosts_of(const std::vector<PeerInfo>& infos) {
    std::vector<std::vector<int32_t>> hosts;
    std::unordered_map<std::string, size_t> known;
    for (size_t i = 0; i < infos.size(); i++) {
        const auto [at, is_new] = known.try_emplace(infos[i].host_key, hosts.size());
        if (is_new) {
            hosts.emplace_back();
        }
        hosts[at->second].push_back(static_cast<int32_t>(i));
    }
    return hosts;
}

}  // namespace

Locality locality_of(const std::vector<PeerInfo>& infos, int32_t rank, const Settings& settings) {
    Locality found;
    const PeerInfo& mine = infos[static_cast<size_t>(rank)];
    for (size_t i = 0; i < infos.size(); i++) {
        const auto other = static_cast<int32_t>(i);
        const bool same_process = infos[i].process == mine.process;
        const bool same_host = infos[i].host_key == mine.host_key;
        if (same_host) {
            found.host_ranks.push_back(other);
        }
        if (same_process) {
            found.process_ranks.push_back(other);
        }
        found.one_host = found.one_host && same_host;
        found.one_process = found.one_process && same_process;
    }
    const auto machines = machines_of(infos);
    found.cores_enough = cores_suffice(machines.at(mine.machine), mine, found.host_ranks.size());
    found.turns = turns_of(machines);
    found.hosts = hosts_of(infos);
    const bool memory_wires = settings.transport != "fabric";
    found.one_process = found.one_process && memory_wires && settings.transport != "shm";
    found.one_host = found.one_host && memory_wires && (found.one_process || !settings.shm_disable);
    return found;
}

}  // namespace weft
