// ncclConfig_t as the library understands it: read by the rules of the caller's header version,
// checked, completed by the environment. Pure. Thread rule: values, reentrant.
#pragma once

#include <string>

#include "include/weft/nccl.h"
#include "src/base/result.h"
#include "src/base/settings.h"

namespace weft {

struct CommConfig {
    bool blocking = true;
    int cga_cluster_size = 4;
    int min_ctas = 1;
    int max_ctas = 64;
    std::string net_name;
    bool split_share = false;
    int traffic_class = NCCL_CONFIG_UNDEF_INT;
    std::string comm_name;
    bool collnet_enable = false;
    int cta_policy = NCCL_CTA_POLICY_DEFAULT;
    bool shrink_share = false;
    int nvls_ctas = NCCL_CONFIG_UNDEF_INT;
    int channels_per_net_peer = NCCL_CONFIG_UNDEF_INT;
    int nvlink_centric_sched = 0;
    int graph_usage_mode = 2;
    int rma_ctx_count = 1;
    int p2p_peers_max = NCCL_CONFIG_UNDEF_INT;
    int graph_stream_ordering = 1;
    bool operator==(const CommConfig&) const = default;
};

// `given` may be NULL: all defaults. The settings (NCCL_COMM_BLOCKING and others) win over the
// struct.
Result<CommConfig> config_parse(const ncclConfig_t* given, const Settings& settings);

}  // namespace weft
