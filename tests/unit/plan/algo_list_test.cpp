// NCCL_ALGO as users write it for NCCL.
#include "src/plan/algo_list.h"

#include <random>

#include "tests/catch.h"

using namespace weft;
using namespace weft::plan;

namespace {

AlgoWish wish_of(std::string_view text, Coll coll = Coll::all_reduce) {
    INFO(text);
    Result<AlgoWish> wish = algo_list_parse(text, coll);
    REQUIRE(wish.ok());
    return std::move(wish).value();
}

bool is_free(const AlgoWish& wish) {
    return !wish.algo.has_value() && wish.unmet.empty();
}

std::string refusal_of(std::string_view text) {
    INFO(text);
    const Result<AlgoWish> wish = algo_list_parse(text, Coll::all_reduce);
    REQUIRE_FALSE(wish.ok());
    CHECK(wish.error().code == Code::invalid_argument);
    return wish.error().what;
}

bool holds(const std::string& text, std::string_view part) {
    return text.find(part) != text.npos;
}

}  // namespace

TEST_CASE("algorithm lists: the first name Weft has is taken, in any case") {
    CHECK(wish_of("ring").algo == Algo::ring);
    CHECK(wish_of("Ring,Tree").algo == Algo::ring);
    CHECK(wish_of("TREE,RING").algo == Algo::ring);
    CHECK(wish_of("CollnetDirect,CollnetChain,NVLS,NVLSTree,PAT,direct,ring").algo == Algo::direct);
    CHECK(wish_of(" ring , tree ").algo == Algo::ring);
    CHECK(wish_of(",tree,,ring,").algo == Algo::ring);
    CHECK(is_free(wish_of("")));
    CHECK(is_free(wish_of("  ")));
}

TEST_CASE("algorithm lists: a leading ^ takes all but these") {
    CHECK(is_free(wish_of("^Tree")));
    CHECK(is_free(wish_of("^nvls,PAT")));
    CHECK(wish_of("^Ring").algo == Algo::direct);
    CHECK(wish_of("^tree,direct").algo == Algo::ring);
    const AlgoWish none = wish_of("^ring,direct");
    CHECK_FALSE(none.algo.has_value());
    CHECK(none.unmet == "^ring,direct");
}

TEST_CASE("algorithm lists: entries for functions go before the one for all") {
    const std::string_view text = "ring;AllReduce:tree,direct;broadcast:^ring;reduce:tree";
    CHECK(wish_of(text, Coll::all_reduce).algo == Algo::direct);
    CHECK(wish_of(text, Coll::broadcast).algo == Algo::direct);
    CHECK(wish_of(text, Coll::all_gather).algo == Algo::ring);
    CHECK(wish_of(text, Coll::reduce).unmet == "tree");
    CHECK_FALSE(wish_of(text, Coll::reduce).algo.has_value());
    CHECK(is_free(wish_of("allreduce:ring", Coll::broadcast)));
    CHECK(wish_of("reducescatter:ring", Coll::reduce_scatter).algo == Algo::ring);
    // The last of several for one function counts.
    CHECK(wish_of("allreduce:ring;allreduce:direct").algo == Algo::direct);
    CHECK(wish_of("ring;").algo == Algo::ring);
}

TEST_CASE("algorithm lists: what is wrong is named, whatever the collective") {
    CHECK(holds(refusal_of("ring,teapot"), "\"teapot\" is no algorithm: use direct or ring"));
    CHECK(holds(refusal_of("broadcast:teapot"), "\"teapot\" is no algorithm"));
    CHECK(holds(refusal_of("allreduce:"), "\"\" names no algorithm"));
    CHECK(holds(refusal_of("^"), "\"\" names no algorithm"));
    CHECK(holds(refusal_of("reduce:,"), "\",\" names no algorithm"));
    CHECK(holds(refusal_of("ring,^tree"), "\"^tree\" is no algorithm"));
    CHECK(holds(refusal_of("allreduces:ring"), "\"allreduces\" is no function: use allreduce"));
    CHECK(holds(refusal_of("allreduce:tree;ring"), "\"ring\" names no function"));
    CHECK(holds(refusal_of("allreduce:tree:ring"), "\"tree:ring\" is no algorithm"));
    CHECK(refusal_of(std::string(100000, 'x')).size() < 500);
}

TEST_CASE("algorithm lists: one warning names the lists without effect") {
    CHECK(algo_list_warning("").empty());
    CHECK(algo_list_warning("ring,tree").empty());
    CHECK(algo_list_warning("^tree").empty());
    CHECK(algo_list_warning("teapot").empty());
    CHECK(algo_list_warning("Tree").find("\"Tree\" names nothing Weft has") == 0);
    CHECK(algo_list_warning("ring;allreduce:tree;broadcast:nvls;reduce:tree")
              .find("\"tree\", \"nvls\" names nothing") == 0);
}

TEST_CASE("algorithm lists: no text makes the parser misbehave") {
    std::mt19937_64 random(1);
    constexpr std::string_view pieces[] = {"ring", "tree", "direct", "allreduce", ":",
                                           ";",    ",",    "^",      " ",         "x"};
    size_t taken = 0;
    for (int i = 0; i < 5000; ++i) {
        std::string text;
        for (uint64_t length = random() % 9; length > 0; --length) {
            text += pieces[random() % std::size(pieces)];
        }
        const Result<AlgoWish> wish = algo_list_parse(text, Coll::all_reduce);
        taken += wish.ok() ? 1 : 0;
        CHECK(!(wish.ok() && wish.value().algo.has_value() && !wish.value().unmet.empty()));
    }
    CHECK(taken > 100);
    CHECK(taken < 4900);
}
