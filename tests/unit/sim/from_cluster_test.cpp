// What a cluster says about a network, what is assumed where it says nothing, what has no network.
#include "src/sim/from_cluster.h"

#include <algorithm>

#include "tests/catch.h"
#include "topology/cluster_text.h"
#include "topology/profiles.h"

namespace weft::sim {

namespace {

ClusterNetwork made(const std::string& text) {
    return network_of(topology::cluster_parse(text).value()).value();
}

std::string refusal(const std::string& text) {
    const auto network = network_of(topology::cluster_parse(text).value());
    REQUIRE_FALSE(network.ok());
    return network.error().what;
}

bool assumes(const ClusterNetwork& made, const std::string& clause) {
    return std::find(made.assumed.begin(), made.assumed.end(), clause) != made.assumed.end();
}

}  // namespace

TEST_CASE("a network has what the cluster says") {
    const ClusterNetwork two = made(
        "hosts=2 ranks=2 rails=4 nic=10GB/s,10GB/s,10GB/s,5GB/s nvlink=300GB/s alpha=15us "
        "alpha_local=1us");
    const Network& network = two.network;
    CHECK(network.hosts == 2);
    CHECK(network.ranks_per_host == 2);
    REQUIRE(network.rails.size() == 4);
    CHECK(network.rails[0].bytes_per_ns == Approx(10));
    CHECK(network.rails[3].bytes_per_ns == Approx(5));
    CHECK(network.rails[3].latency_ns == Approx(15'000));
    CHECK(network.intra.bytes_per_ns == Approx(300));
    CHECK(network.intra.latency_ns == Approx(1'000));
    for (const std::string& clause : two.assumed) {
        CHECK(clause.find("latency") == std::string::npos);
        CHECK(clause.find("rate") == std::string::npos);
    }
    CHECK(assumes(two, "post 0.4 us"));
}

TEST_CASE("each default that is taken is told") {
    const ClusterNetwork bare = made("hosts=2 ranks=2 rails=2");
    CHECK(bare.network.rails[1].bytes_per_ns == Approx(12.5));
    CHECK(assumes(bare, "rail rate 12.5 GB/s"));
    CHECK(assumes(bare, "rail latency 20 us"));
    CHECK(assumes(bare, "rate inside hosts 25 GB/s"));
    CHECK(assumes(bare, "latency inside hosts 2 us"));
    CHECK(assumes(made("hosts=1 ranks=2"), "rate inside hosts 25 GB/s"));
    CHECK_FALSE(assumes(made("hosts=1 ranks=2"), "post 0.4 us"));
}

TEST_CASE("every instance type with known rails has a network") {
    for (const topology::Profile& profile : topology::profiles()) {
        const auto cluster = topology::profile_cluster(profile, 3);
        if (cluster.ok()) {
            CAPTURE(profile.name);
            CHECK(network_of(cluster.value()).ok());
        }
    }
}

TEST_CASE("clusters the simulator does not know") {
    CHECK(refusal("hosts=1 ranks=2 rails=2 + hosts=1 ranks=1 rails=2").find("all alike") !=
          std::string::npos);
    CHECK(refusal("hosts=2 ranks=1 rails=1 order=1.0,0.0").find("numbered host by host") !=
          std::string::npos);
    CHECK(refusal("hosts=2 ranks=2 rails=2 map=1/0").find("leave `map` out") != std::string::npos);
}

}  // namespace weft::sim
