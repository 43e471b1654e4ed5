// Plans of files, tables of gathered hosts, and what ranks compare before they are ready.
#include "src/comm/planning.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "src/base/bytes.h"
#include "src/comm/probe.h"
#include "src/plan/text.h"
#include "tests/unit/plan/plans.h"

using namespace weft;

namespace {

// A file that goes when the test does.
class TextFile {
  public:
    explicit TextFile(const std::string& text) {
        char name[] = "/tmp/weft-planning-XXXXXX";
        const int fd = ::mkstemp(name);
        REQUIRE(fd >= 0);
        ::close(fd);
        path = name;
        std::ofstream(path) << text;
    }
    ~TextFile() { std::remove(path.c_str()); }
    TextFile(const TextFile&) = delete;
    TextFile& operator=(const TextFile&) = delete;
    std::string path;
};

std::string ring_text(int32_t ranks) {
    return plan::plan_text(plan::plan_make(Coll::all_reduce, plan::Kind::ring, ranks, 1));
}

plan::Request request_of(Coll coll, int32_t ranks, uint64_t bytes) {
    plan::Request request;
    request.coll = coll;
    request.rank_count = ranks;
    request.count = bytes;
    return request;
}

std::vector<PeerInfo> infos_of(size_t ranks) {
    std::vector<PeerInfo> infos(ranks);
    for (size_t rank = 0; rank < ranks; rank++) {
        infos[rank].host_name = "h" + std::to_string(rank);
        infos[rank].pid = static_cast<uint32_t>(rank);
    }
    return infos;
}

}  // namespace

TEST_CASE("a plan of a file replaces the choice for the calls it fits, and for no others") {
    const TextFile ring(ring_text(4)), other(ring_text(3));
    Planning planning;
    auto given = given_plans_read(ring.path + ":" + other.path, 4);
    REQUIRE(given.ok());
    REQUIRE(given.value().size() == 1);
    CHECK(given_plans_prove(given.value()).ok());
    planning.given = std::move(given).value();
    planning.rank = 2;
    const auto fits = planning.plan(request_of(Coll::all_reduce, 4, 64));
    REQUIRE(fits.ok());
    CHECK(fits.value().choice.algo == plan::Algo::ring);
    CHECK(fits.value().choice.eager);
    CHECK(fits.value().part.rank == 2);
    CHECK(fits.value().choice.reason.find(ring.path) != std::string::npos);
    const auto large = planning.plan(request_of(Coll::all_reduce, 4, 64 << 20));
    CHECK_FALSE(large.value().choice.eager);
    CHECK(large.value().choice.tile_bytes * large.value().choice.tiles >= (16 << 20));
    CHECK(
        planning.plan(request_of(Coll::all_gather, 4, 64)).value().choice.reason.find(ring.path) ==
        std::string::npos);
    planning.given.push_back(
        {"rooted", plan::plan_make(Coll::broadcast, plan::Kind::chain, 4, 1, 1)});
    plan::Request rooted = request_of(Coll::broadcast, 4, 64);
    CHECK(planning.plan(rooted).value().choice.algo != plan::Algo::chain);
    rooted.root = 1;
    CHECK(planning.plan(rooted).value().choice.algo == plan::Algo::chain);
    CHECK(given_plans_digest(planning.given).size() == Digest().size());
    CHECK(given_plans_digest({}).empty());
}

TEST_CASE("plans that cannot run are refused by file, line and reason") {
    std::string text = ring_text(2);
    const size_t grant = text.find("grant");
    const TextFile malformed(std::string(text).replace(grant, 5, "garnt"));
    const auto unreadable = given_plans_read("/nonexistent/plan", 2);
    REQUIRE_FALSE(unreadable.ok());
    CHECK(unreadable.error().what.find("WEFT_PLAN: /nonexistent/plan: cannot be read") == 0);
    const auto refused = given_plans_read(malformed.path, 2);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().what.find("WEFT_PLAN: " + malformed.path + ":5: ") == 0);

    const size_t finish = text.find(" finish");
    const TextFile wrong(text.erase(finish, 7));
    const auto read = given_plans_read(wrong.path, 2);
    REQUIRE(read.ok());
    const auto proved = given_plans_prove(read.value());
    REQUIRE_FALSE(proved.ok());
    CHECK(proved.error().what.find(wrong.path + ": the prover refuses it: ") != std::string::npos);
}

