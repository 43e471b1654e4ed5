#include "topology/cluster_text.h"

#include "tests/catch.h"

using namespace weft::topology;

namespace {

std::string again(const std::string& text) {
    const auto cluster = cluster_parse(text);
    if (!cluster.ok()) {
        return cluster.error().what;
    }
    const std::string printed = cluster_text(cluster.value());
    const auto second = cluster_parse(printed);
    REQUIRE(second.ok());
    CHECK(second.value() == cluster.value());
    CHECK(cluster_text(second.value()) == printed);
    return printed;
}

std::string refusal(const std::string& text) {
    const auto cluster = cluster_parse(text);
    const std::string frame = "cluster '" + text + "': ";
    if (cluster.ok() || cluster.error().what.compare(0, frame.size(), frame) != 0) {
        return "accepted, or the text is not named";
    }
    return cluster.error().what.substr(frame.size());
}

}  // namespace

TEST_CASE("a cluster prints back as it was written") {
    for (const char* text : {
             "hosts=64 ranks=8 rails=4 nic=12.5GB/s nvlink=450GB/s alpha=20us",
             "hosts=1 ranks=8",
             "hosts=2 ranks=8 rails=32",
             "hosts=2 ranks=2 rails=2 nic=1GB/s,2GB/s alpha=1us alpha_local=500ns",
             "hosts=2 ranks=2 rails=2 nic=1GB/s,unknown",
             "hosts=2 ranks=2 rails=2 map=0,1/1",
             "hosts=2 ranks=2 rails=1 + hosts=1 ranks=4 rails=1 nic=1GB/s",
             "hosts=2 ranks=2 rails=1 order=0.0,1.0,0.1,1.1",
         }) {
        CHECK(again(text) == text);
    }
}

TEST_CASE("one cluster has one text") {
    CHECK(again(" ranks=8  hosts=2 nic=100Gbit/s rails=1 ") ==
          "hosts=2 ranks=8 rails=1 nic=12.5GB/s");
    CHECK(again("hosts=1 ranks=2 rails=1 + hosts=1 ranks=2 rails=1") == "hosts=2 ranks=2 rails=1");
    CHECK(again("hosts=2 ranks=2 rails=2 nic=1GB/s,1GB/s map=0/1 order=0.0,0.1,1.0,1.1") ==
          "hosts=2 ranks=2 rails=2 nic=1GB/s");
    CHECK(again("hosts=2 ranks=2 rails=1 nic=unknown nvlink=unknown alpha=unknown") ==
          "hosts=2 ranks=2 rails=1");
}

TEST_CASE("the words mean what they say") {
    const Cluster cluster =
        cluster_parse("hosts=64 ranks=8 rails=4 nic=12.5GB/s nvlink=450GB/s alpha=20us").value();
    CHECK(cluster.host_count() == 64);
    CHECK(cluster.rank_count() == 512);
    CHECK(cluster.uniform());
    const Host& host = cluster.host(63);
    CHECK(host.rail_rates == std::vector<int64_t>(4, 12'500'000'000));
    CHECK(host.local_rate == 450'000'000'000);
    CHECK(host.rail_latency_ns == 20'000);
    CHECK(host.local_latency_ns == 0);
    CHECK(cluster.rails(511) == std::vector<uint16_t>{3});
}

TEST_CASE("a wrong word is named with what is accepted") {
    CHECK(refusal("") == "hosts=N and ranks=N are needed for every kind of hosts");
    CHECK(refusal("hosts=2") == "hosts=N and ranks=N are needed for every kind of hosts");
    CHECK(refusal("hosts") == "'hosts': expected NAME=VALUE");
    CHECK(refusal("hosts=0 ranks=1") == "'hosts' '0': expected a whole number from 1 to 65536");
    CHECK(refusal("hosts=1 ranks=2 ranks=2") == "'ranks' stands twice");
    CHECK(refusal("hosts=1 ranks=2 speed=1") ==
          "'speed' is unknown; known are hosts, ranks, rails, nic, nvlink, alpha, alpha_local, "
          "map, order");
    CHECK(refusal("hosts=1 ranks=2 rails=1 nic=12.5") ==
          "'nic' '12.5': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("hosts=1 ranks=2 rails=1 nic=-1GB/s") ==
          "'nic' '-1GB/s': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("hosts=1 ranks=2 rails=3 nic=1GB/s,2GB/s") == "nic= holds 2 rates for 3 rails");
    CHECK(refusal("hosts=1 ranks=2 nic=1GB/s") == "nic= needs rails=N");
    CHECK(refusal("hosts=1 ranks=2 rails=2 map=0") == "map= holds 1 ranks of 2");
    CHECK(refusal("hosts=1 ranks=2 rails=2 map=0/2") == "host 0: local rank 1 names rail 2 of 2");
    CHECK(refusal("hosts=1 ranks=2 rails=2 map=0/") ==
          "'map' '': expected a whole number from 0 to 255");
    CHECK(refusal("hosts=2 ranks=2") ==
          "host 0 has no rails: its ranks cannot reach other hosts (2 in all)");
    CHECK(refusal("hosts=1 ranks=1 order=0.0 rails=1") == "order= must be the last word");
    CHECK(refusal("hosts=1 ranks=2 order=0.0,0") ==
          "'order' '': expected a whole number from 0 to 1023");
    CHECK(refusal("hosts=1 ranks=2 order=0.0") == "1 ranks for 2 places on the hosts");
    CHECK(refusal("hosts=65536 ranks=1024 rails=1") == "more than 65536 hosts or 1048576 ranks");
    CHECK(refusal("hosts=1 ranks=1 +") == "hosts=N and ranks=N are needed for every kind of hosts");
}
