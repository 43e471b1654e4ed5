// The text form: goldens, round trips, and what the parser makes of bad text.
#include "src/plan/text.h"

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

std::string golden_path(const Plan& plan) {
    const char* source = std::getenv("WEFT_TEST_SOURCE");
    return std::string(source == nullptr ? "." : source) + "/tests/golden/" + plan_name(plan) +
           ".plan";
}

// WEFT_GOLDEN_WRITE=1 writes the files instead, for review as a diff.
void golden_check(const Plan& plan) {
    const std::string path = golden_path(plan);
    if (std::getenv("WEFT_GOLDEN_WRITE") != nullptr) {
        std::ofstream(path) << plan_text(plan);
    }
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    INFO(path);
    CHECK(text.str() == plan_text(plan));
}

std::string error_of(const std::string& text) {
    const Result<Plan> plan = plan_parse(text);
    return plan.ok() ? "" : plan.error().what;
}

const std::string head =
    "weft-plan 1\n"
    "shape coll=broadcast algo=ring ranks=2 root=0 chunks=1 in=1 out=1 slots=2 loads=0\n";

}  // namespace

TEST_CASE("golden plans") {
    golden_check(plan_make(Coll::all_reduce, Kind::direct, 3, 1));
    golden_check(plan_make(Coll::all_reduce, Kind::ring, 2, 2));
    golden_check(plan_make(Coll::all_reduce, Kind::ring, 4, 1));
    golden_check(plan_make(Coll::all_reduce, Kind::loads, 2, 1));
    golden_check(plan_make(Coll::reduce_scatter, Kind::ring, 3, 1));
    golden_check(plan_make(Coll::all_gather, Kind::ring, 3, 1));
    golden_check(plan_make(Coll::all_gather, Kind::loads, 2, 1));
    golden_check(plan_make(Coll::broadcast, Kind::ring, 3, 2, 1));
    golden_check(plan_make(Coll::reduce, Kind::ring, 4, 1, 1));
    golden_check(plan_make(Coll::all_to_all, Kind::direct, 3, 1));
    golden_check(plan_make(Coll::gather, Kind::direct, 3, 1, 2));
    golden_check(plan_make(Coll::scatter, Kind::direct, 3, 1, 2));
    golden_check(plan_make(Coll::reduce_scatter, Kind::halving, 5, 1));
    golden_check(plan_make(Coll::all_gather, Kind::halving, 5, 1));
    golden_check(plan_make(Coll::all_reduce, Kind::tree, 4, 2));
    golden_check(plan_make(Coll::all_reduce, Kind::mesh, 3, 1));
    golden_check(plan_make(Coll::reduce, Kind::chain, 3, 1, 1));
    golden_check(plan_make(Coll::broadcast, Kind::binomial, 4, 1, 1));
    golden_check(hier_make(Coll::all_gather, Algo::ring, cluster_of({2, 2}), 1));
    golden_check(hier_make(Coll::reduce_scatter, Algo::mesh, cluster_of({2, 2, 1}), 1));
    golden_check(hier_make(Coll::all_reduce, Algo::ring, cluster_of({2, 2}, true), 1));
    golden_check(hier_make(Coll::all_to_all, Algo::ring, cluster_of({2, 2}), 1));
}

TEST_CASE("every plan survives print and parse") {
    for (const Coll coll : collectives) {
        for (const Kind kind : kinds) {
            if (has_plan(coll, kind)) {
                Plan plan = plan_make(coll, kind, 5, 2, has_root(coll) ? 3 : 0);
                plan.ranks[1].lanes[1].steps[0].after = {After{0, 1, 0}, After{0, 0, 3}};
                const Result<Plan> parsed = plan_parse(plan_text(plan));
                REQUIRE(parsed.ok());
                CHECK(parsed.value() == plan);
            }
        }
    }
}

TEST_CASE("a cluster survives print and parse, in any order of ranks") {
    Shape shape;
    shape.algo = Algo::hier;
    shape.inter = Algo::tree;
    shape.rank_count = 7;
    shape.cluster.at = Cluster::of({{2, 3, 4}, {6}, {5, 0, 1}}).value();
    const Plan plan = plan_of(shape, 1);
    const std::string text = plan_text(plan);
    CHECK(text.find("inter=tree hosts=2-4/6/5,0-1\n") != std::string::npos);
    const Result<Plan> parsed = plan_parse(text);
    REQUIRE(parsed.ok());
    CHECK(parsed.value() == plan);
}

