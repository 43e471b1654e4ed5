// Every generated plan is proved: by default over sampled sizes, in the suite `long` over all.
#include <algorithm>
#include <cstdio>

#include "src/plan/verify.h"
#include "tests/unit/plan/plans.h"

using namespace weft;
using namespace weft::plan;

namespace {

void require_proved(const Plan& plan, const VerifyCase& how) {
    const Result<void> proved = verify(plan, how);
    if (!proved.ok()) {
        FAIL(plan_name(plan) << " with " << plan.ranks[0].lanes.size() << " lanes, root "
                             << plan.shape.root << ", " << how.tiles
                             << " tiles: " << proved.error().what);
    }
}

std::vector<std::vector<bool>> patterns(size_t count, bool wanted) {
    std::vector<std::vector<bool>> all = {{}};
    if (wanted) {
        all.emplace_back(count, true);
        all.emplace_back(count, false);
        for (size_t i = 0; i < count; i += 3) {
            all.back()[i] = true;
        }
    }
    return all;
}

// First k chunks not empty, for a few k.
std::vector<std::vector<bool>> first_only(uint32_t chunks, bool wanted) {
    std::vector<std::vector<bool>> all = {{}};
    for (const uint32_t k : {1u, chunks / 2, chunks - 1}) {
        if (wanted && k > 0 && k < chunks) {
            all.emplace_back(chunks, true);
            std::fill_n(all.back().begin(), k, false);
        }
    }
    return all;
}

std::vector<int32_t> roots(Coll coll, int32_t ranks) {
    std::vector<int32_t> list = {0};
    if (has_root(coll)) {
        list.push_back(ranks / 2);
        list.push_back(ranks - 1);
    }
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
}

// One plan in every mode, with 1, 2 and 4 tiles; `full` crosses that with places and empty chunks,
// otherwise each of these meets one of the others.
void sweep(const Plan& plan, bool full) {
    const bool can_be_in_place = plan.shape.coll != Coll::all_to_all;
    const auto places = patterns(plan.ranks.size(), can_be_in_place);
    const auto empties = first_only(plan.shape.chunks, true);
    size_t turn = 0;
    for (const bool eager : {false, true}) {
        for (const uint32_t tiles : {1u, 2u, 4u}) {
            if (!full) {
                require_proved(plan, {eager, tiles, 2, places[turn % places.size()],
                                      empties[turn % empties.size()]});
                turn++;
                continue;
            }
            for (const auto& place : places) {
                for (const auto& empty : empties) {
                    require_proved(plan, {eager, tiles, 2, place, empty});
                }
            }
        }
    }
}

void sweep_ranks(int32_t ranks, uint32_t lanes, bool full) {
    for (const Coll coll : collectives) {
        for (const Kind kind : kinds) {
            if (!has_plan(coll, kind)) {
                continue;
            }
            for (const int32_t root : roots(coll, ranks)) {
                sweep(plan_make(coll, kind, ranks, lanes, root), full);
            }
        }
    }
}

// Hosts of up to `ranks_max` ranks each, in every order of sizes.
std::vector<std::vector<int32_t>> host_lists(size_t hosts, int32_t ranks_max) {
    std::vector<std::vector<int32_t>> lists = {{}};
    for (size_t host = 0; host < hosts; host++) {
        std::vector<std::vector<int32_t>> longer;
        for (const auto& list : lists) {
            for (int32_t ranks = 1; ranks <= ranks_max; ranks++) {
                longer.push_back(list);
                longer.back().push_back(ranks);
            }
        }
        lists = std::move(longer);
    }
    return lists;
}

// Every collective and level between hosts; ranks dealt to the hosts where `dealt`. Returns the
// number of plans.
size_t sweep_hosts(const std::vector<int32_t>& sizes, bool dealt, uint32_t strands, bool full) {
    const ClusterRef cluster = cluster_of(sizes, dealt);
    size_t plans = 0;
    for (const Coll coll : collectives) {
        for (const Algo inter : inters) {
            for (const int32_t root : roots(coll, cluster->rank_count())) {
                sweep(hier_make(coll, inter, cluster, strands, root), full);
                plans++;
            }
        }
    }
    return plans;
}

}  // namespace

TEST_CASE("every plan of up to 8 ranks is proved in every situation") {
    for (int32_t ranks = 1; ranks <= 8; ranks++) {
        for (const uint32_t lanes : {1u, 2u}) {
            sweep_ranks(ranks, lanes, true);
        }
    }
}