TEST_CASE("ranks that would choose differently are named, with what differs") {
    Planning planning;
    const std::string one = agreement_encode(planning);
    CHECK(agreements_check({one, one, one}, infos_of(3)).ok());
    planning.table.between.latency_ns = 7;
    const auto differs = agreements_check({one, one, agreement_encode(planning)}, infos_of(3));
    REQUIRE_FALSE(differs.ok());
    CHECK(differs.error().what.find(
              "rank 2 (host h2, pid 2) would choose plans other than rank 0") == 0);
    CHECK(differs.error().what.find("\"latency=7ns\" there, \"latency=8000ns\" here") !=
          std::string::npos);
    Planning with_plan;
    with_plan.given.push_back({"f", plan::plan_make(Coll::all_reduce, plan::Kind::ring, 2, 1)});
    const auto plans = agreements_check({one, agreement_encode(with_plan)}, infos_of(2));
    REQUIRE_FALSE(plans.ok());
    CHECK(plans.error().what.find("WEFT_PLAN names other plans there") != std::string::npos);
    CHECK_FALSE(agreements_check({one, one.substr(1)}, infos_of(2)).ok());
}

TEST_CASE("what a host is: rails of the fabric, an instance type, a file, or words for all") {
    Settings settings;
    settings.rails = "10.0.0.1";
    const topology::Host named = host_describe(settings, 3, 2).value();
    CHECK(named.rail_rates == std::vector<int64_t>{0, 0});
    CHECK(named.rank_rails == std::vector<std::vector<uint16_t>>(3, {0, 1}));

    settings.topology = "p5.48xlarge";
    const topology::Host profile = host_describe(settings, 8, 1).value();
    CHECK(profile.rail_count() == 32);
    CHECK(profile.rank_rails[1].front() == 4);
    settings.topology = "p5.48xlage";
    const auto unknown = host_describe(settings, 8, 1);
    REQUIRE_FALSE(unknown.ok());
    CHECK(unknown.error().what.find("WEFT_TOPOLOGY: ") == 0);
    CHECK(unknown.error().what.find("p5.48xlarge") != std::string::npos);

    const TextFile wrong("<system version=\"1\">\n<cpu>\n");
    settings.topology.clear();
    settings.topo_file = wrong.path;
    const auto refused = host_describe(settings, 8, 1);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().what.find("NCCL_TOPO_FILE: " + wrong.path) == 0);

    const std::vector<std::vector<int32_t>> ranks = {{0, 2, 4}, {1, 3, 5}};
    const std::string blob = topology::host_encode(named);
    settings = {};
    const tune::Table table = table_make(settings, {blob, blob}, ranks, 3).value();
    CHECK(table.rails == 2);
    CHECK(table.own_rails == 2);
    CHECK(table.turns == 3);
    CHECK_FALSE(table_make(settings, {blob, "junk"}, ranks, 1).ok());
    settings.topology = "hosts=2 ranks=3 rails=1 nic=1GB/s";
    CHECK(table_make(settings, {blob, blob}, ranks, 1).value().between.byte_fs == 1'000'000);
    settings.topology = "hosts=2 ranks=3 rails=1 nic=1GB";
    CHECK(table_make(settings, {blob, blob}, ranks, 1).error().what.find("WEFT_TOPOLOGY: ") == 0);
}

TEST_CASE("who measures with whom, and that the same samples make the same table") {
    const std::vector<std::vector<int32_t>> hosts = {{0, 3, 4}, {1}, {2, 5}};
    const auto pairs = [&](int32_t rank) {
        const ProbePairs found = probe_pairs(hosts, rank);
        return std::pair{found.inside, found.between};
    };
    CHECK(pairs(0) == std::pair{3, 1});
    CHECK(pairs(1) == std::pair{-1, 0});
    CHECK(pairs(2) == std::pair{5, -1});
    CHECK(pairs(3) == std::pair{0, -1});
    CHECK(pairs(4) == std::pair{-1, -1});

    ByteWriter nothing, samples;
    nothing.u32(0).u32(0);
    samples.u32(0).u32(2).u64(8).i64(20'000).u64(1 << 20).i64(8'400'000);
    tune::Table table = tune::table_defaults(tune::Defaults::host_memory), again = table;
    const std::vector<std::string> blobs = {nothing.view(), samples.view()};
    REQUIRE(probe_merge(blobs, table).ok());
    REQUIRE(probe_merge({blobs[1], blobs[0]}, again).ok());
    CHECK(table == again);
    CHECK(table.between.byte_fs > 6'500'000);
    CHECK(table.between.byte_fs < 9'600'000);
    CHECK(table.inside == tune::table_defaults(tune::Defaults::host_memory).inside);
    CHECK_FALSE(probe_merge({blobs[1].substr(1)}, table).ok());
}
