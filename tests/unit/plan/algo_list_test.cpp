// NCCL_ALGO as users write it for NCCL.
#include "src/plan/algo_list.h"

#include <optional>
#include <random>

#include "src/plan/planner.h"
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

std::optional<Algo> algo_of(std::string_view text, Coll coll = Coll::all_reduce) {
    const AlgoWish wish = wish_of(text, coll);
    return wish.algos.empty() ? std::optional<Algo>() : wish.algos.front().algo;
}

bool is_free(const AlgoWish& wish) {
    return wish.algos.empty() && wish.unmet.empty();
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
    CHECK(algo_of("ring") == Algo::ring);
    CHECK(algo_of("Ring,Tree") == Algo::ring);
    CHECK(algo_of("TREE,RING") == Algo::tree);
    CHECK(algo_of("TREE,RING", Coll::all_gather) == Algo::ring);
    CHECK(algo_of("pat,mesh,chain", Coll::broadcast) == Algo::chain);
    CHECK(algo_of("CollnetDirect,CollnetChain,NVLS,NVLSTree,PAT,direct,ring") == Algo::direct);
    CHECK(algo_of(" ring , tree ") == Algo::ring);
    CHECK(algo_of(",nvls,,ring,") == Algo::ring);
    CHECK(is_free(wish_of("")));
    CHECK(is_free(wish_of("  ")));
}

TEST_CASE("algorithm lists: a leading ^ takes all but these") {
    CHECK(is_free(wish_of("^Tree")));
    CHECK(is_free(wish_of("^nvls,PAT")));
    CHECK(wish_of("^Ring").bars(Algo::ring));
    CHECK_FALSE(wish_of("^Ring").bars(Algo::direct));
    CHECK(wish_of("^tree,direct").bars(Algo::tree));
    CHECK(wish_of("^hier:mesh").bars(Algo::hier));
    const AlgoWish none = wish_of("^ring,direct,tree,mesh,halving,hier");
    CHECK(none.barred == 0);
    CHECK(none.unmet == "^ring,direct,tree,mesh,halving,hier");
    CHECK(wish_of("^direct", Coll::gather).unmet == "^direct");
}

TEST_CASE("algorithm lists: a hierarchy, with what runs between the hosts") {
    CHECK(wish_of("hier").algos == std::vector<AlgoName>{{Algo::hier, Algo::ring}});
    const std::vector<AlgoName> both = {{Algo::hier, Algo::mesh}, {Algo::ring, Algo::ring}};
    CHECK(wish_of("Hier:MESH, ring").algos == both);
    CHECK(wish_of("allreduce:hier:mesh,ring").algos == both);
    CHECK(wish_of("ring;allgather:hier:halving", Coll::all_gather).algos.front().inter ==
          Algo::halving);
    CHECK(algo_of("hier:tree;broadcast:ring") == Algo::hier);
    CHECK(algo_of("hier:tree;broadcast:ring", Coll::broadcast) == Algo::ring);
    CHECK(holds(refusal_of("hier:chain"), "between hosts use ring"));
    CHECK(holds(refusal_of("hier:"), "between hosts use ring"));
}

TEST_CASE("algorithm lists: entries for functions go before the one for all") {
    const std::string_view text = "ring;AllReduce:pat,direct;broadcast:^ring;reduce:mesh";
    CHECK(algo_of(text, Coll::all_reduce) == Algo::direct);
    CHECK(wish_of(text, Coll::broadcast).bars(Algo::ring));
    CHECK(algo_of(text, Coll::all_gather) == Algo::ring);
    CHECK(wish_of(text, Coll::reduce).unmet == "mesh");
    CHECK(wish_of(text, Coll::reduce).algos.empty());
    CHECK(is_free(wish_of("allreduce:ring", Coll::broadcast)));
    CHECK(algo_of("reducescatter:ring", Coll::reduce_scatter) == Algo::ring);
    // The last of several for one function counts.
    CHECK(algo_of("allreduce:ring;allreduce:direct") == Algo::direct);
    CHECK(algo_of("ring;") == Algo::ring);
}

TEST_CASE("algorithm lists: what is wrong is named, whatever the collective") {
    CHECK(holds(refusal_of("ring,teapot"), "\"teapot\" is no algorithm: use direct, ring"));
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
    CHECK(algo_list_warning("Tree").empty());
    CHECK(algo_list_warning("Pat").find("\"Pat\" names nothing Weft has") == 0);
    CHECK(algo_list_warning("ring;allreduce:pat;broadcast:nvls;reduce:mesh")
              .find("\"pat\", \"nvls\", \"mesh\" names nothing") == 0);
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
        CHECK(!(wish.ok() && !wish.value().algos.empty() && !wish.value().unmet.empty()));
    }
    CHECK(taken > 100);
    CHECK(taken < 4900);
}

TEST_CASE("protocols: what leaves neither LL nor LL128 moves nothing eagerly") {
    const auto granted = [](const char* text, Coll coll) {
        const Result<uint32_t> mask = proto_list_parse(text);
        REQUIRE(mask.ok());
        return (mask.value() >> static_cast<uint32_t>(coll) & 1) != 0;
    };
    CHECK_FALSE(granted("", Coll::all_reduce));
    CHECK(granted("Simple", Coll::all_reduce));
    CHECK(granted("simple", Coll::send_recv));
    CHECK_FALSE(granted("LL,Simple", Coll::all_reduce));
    CHECK_FALSE(granted("^LL", Coll::all_reduce));
    CHECK(granted("^LL,LL128", Coll::all_reduce));
    CHECK(granted("LL;allreduce:Simple", Coll::all_reduce));
    CHECK_FALSE(granted("LL;allreduce:Simple", Coll::all_gather));
    CHECK_FALSE(granted("Simple;broadcast:LL128", Coll::broadcast));
    for (const char* wrong : {"LL256", "LL;Simple", "allrduce:LL", "^", "LL;allreduce:"}) {
        CAPTURE(wrong);
        CHECK_FALSE(proto_list_parse(wrong).ok());
    }
    CHECK(proto_list_parse("LL256").error().what.find("\"LL256\" is no protocol") !=
          std::string::npos);
}

TEST_CASE("granted only: not even 8 bytes go by value") {
    Limits limits;
    limits.granted = proto_list_parse("Simple").value();
    Request request;
    request.rank_count = 4;
    request.count = 8;
    CHECK_FALSE(choose(request, limits).value().eager);
    CHECK_FALSE(choose_pair(8, limits).value().eager);
    limits.granted = 0;
    CHECK(choose(request, limits).value().eager);
    CHECK(choose_pair(8, limits).value().eager);
}