TEST_CASE("comments, empty lines and spaces do not matter") {
    const Result<Plan> plan = plan_parse("# a plan\n\n" + head +
                                         "rank 1\r\n  lane   scratch=1\n\tgrant out0 to 0 chunk 0");
    REQUIRE(plan.ok());
    CHECK(plan.value().ranks.at(0).rank == 1);
    CHECK(plan.value().ranks[0].lanes.at(0).steps.at(0).dst == Operand{Space::output, 0, -1});
}

TEST_CASE("bad text is refused with its line") {
    CHECK(error_of("").find("line 0") != std::string::npos);
    CHECK(error_of("weft-plan 2").find("line 1: expected `weft-plan 1`") != std::string::npos);
    CHECK(error_of("weft-plan 1\nshape coll=tea").find("line 2") != std::string::npos);
    CHECK(error_of(head + "rank 2\n").find("line 3") != std::string::npos);
    CHECK(error_of(head + "rank 1\nrank 0\n").find("line 4") != std::string::npos);
    CHECK(error_of(head + "lane scratch=1\n").find("rank line") != std::string::npos);
    CHECK(error_of(head + "rank 0\nlane scratch=99999999\n").find("line 4") != std::string::npos);
    CHECK(error_of(head + "rank 0\ncopy out0 <- in0 chunk 0").find("lane line") !=
          std::string::npos);
    const auto hosts = [](const std::string& list) {
        return error_of(
            "weft-plan 1\nshape coll=gather algo=hier ranks=2 root=0 chunks=1 in=1 out=2 slots=2 "
            "loads=0 inter=ring hosts=" +
            list);
    };
    for (const char* list : {"", "0/0", "0/2", "0//1", "0-", "1-0", "0/x", "0-999999999"}) {
        CHECK(hosts(list).find("line 2: expected hosts=") != std::string::npos);
    }
    const std::string lane = head + "rank 0\nlane scratch=1\n";
    CHECK(error_of(lane + "copy out0 <- chunk 0").find("line 5: expected an operand") !=
          std::string::npos);
    CHECK(error_of(lane + "dance out0 chunk 0").find("\"dance\"") != std::string::npos);
    CHECK(error_of(lane + "put <- in0 to x chunk 0").find("a rank") != std::string::npos);
    CHECK(error_of(lane + "put <- in0 from 1 chunk 0").find("chunk") != std::string::npos);
    CHECK(error_of(lane + "release s0 chunk -1").find("chunk number") != std::string::npos);
    CHECK(error_of(lane + "release s0 chunk 0 after 1").find("lane.step") != std::string::npos);
    CHECK(error_of(lane + "release s0 chunk 0 after").find("lane.step") != std::string::npos);
    CHECK(error_of(lane + "release s0 chunk 0 soon").find("end of the step") != std::string::npos);
    CHECK(error_of(lane + "release s99999999999 chunk 0").find("line 5") != std::string::npos);
}

TEST_CASE("garbage never crashes the parser, and what it accepts prints the same") {
    const std::string good = plan_text(plan_make(Coll::reduce_scatter, Kind::ring, 3, 2));
    std::mt19937 random(7);
    const std::string alphabet = "0123456789 \n<-:.=abcdefghiklmnoprstuwx#";
    for (int round = 0; round < 3000; round++) {
        std::string text = good;
        for (int change = 0; change < 1 + round % 8; change++) {
            const size_t at = random() % text.size();
            switch (random() % 3) {
                case 0:
                    text[at] = alphabet[random() % alphabet.size()];
                    break;
                case 1:
                    text.erase(at, random() % 20);
                    break;
                default:
                    text.insert(at, text.substr(random() % text.size(), random() % 40));
            }
            text += text.empty() ? "x" : "";
        }
        const Result<Plan> plan = plan_parse(text);
        if (plan.ok()) {
            const Result<Plan> again = plan_parse(plan_text(plan.value()));
            REQUIRE(again.ok());
            CHECK(again.value() == plan.value());
        } else {
            CHECK(plan.error().what.find("line ") != std::string::npos);
        }
    }
}
