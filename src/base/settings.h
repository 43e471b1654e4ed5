// One typed table of every setting, read once: environment > NCCL_CONF_FILE or ~/.nccl.conf >
// /etc/nccl.conf. The table also prints docs/SETTINGS.md. Unknown WEFT_* names warn with the
// nearest known one. Thread-safe after settings() returned once. Nothing else in the tree reads the
// environment.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weft {

struct Settings {
    // --- logging (NCCL_DEBUG*)
    std::string debug;                   // NCCL_DEBUG: NONE VERSION WARN INFO ABORT TRACE
    std::string debug_subsys;            // NCCL_DEBUG_SUBSYS
    std::string debug_file;              // NCCL_DEBUG_FILE with %h %p
    std::string debug_timestamp_format;  // NCCL_DEBUG_TIMESTAMP_FORMAT
    std::string debug_timestamp_levels;  // NCCL_DEBUG_TIMESTAMP_LEVELS
    // --- bootstrap and control
    std::string socket_ifname;     // NCCL_SOCKET_IFNAME
    std::string socket_family;     // NCCL_SOCKET_FAMILY: AF_INET, AF_INET6 or empty
    std::string comm_id;           // NCCL_COMM_ID
    std::string host_id;           // NCCL_HOSTID
    std::string secret;            // WEFT_SECRET
    std::string secret_file;       // WEFT_SECRET_FILE
    int64_t init_timeout_s = 600;  // WEFT_INIT_TIMEOUT
    // --- communicators
    std::optional<int64_t> comm_blocking;      // NCCL_COMM_BLOCKING
    std::optional<int64_t> comm_split_share;   // NCCL_COMM_SPLIT_SHARE_RESOURCES
    std::optional<int64_t> comm_shrink_share;  // NCCL_COMM_SHRINK_SHARE_RESOURCES
    std::optional<int64_t> cga_cluster_size, min_ctas, max_ctas, cta_policy, collnet_enable,
        nvls_nchannels, nchannels_per_net_peer, graph_mixing_support, graph_stream_ordering,
        p2p_max_peers, num_rma_ctx;
    std::string net;             // NCCL_NET
    bool local_register = true;  // NCCL_LOCAL_REGISTER
    bool win_enable = true;      // NCCL_WIN_ENABLE
    // --- transports
    bool shm_disable = false;      // NCCL_SHM_DISABLE
    bool cma_disable = false;      // WEFT_CMA_DISABLE: no process_vm_readv, always staged
    std::string device;            // WEFT_DEVICE: host, cuda, or empty to look
    bool device_relay = false;     // WEFT_DEVICE_RELAY: device memory always by way of host memory
    bool device_board = false;     // WEFT_DEVICE_BOARD: by boards where one kernel could do
    int64_t device_hosts = 0;      // WEFT_DEVICE_HOSTS: as if on so many hosts, for device memory
    int64_t device_threads = 512;  // WEFT_DEVICE_THREADS: the most a block has
    std::string device_loops;      // WEFT_DEVICE_LOOPS: how a kernel's innermost loops go
    std::string libcuda;           // WEFT_LIBCUDA: path of the CUDA driver
    std::string libfabric;         // WEFT_LIBFABRIC: path of libfabric.so.1
    std::string provider;    // WEFT_PROVIDER: libfabric provider ("tcp;ofi_rxm"), empty = choose
    bool allow_tcp = false;  // WEFT_ALLOW_TCP: go on over TCP where EFA cannot be used
    bool gpudirect = true;   // WEFT_GPUDIRECT: NICs reach GPU memory where they can
    std::string rails;       // WEFT_RAILS: comma list of source addresses or interface names
    std::string transport;   // WEFT_TRANSPORT: force one: loopback, shm, fabric (tests)
    int64_t eager_bytes = 8192;  // WEFT_EAGER_BYTES
    int64_t tile_bytes = 0;      // WEFT_TILE_BYTES, 0 = choose
    std::string fault;           // WEFT_FAULT: fault injector spec (tests)
    // --- execution
    std::string algo;            // NCCL_ALGO: a list (src/plan/algo_list.h), empty = choose
    std::string proto;           // NCCL_PROTO: the same of Simple, LL, LL128
    std::string plan;            // WEFT_PLAN: files of plans that replace the choice
    bool explain = false;        // WEFT_EXPLAIN
    bool probe = false;          // WEFT_PROBE: measure latencies and rates at init
    std::string topology;        // WEFT_TOPOLOGY: instance type, cluster in words, or machine file
    std::string topo_file;       // NCCL_TOPO_FILE
    int64_t spin_us = -1;        // WEFT_SPIN_US, -1 = by ranks per core
    bool stats = false;          // WEFT_STATS
    int64_t late_report_s = 10;  // WEFT_LATE_REPORT: report a wait that lasts this long
    int64_t memory_budget_mb = 4096;  // WEFT_MEMORY_BUDGET
    int64_t registered_mb = 32768;    // WEFT_REGISTERED_MEMORY
    int64_t stage_bytes = -1;         // WEFT_STAGE_BYTES, -1 = by provider
};

// The process's table, read on first use. What was wrong with what it read is logged once, then.
const Settings& settings();

// Where a value came from, for `explain` and INFO lines: "environment", "file:LINE", "default".
std::string settings_origin(std::string_view name);

// Pure pieces, tested apart: parse a conf file's text (the first of equal names wins); build a
// table from sources, highest priority first.
struct SettingValue {
    std::string text;
    std::string origin;
};
using SettingSource = std::map<std::string, SettingValue>;
struct SettingsTable {
    Settings values;
    SettingSource chosen;               // what was set, by name, and from where
    std::vector<std::string> warnings;  // one line each: name, value, origin, what is accepted
};
SettingSource conf_parse(std::string_view text, std::string_view path,
                         std::vector<std::string>& warnings);
SettingsTable settings_build(const std::vector<SettingSource>& by_priority);

std::string settings_reference();  // the text of docs/SETTINGS.md
std::string settings_explain();    // every setting of this process: value and origin, one a line

}  // namespace weft
