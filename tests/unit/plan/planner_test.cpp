// The choice and the geometry of chunks.
#include "src/plan/planner.h"

#include "tests/catch.h"

using namespace weft;
using namespace weft::plan;

namespace {

Request request_of(Coll coll, int32_t ranks, uint64_t bytes) {
    Request request;
    request.coll = coll;
    request.rank_count = ranks;
    request.count = bytes / 4;
    request.elem_bytes = 4;
    return request;
}

Choice choice_of(const Request& request, const Limits& limits = {}) {
    const Result<Choice> choice = choose(request, limits);
    REQUIRE(choice.ok());
    return choice.value();
}

}  // namespace

TEST_CASE("small all_reduce is one shot, larger ones go round the ring") {
    const Choice small = choice_of(request_of(Coll::all_reduce, 8, 8192));
    CHECK(small.algo == Algo::direct);
    CHECK(small.eager);
    CHECK(small.tiles == 1);
    CHECK(small.tile_bytes == 8192);
    CHECK(small.lanes == 1);

    const Choice many = choice_of(request_of(Coll::all_reduce, 64, 512));
    CHECK(many.algo == Algo::ring);
    CHECK(many.eager);
    CHECK(many.shape.chunks == 64);

    const Choice large = choice_of(request_of(Coll::all_reduce, 4, 64 << 20));
    CHECK(large.algo == Algo::ring);
    CHECK_FALSE(large.eager);
    CHECK(large.lanes == 4);
    CHECK(large.shape.chunks == 16);

    const Choice two = choice_of(request_of(Coll::all_reduce, 2, 1 << 20));
    CHECK(two.algo == Algo::ring);
    CHECK(two.lanes == 2);
}

TEST_CASE("ranks that load from each other skip the puts, unless the call is small") {
    Request request = request_of(Coll::all_reduce, 4, 1 << 20);
    request.peer_load = true;
    const Choice loads = choice_of(request);
    CHECK(loads.shape.loads);
    CHECK_FALSE(loads.eager);
    CHECK(loads.shape.chunks == 4 * loads.lanes);
    request.count = 16;
    CHECK_FALSE(choice_of(request).shape.loads);
    request.coll = Coll::all_to_all;
    request.count = 1 << 20;
    CHECK_FALSE(choice_of(request).shape.loads);
}

TEST_CASE("the algorithm setting is obeyed, in any case, where the collective has it") {
    Limits limits;
    limits.algo = "RING";
    CHECK(choice_of(request_of(Coll::all_reduce, 4, 64), limits).algo == Algo::ring);
    CHECK(choice_of(request_of(Coll::gather, 4, 64), limits).algo == Algo::direct);
    limits.algo = "Direct";
    CHECK(choice_of(request_of(Coll::all_reduce, 4, 64 << 20), limits).algo == Algo::direct);
    limits.algo = "teapot";
    const Result<Choice> unknown = choose(request_of(Coll::all_reduce, 4, 64), limits);
    REQUIRE_FALSE(unknown.ok());
    CHECK(unknown.error().code == Code::invalid_argument);
    CHECK(unknown.error().what.find("teapot") != std::string::npos);
    CHECK(unknown.error().what.find("ring") != std::string::npos);
}

TEST_CASE("the algorithm setting may be a list, as scripts for NCCL write it") {
    const Request large = request_of(Coll::all_reduce, 4, 64 << 20);
    const Request small = request_of(Coll::all_reduce, 4, 64);
    Limits limits;
    limits.algo = "PAT,Ring";
    CHECK(choice_of(small, limits).algo == Algo::ring);
    limits.algo = "Tree,Ring";
    CHECK(choice_of(small, limits).algo == Algo::tree);
    CHECK(choice_of(request_of(Coll::all_gather, 4, 64), limits).algo == Algo::ring);
    limits.algo = "^Ring";
    CHECK(choice_of(large, limits).algo == Algo::direct);
    limits.algo = "^Tree";
    CHECK(choice_of(large, limits).reason == choice_of(large).reason);
    limits.algo = "broadcast:ring;allreduce:nvls,direct";
    CHECK(choice_of(large, limits).algo == Algo::direct);
}

TEST_CASE("a list of algorithms Weft lacks leaves the choice automatic, and the reason says so") {
    Limits limits;
    limits.algo = "NVLS";
    for (const uint64_t bytes : {64u, 64u << 20}) {
        const Request request = request_of(Coll::all_reduce, 4, bytes);
        const Choice choice = choice_of(request, limits);
        CHECK(choice.shape == choice_of(request).shape);
        CHECK(choice.reason.find("\"NVLS\" names nothing Weft has") != std::string::npos);
    }
    CHECK(choice_of(request_of(Coll::gather, 4, 64), limits).reason.find("NVLS") ==
          std::string::npos);
}

