// What a rank tells the others about itself when a communicator is made, and what follows from it:
// whether they fit together and which wire leads to whom. Pure. Thread rule: values, reentrant.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/base/result.h"
#include "src/base/settings.h"

namespace weft {

struct PeerInfo {
    std::string version;         // of the library
    std::string host_key;        // equal: same machine and network namespace
    std::string host_name;       // for people
    uint32_t pid = 0;            // for people: process ids repeat between namespaces
    uint64_t process = 0;        // nonce, equal: same process
    std::string machine;         // equal: same kernel, and so the same cores
    std::vector<uint64_t> cpus;  // a bit for each it may run on
    uint32_t quota = 0;          // of its cgroup in cores, 0: none
    bool on_device = false;      // works on device memory
    std::string kind_why;        // how it found out, for people
    int32_t device = 0;          // on device memory: the number it has in its process
    std::vector<std::pair<std::string, std::string>> settings;  // that must agree on all ranks
    bool operator==(const PeerInfo&) const = default;
};

std::string peer_info_encode(const PeerInfo& info);
Result<PeerInfo> peer_info_decode(std::string_view bytes);
Result<std::vector<PeerInfo>> peer_infos_decode(const std::vector<std::string>& blobs);

// The settings on which the choice of plans and wires depends.
std::vector<std::pair<std::string, std::string>> settings_shared(const Settings& settings);

// One first cause, the same on every rank: a library version or a setting that differs from rank
// 0's.
Result<void> peers_agree(const std::vector<PeerInfo>& infos);

// The same for what ranks tell of a transport they share ("name=value" lines, WireHub::features()):
// the first line that differs from the first rank's that uses it. Empty ones do not use it.
Result<void> features_agree(const std::vector<std::string>& features,
                            const std::vector<PeerInfo>& infos);

enum class WireKind : uint8_t { loopback, shm, fabric };
inline constexpr int wire_kind_count = 3;
const char* to_string(WireKind kind);

// Which wire leads from `mine` to `peer`; an error when the forced one cannot.
Result<WireKind> wire_choose(const PeerInfo& mine, const PeerInfo& peer, const Settings& settings);

// "rank 3 (host a, pid 77)"
std::string peer_name(int32_t rank, const PeerInfo& info);

// What all ranks can tell alike from the same infos.
struct Locality {
    bool one_host = true;             // every pair of ranks is joined by a memory wire
    bool one_process = true;          // every pair of ranks shares an address space and uses it
    std::vector<int32_t> host_ranks;  // ranks on the host of `rank`, ascending
    std::vector<std::vector<int32_t>> hosts;  // the ranks of every host, by their first
    std::vector<int32_t> process_ranks;       // ranks in the process of `rank`, ascending
    bool cores_enough = true;  // every rank of the machine can have a core of its own
    int32_t turns = 1;         // ranks that share a core, on the machine with the most
};
Locality locality_of(const std::vector<PeerInfo>& infos, int32_t rank, const Settings& settings);

}  // namespace weft
