// The table of costs: from a cluster, as text, from measurements.
#include "src/tune/table.h"

#include "tests/catch.h"
#include "topology/cluster_text.h"
#include "topology/profiles.h"

namespace weft::tune {

namespace {

Table table_from(const char* cluster) {
    const auto parsed = topology::cluster_parse(cluster);
    REQUIRE(parsed.ok());
    return table_of(parsed.value(), 1);
}

}  // namespace

TEST_CASE("what a cluster knows is in the table, the rest by default and said so") {
    const Table known = table_from(
        "hosts=4 ranks=8 rails=4 nic=12.5GB/s nvlink=450GB/s alpha=20us alpha_local=900ns");
    CHECK(known.between.byte_fs == 80'000);
    CHECK(known.inside.byte_fs == 2'222);
    CHECK(known.between.latency_ns == 20'000);
    CHECK(known.inside.latency_ns == 900);
    CHECK(known.rails == 4);
    CHECK(known.source == "the cluster");

    const Table unknown = table_from("hosts=4 ranks=2 rails=1");
    const Table defaults = table_defaults(Defaults::host_memory);
    CHECK(unknown.between == defaults.between);
    CHECK(unknown.inside == defaults.inside);
    CHECK(unknown.source ==
          "the cluster, but the rails' rate, the rails' latency, the rate inside, the latency "
          "inside by defaults of host memory and sockets");
}

TEST_CASE("the slowest rail and the farthest host count") {
    const Table table = table_from(
        "hosts=2 ranks=2 rails=2 nic=10GB/s,5GB/s alpha=5us + hosts=1 ranks=2 rails=1 nic=20GB/s "
        "alpha=9us");
    CHECK(table.between.byte_fs == 200'000);
    CHECK(table.between.latency_ns == 9'000);
    CHECK(table.rails == 1);
}

TEST_CASE("a table survives its text, and nothing else is a table") {
    const auto profile = topology::profile_find("p5.48xlarge");
    REQUIRE(profile.ok());
    Table table = table_of(topology::profile_cluster(*profile.value(), 4).value(), 3);
    const std::string text = table_text(table);
    const Result<Table> again = table_parse(text);
    REQUIRE(again.ok());
    CHECK(again.value() == table);
    CHECK(table_hash(again.value()) == table_hash(table));
    table.between.gap_ns++;
    CHECK(table_hash(again.value()) != table_hash(table));
    for (size_t cut = 0; cut + 1 < text.size(); cut++) {
        const Result<Table> part = table_parse(text.substr(0, cut));
        // Whatever stands behind from= is a text of its own.
        CHECK((!part.ok() || cut >= text.find("from=") + 5));
    }
    std::string bad = text;
    bad.replace(bad.find("post="), 5, "past=");
    const Result<Table> refused = table_parse(bad);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().what.find("past=") != std::string::npos);
    CHECK_FALSE(table_parse(text + "more\n").ok());
}

TEST_CASE("the grid has four points for each doubling, and keeps what is on it") {
    CHECK(quantised(0) == 0);
    CHECK(quantised(-5) == 0);
    CHECK(quantised(1) == 1);
    CHECK(quantised(1000) == 1024);
    CHECK(quantised(1'100'000) == 1'048'576);
    CHECK(quantised(1'200'000) == 1'246'976);
    int64_t points = 0, last = 0;
    for (int64_t value = 1024; value < 2048; value++) {
        const int64_t point = quantised(value);
        CHECK(quantised(point) == point);
        CHECK(point >= last);
        points += point != last ? 1 : 0;
        last = point;
    }
    CHECK(points == 5);  // 1024, three between, 2048
}

TEST_CASE("latency and rate of medians, whatever the order and the outliers") {
    std::vector<Sample> samples;
    for (const int64_t noise : {0, 3, 40'000, -2, 1}) {
        samples.push_back({1 << 20, 1'050'000 + noise});
        samples.push_back({8, 10'000 + noise});
    }
    const Measured measured = measured_of(samples).value();
    CHECK(measured.latency_ns == quantised(10'000));
    CHECK(measured.byte_fs == quantised(991'821));
    std::reverse(samples.begin(), samples.end());
    CHECK(measured_of(samples).value() == measured);
    CHECK_FALSE(measured_of({{8, 5}, {8, 6}}).ok());
    // Of three sizes, the two larger ones make the rate: both wait for a grant.
    samples = {{8, 10'000}, {1 << 16, 300'000 + 65'536}, {1 << 20, 300'000 + (1 << 20)}};
    CHECK(measured_of(samples).value() == Measured{quantised(10'000), quantised(1'000'000)});
    // A large message that is no slower: as fast as can be told, never free.
    CHECK(measured_of({{8, 500}, {1 << 20, 400}}).value().byte_fs == 1);
}

TEST_CASE("what was measured takes the place of the defaults") {
    Table table = table_defaults(Defaults::host_memory);
    const LevelCosts inside = table.inside;
    const Measured far{20'000, 8'000'000};
    table_measured(table, nullptr, &far);
    CHECK(table.inside == inside);
    CHECK(table.between.byte_fs == 8'000'000);
    CHECK(table.between.latency_ns + table.between.post_ns + table.between.completion_ns == 20'000);
    CHECK(table.source == "the probe");
    const Measured near{200, 100'000};
    table_measured(table, &near, nullptr);
    CHECK(table.inside.latency_ns + table.inside.post_ns + table.inside.completion_ns == 200);
}

}  // namespace weft::tune
