#include "src/comm/config.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

#include "src/base/log.h"

namespace weft {

namespace {

constexpr int undef = NCCL_CONFIG_UNDEF_INT;

Error wrong(const char* member, int value, const char* rule) {
    return make_error(
        Code::invalid_argument, Scope::call,
        format("Invalid config %s attribute value %d: it must be %s", member, value, rule));
}

// The bytes the caller has, over a struct in which nothing is set.
Result<ncclConfig_t> copy_known(const ncclConfig_t* given) {
    ncclConfig_t own = NCCL_CONFIG_INITIALIZER;
    if (given == nullptr) {
        return own;
    }
    size_t size = 0;
    std::memcpy(&size, given, sizeof size);
    if (size < offsetof(ncclConfig_t, blocking)) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("ncclConfig_t argument has size %zu: not initialized via "
                                 "NCCL_CONFIG_INITIALIZER",
                                 size));
    }
    std::memcpy(static_cast<void*>(&own), given, std::min(size, sizeof own));
    if (own.magic != NCCL_API_MAGIC) {
        return make_error(Code::invalid_argument, Scope::call,
                          "ncclConfig_t argument not initialized via NCCL_CONFIG_INITIALIZER");
    }
    return own;
}

// Members newer than the caller's header hold whatever was in the padding of an older struct.
void reset_unknown(ncclConfig_t& config) {
    const auto version = static_cast<int>(config.version);
    if (version < NCCL_VERSION(2, 14, 0)) {
        config.blocking = undef;
    }
    if (version < NCCL_VERSION(2, 17, 0)) {
        config.cgaClusterSize = config.minCTAs = config.maxCTAs = undef;
        config.netName = nullptr;
    }
    if (version < NCCL_VERSION(2, 25, 0)) {
        config.trafficClass = undef;
    }
    if (version < NCCL_VERSION(2, 27, 0)) {
        config.collnetEnable = config.CTAPolicy = config.shrinkShare = config.nvlsCTAs = undef;
    }
    if (version < NCCL_VERSION(2, 28, 0)) {
        config.nChannelsPerNetPeer = config.nvlinkCentricSched = undef;
    }
    if (version < NCCL_VERSION(2, 29, 0)) {
        config.graphUsageMode = config.numRmaCtx = undef;
    }
    if (version < NCCL_VERSION(2, 30, 0)) {
        config.maxP2pPeers = undef;
    }
    if (version < NCCL_VERSION(2, 30, 5)) {
        config.graphStreamOrdering = undef;
    }
}

Result<void> flag_check(const char* member, int value) {
    if (value != undef && value != 0 && value != 1) {
        return wrong(member, value, "0 or 1");
    }
    return {};
}

Result<void> positive_check(const char* member, int value) {
    if (value != undef && value <= 0) {
        return wrong(member, value, "at least 1");
    }
    return {};
}

Result<void> check(const ncclConfig_t& config) {
    TRY(flag_check("blocking", config.blocking));
    TRY(flag_check("splitShare", config.splitShare));
    TRY(flag_check("shrinkShare", config.shrinkShare));
    TRY(flag_check("collnetEnable", config.collnetEnable));
    TRY(positive_check("minCTAs", config.minCTAs));
    TRY(positive_check("maxCTAs", config.maxCTAs));
    TRY(positive_check("nvlsCTAs", config.nvlsCTAs));
    TRY(positive_check("nChannelsPerNetPeer", config.nChannelsPerNetPeer));
    TRY(positive_check("maxP2pPeers", config.maxP2pPeers));
    if (config.cgaClusterSize != undef && config.cgaClusterSize < 0) {
        return wrong("cgaClusterSize", config.cgaClusterSize, "at least 0");
    }
    if (config.minCTAs != undef && config.maxCTAs != undef && config.minCTAs > config.maxCTAs) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("Invalid config minCTAs %d is larger than maxCTAs %d",
                                 config.minCTAs, config.maxCTAs));
    }
    return {};
}

template <class T>
void set(T& member, int given, const std::optional<int64_t>& setting) {
    if (setting) {
        member = static_cast<T>(*setting);
    } else if (given != undef) {
        member = static_cast<T>(given);
    }
}

}  // namespace

Result<CommConfig> config_parse(const ncclConfig_t* given, const Settings& settings) {
    ncclConfig_t own = TRY(copy_known(given));
    reset_unknown(own);
    TRY(check(own));
    CommConfig config;
    set(config.blocking, own.blocking, settings.comm_blocking);
    set(config.cga_cluster_size, own.cgaClusterSize, settings.cga_cluster_size);
    set(config.min_ctas, own.minCTAs, settings.min_ctas);
    set(config.max_ctas, own.maxCTAs, settings.max_ctas);
    set(config.split_share, own.splitShare, settings.comm_split_share);
    set(config.traffic_class, own.trafficClass, std::nullopt);
    set(config.collnet_enable, own.collnetEnable, settings.collnet_enable);
    set(config.cta_policy, own.CTAPolicy, settings.cta_policy);
    set(config.shrink_share, own.shrinkShare, settings.comm_shrink_share);
    set(config.nvls_ctas, own.nvlsCTAs, settings.nvls_nchannels);
    set(config.channels_per_net_peer, own.nChannelsPerNetPeer, settings.nchannels_per_net_peer);
    set(config.nvlink_centric_sched, own.nvlinkCentricSched, std::nullopt);
    set(config.graph_usage_mode, own.graphUsageMode, settings.graph_mixing_support);
    set(config.rma_ctx_count, own.numRmaCtx, settings.num_rma_ctx);
    set(config.p2p_peers_max, own.maxP2pPeers, settings.p2p_max_peers);
    set(config.graph_stream_ordering, own.graphStreamOrdering, settings.graph_stream_ordering);
    if (own.netName != nullptr) {
        config.net_name = own.netName;
    }
    if (!settings.net.empty()) {
        config.net_name = settings.net;
    }
    if (own.commName != nullptr) {
        config.comm_name = own.commName;
    }
    // The environment may contradict the struct; the wider limit is the one that was meant.
    config.max_ctas = std::max(config.max_ctas, config.min_ctas);
    return config;
}

}  // namespace weft