TEST_CASE("large blocks over hosts of several ranks take the hierarchy, where it is allowed") {
    const auto hosts = [](std::vector<std::vector<int32_t>> lists) {
        return ClusterRef{Cluster::of(std::move(lists)).value()};
    };
    const ClusterRef two = hosts({{0, 2}, {1, 3}}), uneven = hosts({{0, 1, 2}, {3}}),
                     one = hosts({{0, 1, 2, 3}});
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::broadcast, Coll::reduce,
          Coll::all_to_all, Coll::gather, Coll::scatter}) {
        CAPTURE(to_string(coll));
        Request request = request_of(coll, 4, 64 << 20);
        request.one_host = false;
        const Choice flat = choice_of(request);
        CHECK(flat.algo != Algo::hier);
        request.cluster = &two;
        const Choice choice = choice_of(request);
        CHECK(choice.algo == Algo::hier);
        CHECK(choice.shape.inter == Algo::ring);
        CHECK(choice.shape.cluster == two);
        CHECK(choice.lanes * lanes_per_strand(choice.shape) <= lanes_max);
        CHECK(generate(choice.shape, choice.lanes, 2).ok());
        Limits limits;
        limits.algo = "hier:mesh";
        CHECK(choice_of(request, limits).shape.inter == Algo::mesh);
        limits.algo = "^hier";
        CHECK(choice_of(request, limits).shape == flat.shape);
        request.cluster = &one;
        CHECK(choice_of(request).shape == flat.shape);
        limits.algo = "hier,direct";
        CHECK(choice_of(request, limits).algo == Algo::direct);
        request.cluster = &uneven;
        CHECK(choice_of(request).shape == flat.shape);
        CHECK(choice_of(request, limits).algo == Algo::hier);
        request.count = 16;
        request.cluster = &two;
        CHECK(choice_of(request).algo != Algo::hier);
    }
}

TEST_CASE("requests that make no sense are refused") {
    Request request = request_of(Coll::reduce, 4, 64);
    request.root = 4;
    CHECK_FALSE(choose(request, {}).ok());
    request.root = -1;
    CHECK_FALSE(choose(request, {}).ok());
    request.root = 0;
    request.elem_bytes = 3;
    CHECK_FALSE(choose(request, {}).ok());
    request.elem_bytes = 4;
    request.count = (1ull << 48) + 1;
    CHECK_FALSE(choose(request, {}).ok());
    request.count = 1;
    request.coll = Coll::send_recv;
    CHECK_FALSE(choose(request, {}).ok());
    request.rank_count = 0;
    CHECK_FALSE(choose(request, {}).ok());
}

TEST_CASE("tiles cover every chunk, stay aligned and within their bounds") {
    for (const Coll coll : {Coll::all_reduce, Coll::all_gather, Coll::broadcast, Coll::reduce,
                            Coll::reduce_scatter, Coll::all_to_all}) {
        for (const bool load : {false, true}) {
            for (uint64_t bytes = 4; bytes < (1ull << 40); bytes = bytes * 5 + 4) {
                Request request = request_of(coll, 6, bytes);
                request.peer_load = load;
                request.one_host = bytes % 8 == 0;
                const Choice choice = choice_of(request);
                uint64_t largest = 0;
                for (uint32_t c = 0; c < choice.shape.chunks; c++) {
                    largest = std::max(
                        largest, chunk_extent(request.count, 4, choice.shape.chunks, c).bytes());
                }
                CHECK(choice.tile_bytes % 16 == 0);
                CHECK(choice.tile_bytes * choice.tiles >= largest);
                CHECK(choice.tile_bytes * (choice.tiles - 1) < std::max<uint64_t>(largest, 1));
                CHECK(choice.lanes >= 1);
                CHECK(choice.lanes <= 4);
                if (!choice.eager) {
                    CHECK(choice.tile_bytes <= (1 << 20));
                    CHECK(choice.tile_bytes >= std::min<uint64_t>(largest, 128 << 10));
                }
            }
        }
    }
}

TEST_CASE("the tile setting is rounded up, and nothing to move is one empty pass") {
    Limits limits;
    limits.eager_bytes = 0;
    limits.tile_bytes = 1000;
    const Choice choice = choice_of(request_of(Coll::broadcast, 2, 4096), limits);
    CHECK(choice.tile_bytes == 1008);
    CHECK(choice.tiles == 5);
    CHECK_FALSE(choice.eager);
    const Choice empty = choice_of(request_of(Coll::broadcast, 2, 0), limits);
    CHECK(empty.tiles == 1);
    CHECK(empty.tile_bytes > 0);
}

TEST_CASE("chunks partition the block on 16-byte boundaries") {
    for (const uint32_t elem : {1u, 2u, 4u, 8u, 16u}) {
        for (const uint64_t count : {0ull, 1ull, 3ull, 17ull, 1000ull, 65537ull, 1ull << 48}) {
            for (const uint32_t chunks : {1u, 2u, 3u, 7u, 64u, 4096u}) {
                uint64_t at = 0;
                for (uint32_t c = 0; c < chunks; c++) {
                    const Extent extent = chunk_extent(count, elem, chunks, c);
                    REQUIRE(extent.begin == at);
                    REQUIRE(extent.end >= extent.begin);
                    REQUIRE((extent.end % 16 == 0 || extent.end == count * elem));
                    const auto exact = static_cast<uint64_t>(c + 1) * count / chunks;
                    REQUIRE((c + 1 == chunks || extent.end == exact * elem / 16 * 16));
                    at = extent.end;
                }
                CHECK(at == count * elem);
            }
        }
    }
}

TEST_CASE("pairs: eager when small, one lane and large tiles otherwise") {
    const Result<Choice> small = choose_pair(100, {});
    REQUIRE(small.ok());
    CHECK(small.value().eager);
    CHECK(small.value().tiles == 1);
    CHECK(small.value().tile_bytes == 112);
    const Result<Choice> large = choose_pair(100 << 20, {});
    REQUIRE(large.ok());
    CHECK_FALSE(large.value().eager);
    CHECK(large.value().tiles == 7);
    CHECK(choose_pair(0, {}).value().tiles == 1);
}
