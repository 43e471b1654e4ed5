// What the software device is: NICs, capabilities, limits, and how unkind its network is. Words are
// separated by ',': KEY=VALUE. What the machine has comes first from one of
//
//   nics=4                    plain (default: 1 NIC)
//   profile=p5.48xlarge       an instance type (topology/profiles)
//   xml=FILE                  the EFA devices of an hwloc or NCCL topology file
//
// and is then changed by: rate=250Mbit (0: unlimited) · part=efa2 · caps=read+write+... (also none)
// · pages=N, total-pages=N (memory regions) · seed=N · delay=5us · reorder=300us · duplicate=5% ·
// twice=5% · torn · retransmit=100ms · unresponsive=10s · gone=500ms.
// Thread rule: values, reentrant. Failure rule: one line: "WEFT_EFA_DEVICE: word 'x': reason".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"
#include "tools/efa_device/core/faults.h"
#include "topology/graph.h"

namespace weft::efa {

// The bits of efadv_device_attr.device_caps.
enum Caps : uint32_t {
    caps_read = 1,
    caps_rnr_retry = 2,
    caps_cq_sgid = 4,
    caps_write = 8,
    caps_unsolicited = 16,
    caps_all = 31,
};

struct NicSpec {
    std::string name;  // "rdmap16s27", as rdma-core names them by PCI address
    topology::PciAddress address;
    int64_t rate = 0;  // bytes per second; 0: unlimited
    uint16_t part = 0xefa2;
};

// What the device has; taken from real ones (docs/EFA-DEVICE.md).
struct Limits {
    uint32_t qps = 256;  // of a process and NIC
    uint32_t cqs = 512;
    uint32_t cqes = 32768;
    uint32_t ahs = 1024;
    uint32_t mrs = 262144;
    uint32_t send_queue = 4096;
    uint32_t receive_queue = 32768;
    uint32_t send_sges = 2;
    uint32_t receive_sges = 3;
    uint32_t rdma_sges = 1;
    uint32_t inline_bytes = 32;
    uint64_t pages = uint64_t{1} << 20;  // of a region that others may write
    uint64_t total_pages = 25'000'000;   // of a NIC: about 95 GB
};
inline constexpr uint64_t page_bytes = 4096;

struct Spec {
    std::vector<NicSpec> nics;
    uint32_t caps = caps_all;
    Limits limits;
    uint32_t host = 0;
    uint64_t seed = 1;
    Nanos delay = 0;
    Nanos reorder = 0;           // a packet's delay grows by up to this
    uint32_t duplicate_ppm = 0;  // something of the packet is placed twice
    uint32_t twice_ppm = 0;      // the packet arrives twice
    bool torn = false;           // payload is placed in shuffled pieces
    Nanos retransmit = 100 * nanos_per_ms;
    Nanos unresponsive = 10 * nanos_per_s;  // until a live peer that does not answer is given up
    Nanos gone = nanos_per_s / 2;           // the same for a process that has ended
    Faults faults;
};

inline constexpr uint32_t nic_max = 64;

// Reads the file of xml=.
Result<Spec> spec_parse(std::string_view text);

// What the environment says; empty: not set.
struct SpecTexts {
    std::string device;
    std::string host;
    std::string faults;  // a script, or @FILE
};
Result<Spec> spec_read(const SpecTexts& texts);

}  // namespace weft::efa
