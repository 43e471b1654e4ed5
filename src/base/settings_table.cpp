#include "src/base/settings_table.h"

namespace weft {

namespace {

using S = Settings;

constexpr const char* logging = "Logging";
constexpr const char* files = "Configuration files";
constexpr const char* control = "Bootstrap and control";
constexpr const char* communicators = "Communicators";
constexpr const char* transports = "Transports";
constexpr const char* execution = "Execution";
constexpr const char* ignored = "Accepted, no effect yet";

constexpr SettingRow rows[] = {
    {logging, "NCCL_DEBUG", &S::debug,
     "how much to log; unset prints warnings only, NONE not even those",
     "NONE VERSION WARN INFO ABORT TRACE"},
    {logging, "NCCL_DEBUG_SUBSYS", &S::debug_subsys,
     "comma list of subsystems to log at INFO and TRACE, all but these with a leading ^; unset is "
     "INIT,BOOTSTRAP,ENV"},
    {logging, "NCCL_DEBUG_FILE", &S::debug_file,
     "log to this file above level VERSION; %h is the host, %p the process id; unset is stdout"},
    {logging, "NCCL_DEBUG_TIMESTAMP_FORMAT", &S::debug_timestamp_format,
     "strftime format of time stamps, %3f for milliseconds, _ for a blank; unset is `[%F %T] `"},
    {logging, "NCCL_DEBUG_TIMESTAMP_LEVELS", &S::debug_timestamp_levels,
     "comma list of levels that carry a time stamp, all but these with a leading ^; unset is WARN"},

    {files,
     "NCCL_CONF_FILE",
     {},
     "settings file read in place of ~/.nccl.conf (environment only); NAME=VALUE lines, # "
     "comments"},

    {control, "NCCL_SOCKET_IFNAME", &S::socket_ifname,
     "interfaces for control connections: comma list of name prefixes, exact names after a leading "
     "=, all but these after a leading ^; unset offers every interface that is up"},
    {control, "NCCL_SOCKET_FAMILY", &S::socket_family, "restrict control connections to one family",
     "AF_INET AF_INET6"},
    {control, "NCCL_COMM_ID", &S::comm_id,
     "meet at this address (`ip:port`, `[ip6]:port` or `host:port`), opened by rank 0's process, "
     "instead of the one in the unique id"},
    {control, "NCCL_HOSTID", &S::host_id,
     "ranks with equal texts count as on one host; unset is boot id, network namespace and host "
     "name"},
    {control, "WEFT_SECRET", &S::secret,
     "secret that authenticates control connections when NCCL_COMM_ID is used", nullptr, INT64_MIN,
     INT64_MAX, true},
    {control, "WEFT_SECRET_FILE", &S::secret_file,
     "file with that secret, readable by its owner only (mode 0600 or stricter); goes before "
     "WEFT_SECRET"},
    {control, "WEFT_INIT_TIMEOUT", &S::init_timeout_s,
     "seconds after which a communicator fails that misses ranks, or that gets nothing through to "
     "one of them on one of its rails",
     nullptr, 1, 1000000},

    {communicators, "NCCL_COMM_BLOCKING", &S::comm_blocking,
     "1 or 0 overrides `blocking` of every communicator's configuration", nullptr, 0, 1},
    {communicators, "NCCL_COMM_SPLIT_SHARE_RESOURCES", &S::comm_split_share,
     "overrides `splitShare`", nullptr, 0, 1},
    {communicators, "NCCL_COMM_SHRINK_SHARE_RESOURCES", &S::comm_shrink_share,
     "overrides `shrinkShare`", nullptr, 0, 1},
    {communicators, "NCCL_CGA_CLUSTER_SIZE", &S::cga_cluster_size, "overrides `cgaClusterSize`",
     nullptr, 0, 8},
    {communicators, "NCCL_MIN_CTAS", &S::min_ctas, "overrides `minCTAs`", nullptr, 1, 1024},
    {communicators, "NCCL_MAX_CTAS", &S::max_ctas, "overrides `maxCTAs`", nullptr, 1, 1024},
    {communicators, "NCCL_CTA_POLICY", &S::cta_policy, "overrides `CTAPolicy`", nullptr, 0, 3},
    {communicators, "NCCL_COLLNET_ENABLE", &S::collnet_enable, "overrides `collnetEnable`", nullptr,
     0, 1},
    {communicators, "NCCL_NVLS_NCHANNELS", &S::nvls_nchannels, "overrides `nvlsCTAs`", nullptr, 0,
     1024},
    {communicators, "NCCL_NCHANNELS_PER_NET_PEER", &S::nchannels_per_net_peer,
     "overrides `nChannelsPerNetPeer`", nullptr, 1, 1024},
    {communicators, "NCCL_GRAPH_MIXING_SUPPORT", &S::graph_mixing_support,
     "overrides `graphUsageMode`", nullptr, 0, 2},
    {communicators, "NCCL_GRAPH_STREAM_ORDERING", &S::graph_stream_ordering,
     "overrides `graphStreamOrdering`", nullptr, 0, 1},
    {communicators, "NCCL_P2P_MAX_PEERS", &S::p2p_max_peers, "overrides `maxP2pPeers`", nullptr, 0,
     INT32_MAX},
    {communicators, "NCCL_NUM_RMA_CTX", &S::num_rma_ctx, "overrides `numRmaCtx`", nullptr, 0, 1024},
    {communicators, "NCCL_NET", &S::net,
     "overrides `netName`, which has no effect: WEFT_TRANSPORT and WEFT_PROVIDER choose"},
    {communicators, "NCCL_LOCAL_REGISTER", &S::local_register,
     "0 turns ncclCommRegister into a call without effect"},
    {communicators, "NCCL_WIN_ENABLE", &S::win_enable,
     "0 lets ncclCommWindowRegister make no windows, also if one rank alone says so"},
    {communicators, "WEFT_DEVICE", &S::device,
     "what communicators work on; unset is CUDA memory where a CUDA context is current or a CUDA "
     "runtime in the process sees a device, else host memory",
     "host cuda"},
    {communicators, "WEFT_DEVICE_RELAY", &S::device_relay,
     "1 lets calls on device memory go by way of pinned host memory where ranks could reach each "
     "other's device memory"},
    {communicators, "WEFT_DEVICE_BOARD", &S::device_board,
     "1 lets ranks of one process and one device work together by boards, as ranks of several "
     "processes or devices of a host do"},
    {communicators, "WEFT_DEVICE_HOSTS", &S::device_hosts,
     "lets calls on device memory treat the ranks as those of so many hosts, in the order of "
     "ranks, "
     "where they can be dealt out evenly: for tests of what several hosts do; 0 looks",
     nullptr, 0, 1024},
    {communicators, "WEFT_DEVICE_THREADS", &S::device_threads,
     "the most threads that a block of a kernel has, to find out whether a fault is one of their "
     "number",
     nullptr, 1, 512},
    {communicators, "WEFT_DEVICE_LOOPS", &S::device_loops,
     "how a kernel's innermost loops go: `several` vectors of 16 bytes at a time, which is unset, "
     "`single` ones, or `elements` alone, to find out whether a fault is theirs",
     "several single elements"},
    {communicators, "WEFT_LIBCUDA", &S::libcuda,
     "path of the CUDA driver; unset is the loader's libcuda.so.1"},

    {transports, "NCCL_SHM_DISABLE", &S::shm_disable,
     "1 talks to ranks of the same host over the network"},
    {transports, "WEFT_CMA_DISABLE", &S::cma_disable,
     "1 copies between processes through shared memory only, never with process_vm_readv"},
    {transports, "WEFT_LIBFABRIC", &S::libfabric,
     "path of libfabric.so.1; unset is EFA's install folder, then the loader's search"},
    {transports, "WEFT_PROVIDER", &S::provider,
     "libfabric provider, for instance `tcp;ofi_rxm`, or a fabric of EFA's, `efa-direct` or `efa`; "
     "unset is efa-direct, else efa, where there are EFA devices, else `tcp;ofi_rxm`"},
    {transports, "WEFT_ALLOW_TCP", &S::allow_tcp,
     "1 goes on over TCP, with a warning, where EFA devices exist and cannot be used; 0 refuses"},
    {transports, "WEFT_GPUDIRECT", &S::gpudirect,
     "0 keeps NICs from GPU memory, so that communicators on devices, and NCCL over the net "
     "plugin, "
     "copy through host memory; 1 lets them where libfabric and the NIC can"},
    {transports, "WEFT_RAILS", &S::rails,
     "comma list of source addresses or interface names to use as rails"},
    {transports, "WEFT_TRANSPORT", &S::transport, "use only this transport", "loopback shm fabric"},
    {transports, "WEFT_EAGER_BYTES", &S::eager_bytes,
     "payload of an eager slot in bytes: up to this size a message needs no grant", nullptr, 0,
     1 << 30},
    {transports, "WEFT_TILE_BYTES", &S::tile_bytes,
     "bytes of each chunk that one pass of a lane moves, 0 chooses", nullptr, 0, int64_t{1} << 40},
    {transports, "WEFT_FAULT", &S::fault, "faults to inject into every link, for tests"},

    {execution, "NCCL_ALGO", &S::algo,
     "algorithms, in NCCL's forms (`Ring,Tree`, `^Tree`, `ring;allreduce:direct;broadcast:^ring`): "
     "the first one named that the collective has (of direct, ring, halving, tree, mesh, chain, "
     "binomial, hier, and hier:ring, :mesh, :halving or :tree between hosts) is used; NCCL's other "
     "names are passed over, and where nothing is left, or unset, one is chosen"},
    {execution, "NCCL_PROTO", &S::proto,
     "protocols, in NCCL's forms (`Simple`, `^LL128`, `LL;allreduce:Simple`): where neither LL nor "
     "LL128 is left, nothing moves eagerly, for NCCL's low-latency protocols are what eager "
     "messages are here; larger blocks are granted whatever is named"},
    {execution, "WEFT_PLAN", &S::plan,
     "files of plans (weft-plan print), joined by `:` or `,`: each replaces the choice for the "
     "calls of its collective, ranks and root; proved at init"},
    {execution, "WEFT_EXPLAIN", &S::explain,
     "1 prints on rank 0, for every new choice, what was chosen, its price and the others'"},
    {execution, "WEFT_PROBE", &S::probe,
     "1 measures latency and rate inside hosts and between them when a communicator is made (at "
     "most 100 ms), for choosing by"},
    {execution, "WEFT_TOPOLOGY", &S::topology,
     "the cluster to choose plans for: an instance type (`p5.48xlarge`), words (`hosts=4 ranks=2 "
     "rails=1 nic=1Gbit/s alpha=10us`, see TOPOLOGY.md), or an XML file of hwloc or NCCL; unset "
     "is what is found"},
    {execution, "NCCL_TOPO_FILE", &S::topo_file,
     "XML file of this host's hardware, of NCCL or hwloc, read in place of the hardware when "
     "there are several hosts"},
    {execution, "WEFT_SPIN_US", &S::spin_us,
     "microseconds a waiting caller spins before it sleeps, -1 decides by ranks per core", nullptr,
     -1, 1000000000},
    {execution, "WEFT_STATS", &S::stats, "1 prints counters of every rank at exit"},
    {execution, "WEFT_LATE_REPORT", &S::late_report_s,
     "seconds after which a wait is reported (it goes on waiting)", nullptr, 1, 1000000},
    {execution, "WEFT_MEMORY_BUDGET", &S::memory_budget_mb,
     "most memory for pools and scratch of this process, in MiB", nullptr, 16, 1 << 24},
    {execution, "WEFT_REGISTERED_MEMORY", &S::registered_mb,
     "most memory that stays registered with the NICs between operations, in MiB: library memory "
     "and what ncclCommRegister names, each communicator's counted by itself; what is idle longest "
     "goes first",
     nullptr, 0, 1 << 24},
    {execution, "WEFT_STAGE_BYTES", &S::stage_bytes,
     "buffers smaller than this that are neither library memory nor named to ncclCommRegister are "
     "copied through registered memory, larger ones are registered for the one operation; -1 "
     "decides by provider",
     nullptr, -1, 1 << 30},

    {ignored, "NCCL_CHECK_POINTERS", {}, "check that buffers are memory of the right device"},
    {ignored, "NCCL_NET_PLUGIN", {}, "network plugin to load"},
    {ignored, "NCCL_TUNER_PLUGIN", {}, "tuner plugin to load"},
    {ignored, "NCCL_PROFILER_PLUGIN", {}, "profiler plugin to load"},
    {ignored, "NCCL_BUFFSIZE", {}, "bytes of a channel's buffer"},
    {ignored, "NCCL_NTHREADS", {}, "threads of a block"},
    {ignored, "NCCL_MIN_NCHANNELS", {}, "least number of channels"},
    {ignored, "NCCL_MAX_NCHANNELS", {}, "most number of channels"},
    {ignored, "NCCL_CROSS_NIC", {}, "whether rings may change rails"},
    {ignored, "NCCL_P2P_DISABLE", {}, "no direct access between GPUs"},
    {ignored, "NCCL_P2P_LEVEL", {}, "how far apart GPUs may be for direct access"},
    {ignored, "NCCL_P2P_NET_CHUNKSIZE", {}, "bytes of a send/receive chunk"},
    {ignored, "NCCL_NET_GDR_LEVEL", {}, "how far apart GPU and NIC may be for GPUDirect"},
    {ignored, "NCCL_NET_GDR_READ", {}, "GPUDirect for sends"},
    {ignored, "NCCL_NET_SHARED_BUFFERS", {}, "share buffers of send/receive"},
    {ignored, "NCCL_DMABUF_ENABLE", {}, "register device memory by dma-buf"},
    {ignored, "NCCL_CUMEM_ENABLE", {}, "allocate with CUDA's virtual memory calls"},
    {ignored, "NCCL_NVLS_ENABLE", {}, "NVLink multicast"},
    {ignored, "NCCL_MNNVL_ENABLE", {}, "NVLink between nodes"},
    {ignored, "NCCL_PXN_DISABLE", {}, "no sending through another GPU's NIC"},
    {ignored, "NCCL_TOPO_DUMP_FILE", {}, "where to write the hardware topology"},
    {ignored, "NCCL_LAUNCH_MODE", {}, "how kernels of a group start"},
    {ignored, "NCCL_LAUNCH_ORDER_IMPLICIT", {}, "order kernels of several communicators"},
    {ignored, "NCCL_GRAPH_REGISTER", {}, "register buffers of captured graphs"},
    {ignored, "NCCL_RUNTIME_CONNECT", {}, "connect on first use"},
    {ignored, "NCCL_IGNORE_CPU_AFFINITY", {}, "affinity of helper threads"},
    {ignored, "NCCL_UID_STAGGER_RATE", {}, "pace of connections to the root"},
    {ignored, "NCCL_UID_STAGGER_THRESHOLD", {}, "ranks above which connections are paced"},
    {ignored, "NCCL_OOB_NET_ENABLE", {}, "bootstrap over the network plugin"},
    {ignored, "NCCL_RAS_ENABLE", {}, "NCCL's own status service"},
};

}  // namespace

const char* const settings_group_ignored = ignored;

std::span<const SettingRow> settings_rows() {
    return rows;
}

}  // namespace weft