TEST_CASE("plans of 9 to 64 ranks, sampled") {
    for (const int32_t ranks : {9, 13, 16, 24, 33}) {
        sweep_ranks(ranks, 1, false);
    }
    sweep_ranks(64, 1, false);
}

TEST_CASE("hierarchies of hosts of any size are proved") {
    size_t plans = 0;
    for (const size_t hosts : {2u, 3u}) {
        bool dealt = false;
        for (const auto& sizes : host_lists(hosts, 4)) {
            dealt = !dealt;
            plans += sweep_hosts(sizes, dealt, 1, false);
        }
    }
    plans += sweep_hosts({2, 2}, false, 2, true);
    plans += sweep_hosts({2, 1, 3}, true, 2, true);
    CHECK(plans > 3000);
}

TEST_CASE("hierarchies of more hosts, sampled") {
    for (const auto& sizes : std::vector<std::vector<int32_t>>{
             {4, 4, 4, 4}, {2, 2, 2, 2, 2}, {1, 1, 1, 1, 1, 1, 1}, {8, 1, 2}, {1, 2, 1, 2, 5}}) {
        sweep_hosts(sizes, true, 1, false);
    }
}

TEST_CASE("four lanes") {
    sweep_ranks(5, 4, true);
}

TEST_CASE("many members: log-sized slots, and eager puts that fit the links") {
    for (const int32_t ranks : {77, 97}) {
        for (const Coll coll : {Coll::reduce_scatter, Coll::all_gather}) {
            const Plan plan = plan_make(coll, Kind::halving, ranks, 1);
            for (const bool eager : {false, true}) {
                require_proved(plan, {eager, 2, 2, {}, {}});
            }
            for (const RankPlan& part : plan.ranks) {
                CHECK(part.lanes[0].scratch_slots <= 26);
            }
        }
        require_proved(plan_make(Coll::all_gather, Kind::mesh, ranks, 1), {false, 2, 2, {}, {}});
    }
}

TEST_CASE("what the choice gives passes the proof an imported plan must pass") {
    for (const Coll coll : collectives) {
        for (const uint64_t count : {1ull, 3000ull, 1ull << 20, 1ull << 24}) {
            for (const bool load : {false, true}) {
                Request request{coll, 6, has_root(coll) ? 2 : 0, count, 4, true, load};
                const Result<Choice> choice = choose(request, {});
                REQUIRE(choice.ok());
                Plan plan{choice.value().shape, {}};
                for (int32_t rank = 0; rank < 6; rank++) {
                    plan.ranks.push_back(generate(plan.shape, choice.value().lanes, rank).value());
                }
                const Result<void> proved = prove(plan);
                INFO((proved.ok() ? "" : proved.error().what));
                CHECK(proved.ok());
            }
        }
    }
}

TEST_CASE("every plan of 1 to 64 ranks in every situation", "[.long]") {
    for (int32_t ranks = 1; ranks <= 64; ranks++) {
        std::printf("%d ranks\n", ranks);
        std::fflush(stdout);
        for (const uint32_t lanes : {1u, 2u, 4u}) {
            sweep_ranks(ranks, lanes, lanes == 1 || ranks <= 24);
        }
    }
}

TEST_CASE("hierarchies of up to 5 hosts, the small ones in every situation", "[.long]") {
    for (const size_t hosts : {2u, 3u, 4u, 5u}) {
        size_t plans = 0;
        for (const auto& sizes : host_lists(hosts, hosts < 5 ? 4 : 2)) {
            for (const bool dealt : {false, true}) {
                const bool small = *std::max_element(sizes.begin(), sizes.end()) <= 2;
                plans += sweep_hosts(sizes, dealt, hosts < 4 ? 2 : 1,
                                     hosts == 2 || (hosts == 3 && small));
            }
        }
        std::printf("%zu hosts: %zu plans\n", hosts, plans);
        std::fflush(stdout);
    }
    for (const auto& sizes : std::vector<std::vector<int32_t>>{
             {8, 8, 8, 8}, {16, 2, 1, 16}, std::vector<int32_t>(16, 2), {4, 4, 4, 4, 4, 4, 3}}) {
        sweep_hosts(sizes, true, 2, false);
    }
}
