// Plans of many ranks: hundreds by default, 4,096 in the suite `long`. Times are of the processor,
// so that nobody else's work counts; the bounds are loose.
#include <cstdio>
#include <ctime>

#include "src/plan/verify.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

constexpr int32_t host_ranks = 8;

Shape shape_of(Coll coll, Algo inter, const std::vector<int32_t>& sizes, uint32_t strands) {
    Shape shape;
    shape.coll = coll;
    shape.algo = Algo::hier;
    shape.inter = inter;
    shape.cluster = cluster_of(sizes);
    shape.rank_count = shape.cluster->rank_count();
    shape.root = has_root(coll) ? shape.rank_count / 2 + 1 : 0;
    shape_fit(shape, strands);
    return shape;
}

Proof require_proved(const Shape& shape, uint32_t strands, double seconds_max) {
    const std::clock_t begin = std::clock();
    const Result<Proof> proof =
        prove(shape, [&](int32_t rank) { return generate(shape, strands, rank); });
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (!proof.ok()) {
        FAIL(to_string(shape.coll) << ": " << proof.error().what);
    }
    std::printf("%s by %s, %d ranks: %d run, %llu steps, %.1f s; %s\n", to_string(shape.coll),
                to_string(shape.inter), shape.rank_count, proof.value().ranks,
                static_cast<unsigned long long>(proof.value().steps), seconds,
                proof.value().rotation.c_str());
    std::fflush(stdout);
    CHECK(seconds < seconds_max);
    return proof.value();
}

// One host of `hosts` runs where the plan rotates.
void prove_hosts(int32_t hosts, const std::vector<Algo>& between, double seconds_max) {
    const std::vector<int32_t> sizes(static_cast<size_t>(hosts), host_ranks);
    for (const Coll coll : collectives) {
        for (const Algo inter : between) {
            const bool tree = coll == Coll::all_reduce && inter == Algo::tree;
            const bool folds = !has_root(coll) && !tree;
            const Proof proof = require_proved(shape_of(coll, inter, sizes, 1), 1, seconds_max);
            CHECK(proof.way == (folds ? ProofWay::folded : ProofWay::all_ranks));
            CHECK(proof.ranks == (folds ? host_ranks : hosts * host_ranks));
        }
    }
}

}  // namespace

TEST_CASE("every collective on 512 ranks") {
    prove_hosts(64, {Algo::ring}, 60);
}

TEST_CASE("hosts that differ in size are run as they are") {
    std::vector<int32_t> sizes(16, host_ranks);
    sizes[5] = 3;
    for (const Coll coll : collectives) {
        const Proof proof = require_proved(shape_of(coll, Algo::ring, sizes, 1), 1, 60);
        CHECK(proof.way == ProofWay::all_ranks);
        CHECK(proof.ranks == 15 * host_ranks + 3);
    }
}

TEST_CASE("every collective on 4,096 ranks", "[.long]") {
    prove_hosts(512, {Algo::ring, Algo::halving, Algo::tree, Algo::mesh}, 600);
}

TEST_CASE("more than can be run at once is refused, and says so") {
    ProofOptions options;
    options.steps_max = 1000;
    const Shape even = shape_of(Coll::all_gather, Algo::ring, {8, 8, 8}, 1);
    const auto part_of = [](const Shape& shape) {
        return [&shape](int32_t rank) { return generate(shape, 1, rank); };
    };
    CHECK(prove(even, part_of(even), options).ok());
    const Shape uneven = shape_of(Coll::all_gather, Algo::ring, {8, 8, 7}, 1);
    const Result<Proof> proof = prove(uneven, part_of(uneven), options);
    REQUIRE_FALSE(proof.ok());
    CHECK(proof.error().what.find("too many to run all ranks") != std::string::npos);
}

// Nobody can be asked again, so what one host found stands.
TEST_CASE("a fault that one host shows is told even where nothing more can be run") {
    ProofOptions options;
    options.steps_max = 1000;
    const Shape shape = shape_of(Coll::all_gather, Algo::ring, {8, 8, 8}, 1);
    const auto without_waits = [&](int32_t rank) {
        Result<RankPlan> part = generate(shape, 1, rank);
        for (Step& step : part.value().lanes[1].steps) {
            step.after.clear();
        }
        return part;
    };
    const Result<Proof> proof = prove(shape, without_waits, options);
    REQUIRE_FALSE(proof.ok());
    const std::string& text = proof.error().what;
    CAPTURE(text);
    CHECK(text.find("reads out") != text.npos);
    CHECK(text.find("(as far as it was asked: ") != text.npos);
}
