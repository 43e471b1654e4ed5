#include "src/comm/config.h"

#include <cstring>

#include "tests/catch.h"

using weft::Code;
using weft::CommConfig;
using weft::config_parse;
using weft::Settings;

namespace {

ncclConfig_t fresh() {
    return NCCL_CONFIG_INITIALIZER;
}

bool refused(const ncclConfig_t& config) {
    const auto parsed = config_parse(&config, Settings());
    return !parsed.ok() && parsed.error().code == Code::invalid_argument;
}

}  // namespace

TEST_CASE("no struct and an untouched one give the defaults") {
    const ncclConfig_t config = fresh();
    CHECK(config_parse(nullptr, Settings()).value() == CommConfig());
    CHECK(config_parse(&config, Settings()).value() == CommConfig());
    CHECK(CommConfig().blocking);
    CHECK(CommConfig().max_ctas == 64);
}

TEST_CASE("a struct that was not initialised is refused") {
    ncclConfig_t config{};
    CHECK(refused(config));
    config = fresh();
    config.magic = 1;
    CHECK(refused(config));
    config = fresh();
    config.size = 8;
    CHECK(refused(config));
}

TEST_CASE("values are checked") {
    ncclConfig_t config = fresh();
    config.blocking = 2;
    CHECK(refused(config));
    config = fresh();
    config.minCTAs = 0;
    CHECK(refused(config));
    config = fresh();
    config.minCTAs = 9;
    config.maxCTAs = 8;
    CHECK(refused(config));
    config = fresh();
    config.splitShare = -1;
    CHECK(refused(config));
    config = fresh();
    config.shrinkShare = 5;
    CHECK(refused(config));
    config = fresh();
    config.minCTAs = config.maxCTAs = 8;
    CHECK_FALSE(refused(config));
}

TEST_CASE("no byte beyond the caller's size is read") {
    // A caller of 2.14: 24 bytes, followed by whatever.
    ncclConfig_t config;
    std::memset(static_cast<void*>(&config), 0x55, sizeof config);
    config.size = 24;
    config.magic = NCCL_API_MAGIC;
    config.version = NCCL_VERSION(2, 14, 3);
    config.blocking = 0;
    CommConfig want;
    want.blocking = false;
    CHECK(config_parse(&config, Settings()).value() == want);
}

TEST_CASE("members newer than the caller's version are garbage") {
    ncclConfig_t config = fresh();
    config.version = NCCL_VERSION(2, 17, 1);
    config.trafficClass = 3;
    config.CTAPolicy = 2;
    config.numRmaCtx = 9;
    config.maxP2pPeers = 0;
    CHECK(config_parse(&config, Settings()).value() == CommConfig());
    config.version = NCCL_VERSION(2, 13, 0);
    config.blocking = 7;
    CHECK(config_parse(&config, Settings()).value() == CommConfig());
    config = fresh();
    config.version = NCCL_VERSION(2, 27, 0);
    config.CTAPolicy = 2;
    config.graphUsageMode = 0;
    CommConfig want;
    want.cta_policy = 2;
    CHECK(config_parse(&config, Settings()).value() == want);
}

TEST_CASE("a newer caller's tail is ignored") {
    struct {
        ncclConfig_t known = NCCL_CONFIG_INITIALIZER;
        int tail[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    } newer;
    newer.known.size = sizeof newer;
    newer.known.version = NCCL_VERSION(2, 40, 0);
    newer.known.graphStreamOrdering = 0;
    CommConfig want;
    want.graph_stream_ordering = 0;
    CHECK(config_parse(&newer.known, Settings()).value() == want);
}

TEST_CASE("settings win over the struct") {
    ncclConfig_t config = fresh();
    config.blocking = 1;
    config.maxCTAs = 4;
    config.netName = "Socket";
    config.commName = "pipeline";
    Settings settings;
    settings.comm_blocking = 0;
    settings.min_ctas = 16;
    settings.net = "IB";
    const CommConfig parsed = config_parse(&config, settings).value();
    CHECK_FALSE(parsed.blocking);
    CHECK(parsed.net_name == "IB");
    CHECK(parsed.comm_name == "pipeline");
    CHECK(parsed.min_ctas == 16);
    CHECK(parsed.max_ctas == 16);
}
