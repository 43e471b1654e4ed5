// NCCL's algorithms are right as plans, and send what NCCL's send.
#include "src/plan/nccl_plan.h"

#include <map>

#include "src/plan/verify.h"
#include "tests/catch.h"

namespace weft::plan {

namespace {

Plan whole(const NcclPlan& of) {
    Plan plan;
    plan.shape = nccl_shape(of).value();
    for (int32_t rank = 0; rank < plan.shape.rank_count; rank++) {
        plan.ranks.push_back(nccl_part(of, rank).value());
    }
    return plan;
}

}  // namespace

TEST_CASE("NCCL's algorithms are proved like any other") {
    for (const auto& [hosts, each] : {std::pair{2, 3}, {3, 2}, {1, 4}, {5, 1}, {4, 2}}) {
        for (const Coll coll : {Coll::all_gather, Coll::reduce_scatter, Coll::all_reduce}) {
            for (const NcclAlgo algo : {NcclAlgo::ring, NcclAlgo::tree, NcclAlgo::pat}) {
                const NcclPlan of{algo, coll, hosts, each};
                if (!nccl_shape(of).ok()) {
                    continue;
                }
                CAPTURE(hosts, each, static_cast<int>(coll), to_string(algo));
                const auto proof = prove(whole(of));
                INFO((proof.ok() ? std::string() : proof.error().what));
                CHECK(proof.ok());
            }
        }
    }
}

TEST_CASE("every local rank sends one channel of a ring to the next host") {
    const NcclPlan of{NcclAlgo::ring, Coll::all_gather, 3, 4};
    for (const RankPlan& part : whole(of).ranks) {
        REQUIRE(part.lanes.size() == 4);
        std::map<int32_t, int> puts;  // by lane's receiver: lanes
        for (const Lane& lane : part.lanes) {
            for (const Step& step : lane.steps) {
                if (step.kind == StepKind::put) {
                    puts[step.peer]++;
                }
            }
        }
        CHECK(puts.size() == 2);
        const int32_t host = part.rank / 4, local = part.rank % 4;
        CHECK(puts[host * 4 + (local + 1) % 4] == 3 * 11);
        CHECK(puts[(host + 1) % 3 * 4 + (local + 1) % 4] == 11);
    }
}

TEST_CASE("what NCCL has no algorithm for") {
    CHECK_FALSE(nccl_shape({NcclAlgo::tree, Coll::all_gather, 2, 8}).ok());
    CHECK_FALSE(nccl_shape({NcclAlgo::pat, Coll::all_gather, 2, 8}).ok());
    CHECK_FALSE(nccl_shape({NcclAlgo::pat, Coll::all_reduce, 8, 1}).ok());
    CHECK_FALSE(nccl_shape({NcclAlgo::ring, Coll::broadcast, 2, 8}).ok());
    CHECK_FALSE(nccl_part({NcclAlgo::ring, Coll::all_gather, 2, 8}, 16).ok());
}

}  // namespace weft::plan
