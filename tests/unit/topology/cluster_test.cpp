#include "topology/cluster.h"

#include "tests/catch.h"
#include "topology/units.h"

using namespace weft;
using namespace weft::topology;

namespace {

Host host_with(int32_t ranks, int32_t rails) {
    Host host;
    host.rank_rails = rails_in_blocks(ranks, rails);
    host.rail_rates.assign(static_cast<size_t>(rails), 12'500'000'000);
    host.local_rate = 450'000'000'000;
    host.rail_latency_ns = 20'000;
    return host;
}

std::string refusal(const Result<Cluster>& cluster) {
    return cluster.ok() ? "accepted" : cluster.error().what;
}

std::string check(const Host& host) {
    const auto result = host_check(host);
    return result.ok() ? "fine" : result.error().what;
}

}  // namespace

TEST_CASE("ranks in blocks over uneven hosts") {
    const auto cluster = cluster_in_blocks({{host_with(4, 2), 2}, {host_with(2, 2), 1}});
    REQUIRE(cluster.ok());
    const Cluster& c = cluster.value();
    CHECK(c.host_count() == 3);
    CHECK(c.rank_count() == 10);
    CHECK(c.shapes.size() == 2);
    CHECK_FALSE(c.uniform());
    CHECK(c.place(5) == RankPlace{1, 1});
    CHECK(c.place(9) == RankPlace{2, 1});
    CHECK(c.rails(5) == std::vector<uint16_t>{0});
    CHECK(c.rails(7) == std::vector<uint16_t>{1});
    CHECK(c.host_ranks[2] == std::vector<int32_t>{8, 9});
    CHECK(c.host(2).rank_count() == 2);
}

TEST_CASE("ranks may be placed in any order") {
    const auto cluster = cluster_of({{host_with(2, 1), 2}}, {{1, 1}, {0, 0}, {1, 0}, {0, 1}});
    REQUIRE(cluster.ok());
    CHECK(cluster.value().uniform());
    CHECK(cluster.value().host_ranks == std::vector<std::vector<int32_t>>{{1, 3}, {2, 0}});
}

TEST_CASE("equal hosts share a shape wherever they stand") {
    const auto runs = cluster_in_blocks({{host_with(2, 1), 2}, {host_with(4, 1), 1}});
    const auto single =
        cluster_in_blocks({{host_with(2, 1), 1}, {host_with(2, 1), 1}, {host_with(4, 1), 1}});
    CHECK(runs.value() == single.value());
    const auto apart =
        cluster_in_blocks({{host_with(2, 1), 1}, {host_with(4, 1), 1}, {host_with(2, 1), 1}});
    CHECK(apart.value().shapes.size() == 2);
    CHECK(apart.value().host_shape == std::vector<int32_t>{0, 1, 0});
}

TEST_CASE("places that cannot be are refused") {
    const Host host = host_with(2, 1);
    CHECK(refusal(cluster_of({{host, 1}}, {{0, 0}})) == "1 ranks for 2 places on the hosts");
    CHECK(refusal(cluster_of({{host, 1}}, {{0, 0}, {0, 2}})) ==
          "rank 1 is placed at local rank 2 of host 0, which does not exist");
    CHECK(refusal(cluster_of({{host, 1}}, {{0, 0}, {-1, 0}})) ==
          "rank 1 is placed at local rank 0 of host -1, which does not exist");
    CHECK(refusal(cluster_of({{host, 1}}, {{0, 0}, {0, 0}})) ==
          "ranks 0 and 1 are both local rank 0 of host 0");
    CHECK(refusal(cluster_in_blocks({})) == "a cluster without hosts");
    CHECK(refusal(cluster_in_blocks({{host, 0}})) == "0 hosts of a kind: expected 1 to 65536");
    CHECK(refusal(cluster_in_blocks({{host_with(1024, 1), 2000}})) ==
          "more than 65536 hosts or 1048576 ranks");
    CHECK(refusal(cluster_in_blocks({{host_with(2, 0), 2}})) ==
          "host 0 has no rails: its ranks cannot reach other hosts (2 in all)");
    CHECK(cluster_in_blocks({{host_with(2, 0), 1}}).ok());
}

TEST_CASE("hosts that contradict themselves are refused") {
    Host host = host_with(2, 2);
    CHECK(check(host) == "fine");
    host.rank_rails[1] = {2};
    CHECK(check(host) == "local rank 1 names rail 2 of 2");
    host.rank_rails[1] = {1, 1};
    CHECK(check(host) == "local rank 1: its rails are not in ascending order");
    host.rank_rails[1] = {};
    CHECK(check(host) == "local rank 1 has 0 rails on a host with 2");
    host = host_with(2, 2);
    host.rail_rates[1] = -1;
    CHECK(check(host) == "the rate of a rail is -1: expected 0 (unknown) to 1000000000000000");
    host = host_with(2, 2);
    host.rail_latency_ns = latency_max_ns + 1;
    CHECK_FALSE(host_check(host).ok());
    CHECK(check(Host{}) == "0 ranks on a host: expected 1 to 1024");
    CHECK_FALSE(host_check(host_with(1, 257)).ok());
}

TEST_CASE("a host survives the wire, and takes few bytes") {
    Host host = host_with(8, 32);
    host.rail_rates[31] = 1;
    const std::string bytes = host_encode(host);
    CHECK(bytes.size() < 150);
    const auto again = host_decode(bytes);
    REQUIRE(again.ok());
    CHECK(again.value() == host);
    const Host lone = host_with(1, 0);
    CHECK(host_decode(host_encode(lone)).value() == lone);
}

TEST_CASE("a description that is cut, longer or changed is refused, never read past its end") {
    const std::string bytes = host_encode(host_with(3, 2));
    for (size_t size = 0; size < bytes.size(); ++size) {
        const auto cut = host_decode(std::string_view(bytes).substr(0, size));
        REQUIRE_FALSE(cut.ok());
        CHECK(cut.error().code == Code::remote);
    }
    CHECK_FALSE(host_decode(bytes + "x").ok());
    for (size_t at = 0; at < bytes.size(); ++at) {
        std::string other = bytes;
        other[at] = static_cast<char>(other[at] ^ 0xff);
        const auto read = host_decode(other);
        // Whatever is still understood means itself and nothing else.
        CHECK((!read.ok() || host_encode(read.value()) == other));
    }
    std::string version = bytes;
    version[0] = 9;
    CHECK(host_decode(version).error().what ==
          "a peer's description of its host is not valid: version 9, this is version 1");
}

TEST_CASE("the hash tells clusters apart, and only by what they are") {
    const auto hash = [](const Result<Cluster>& cluster) { return cluster_hash(cluster.value()); };
    const Digest base = hash(cluster_in_blocks({{host_with(2, 1), 2}}));
    CHECK(base == hash(cluster_in_blocks({{host_with(2, 1), 1}, {host_with(2, 1), 1}})));
    CHECK(base == hash(cluster_of({{host_with(2, 1), 2}}, {{0, 0}, {0, 1}, {1, 0}, {1, 1}})));
    CHECK(base != hash(cluster_of({{host_with(2, 1), 2}}, {{0, 0}, {1, 0}, {0, 1}, {1, 1}})));
    CHECK(base != hash(cluster_in_blocks({{host_with(2, 1), 3}})));
    Host slower = host_with(2, 1);
    slower.rail_rates[0]--;
    CHECK(base != hash(cluster_in_blocks({{slower, 2}})));
    CHECK(base != hash(cluster_in_blocks({{host_with(2, 1), 1}, {slower, 1}})));
}
