// What is chosen by price, and that one host keeps its rules.
#include "src/tune/choice.h"

#include <chrono>

#include "tests/unit/tune/drafts.h"

namespace weft::tune {

namespace {

plan::Request request_of(Coll coll, const plan::ClusterRef& cluster, uint64_t bytes) {
    plan::Request request;
    request.coll = coll;
    request.rank_count = cluster->rank_count();
    request.count = bytes / 4;
    request.elem_bytes = 4;
    request.one_host = cluster->host_count() == 1;
    request.cluster = &cluster;
    return request;
}

plan::Choice chosen(const Machine& machine, Coll coll, uint64_t bytes,
                    const plan::Limits& limits = {}) {
    Result<plan::Choice> choice =
        choose(request_of(coll, machine.cluster, bytes), limits, machine.table);
    REQUIRE(choice.ok());
    return std::move(choice).value();
}

}  // namespace

TEST_CASE("one host keeps its measured rules") {
    const plan::ClusterRef one = hosts_alike(1, 4);
    const Table table = table_defaults(Defaults::host_memory);
    for (const Coll coll : plan::collectives) {
        for (const bool load : {false, true}) {
            for (uint64_t bytes = 8; bytes <= 64 << 20; bytes *= 8) {
                plan::Request request = request_of(coll, one, bytes);
                request.peer_load = load;
                const plan::Choice by_rule = plan::choose(request, {}).value();
                const plan::Choice by_price = choose(request, {}, table).value();
                CHECK(by_price.shape == by_rule.shape);
                CHECK(by_price.lanes == by_rule.lanes);
                CHECK(by_price.tile_bytes == by_rule.tile_bytes);
                CHECK(by_price.eager == by_rule.eager);
            }
        }
    }
    // The price says the same where the rules are plain.
    const Scene scene = scene_of(table, nullptr, 4);
    const auto price = [&](plan::Algo algo, uint64_t bytes) {
        plan::Request request = request_of(Coll::all_reduce, one, bytes);
        return price_of(scene, request,
                        plan::choice_of(request, {}, {algo, false, plan::Algo::ring, 0, 0, ""}));
    };
    CHECK(price(plan::Algo::direct, 8) < price(plan::Algo::ring, 8));
    CHECK(price(plan::Algo::ring, 64 << 20) < price(plan::Algo::direct, 64 << 20));
}

TEST_CASE("large blocks over hosts of several ranks go by hosts") {
    for (const bool gpu : {false, true}) {
        const Machine machine = machine_make(gpu, 4, 8);
        for (const Coll coll :
             {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::broadcast}) {
            CAPTURE(gpu, to_string(coll));
            CHECK(chosen(machine, coll, 64 << 20).algo == plan::Algo::hier);
        }
    }
}

TEST_CASE("nothing large goes from rail to rail") {
    const Machine machine = machine_make(true, 8, 8);
    CHECK(chosen(machine, Coll::all_to_all, 1 << 20).algo == plan::Algo::hier);
    CHECK(chosen(machine, Coll::reduce, 64 << 20).algo == plan::Algo::hier);
}

TEST_CASE("small blocks on many hosts take few hops") {
    const Machine machine = machine_make(true, 64, 8);
    for (const Coll coll : {Coll::all_reduce, Coll::all_gather, Coll::reduce_scatter}) {
        CAPTURE(to_string(coll));
        const plan::Choice choice = chosen(machine, coll, 1024);
        CHECK(choice.algo == plan::Algo::hier);
        CHECK(choice.shape.inter != plan::Algo::ring);
    }
    CHECK(chosen(machine_make(true, 2, 2), Coll::all_reduce, 8).algo == plan::Algo::direct);
}

TEST_CASE("slower wires between hosts never turn a plan by hosts into a flat one") {
    Machine machine = machine_make(false, 4, 4);
    for (const int64_t byte_fs : {400'000, 1'000'000, 8'000'000}) {
        machine.table.between.byte_fs = byte_fs;
        CHECK(chosen(machine, Coll::all_gather, 4 << 20).algo == plan::Algo::hier);
    }
}

TEST_CASE("settings bar and name algorithms, and the rest is still priced") {
    const Machine machine = machine_make(false, 4, 4);
    plan::Limits limits;
    limits.algo = "^hier";
    CHECK(chosen(machine, Coll::all_reduce, 16 << 20, limits).algo != plan::Algo::hier);
    limits.algo = "hier:mesh";
    const plan::Choice named = chosen(machine, Coll::all_reduce, 16 << 20, limits);
    CHECK(named.algo == plan::Algo::hier);
    CHECK(named.shape.inter == plan::Algo::mesh);
    CHECK(named.reason.find("the algorithm setting") != std::string::npos);
    limits.algo = "nvls";
    CHECK(chosen(machine, Coll::all_reduce, 64, limits).reason.find("\"nvls\" names nothing") !=
          std::string::npos);
    limits.algo = "teapot";
    CHECK_FALSE(
        choose(request_of(Coll::all_reduce, machine.cluster, 64), limits, machine.table).ok());
    limits = {};
    limits.tile_bytes = 64 << 10;
    CHECK(chosen(machine, Coll::all_gather, 16 << 20, limits).tile_bytes == 64 << 10);
    limits = {};
    limits.strands = 2;  // and the tile for so many
    const plan::Choice two = chosen(machine, Coll::all_gather, 16 << 20, limits);
    CHECK(two.lanes == 2);
    const Scene scene = scene_of(machine.table, machine.cluster.at.get(), 16);
    const plan::Request whole = request_of(Coll::all_gather, machine.cluster, 16 << 20);
    const std::string price = "it would cost " + time_text(price_of(scene, whole, two));
    CHECK(two.reason.find(price) != std::string::npos);
    limits = {};
    limits.eager_bytes = 0;
    CHECK_FALSE(chosen(machine, Coll::all_reduce, 64, limits).eager);
}

TEST_CASE("the reason has the price, the others' prices and where costs come from") {
    const plan::Choice choice = chosen(machine_make(false, 4, 2), Coll::all_reduce, 1 << 20);
    INFO(choice.reason);
    CHECK(choice.reason.find(" because: it would cost ") != std::string::npos);
    CHECK(choice.reason.find("direct ") != std::string::npos);
    CHECK(choice.reason.find("(costs from defaults of host memory and sockets)") !=
          std::string::npos);
    CHECK(choice.reason.find("lanes") != std::string::npos);
}

TEST_CASE("every choice has a plan, on even and uneven hosts") {
    for (const plan::ClusterRef& cluster :
         {hosts_alike(3, 3), plan::ClusterRef{plan::Cluster::of({{0, 3, 4}, {1}, {2, 5}}).value()},
          plan::ClusterRef{plan::Cluster::of({{0}, {1}, {2}}).value()}}) {
        for (const Coll coll : plan::collectives) {
            for (uint64_t bytes = 8; bytes <= 64 << 20; bytes *= 16) {
                const plan::Request request = request_of(coll, cluster, bytes);
                const plan::Choice choice =
                    choose(request, {}, table_defaults(Defaults::host_memory)).value();
                CHECK(choice.lanes * plan::lanes_per_strand(choice.shape) <= plan::lanes_max);
                CHECK(plan::generate(choice.shape, choice.lanes, 0).ok());
            }
        }
    }
}

TEST_CASE("times are short texts") {
    CHECK(time_text(812) == "812 ns");
    CHECK(time_text(1'420'000) == "1.4 ms");
    CHECK(time_text(999'600) == "1.0 ms");
    CHECK(time_text(81'200) == "81 us");
    CHECK(time_text(3.2e9) == "3.2 s");
    CHECK(time_text(4e12) == "4000 s");
}

TEST_CASE("with thousands of ranks a plan is not chosen that takes long to build") {
    for (const int32_t hosts : {512, 1024}) {
        const Machine machine = machine_make(true, hosts, 8);
        for (const Coll coll : plan::collectives) {
            for (const uint64_t bytes : {uint64_t{64}, uint64_t{1} << 20, uint64_t{256} << 20}) {
                const plan::Choice choice = chosen(machine, coll, bytes);
                const Result<plan::RankPlan> part =
                    plan::generate(choice.shape, choice.lanes, hosts * 4);
                REQUIRE(part.ok());
                size_t steps = 0;
                for (const plan::Lane& lane : part.value().lanes) {
                    steps += lane.steps.size();
                }
                CAPTURE(to_string(coll), bytes, hosts, choice.reason);
                CHECK(steps < (hosts == 512 ? 40'000u : 60'000u));
            }
        }
    }
}

TEST_CASE("how long a choice takes with 4,096 ranks, and its plan", "[.speed]") {
    const Machine machine = machine_make(true, 512, 8);
    for (const Coll coll : plan::collectives) {
        for (const uint64_t bytes : {uint64_t{64}, uint64_t{1} << 20, uint64_t{256} << 20}) {
            const auto begin = std::chrono::steady_clock::now();
            const plan::Choice choice = chosen(machine, coll, bytes);
            const std::chrono::duration<double, std::micro> took =
                std::chrono::steady_clock::now() - begin;
            const auto built = std::chrono::steady_clock::now();
            CHECK(plan::generate(choice.shape, choice.lanes, 1000).ok());
            const std::chrono::duration<double, std::micro> part =
                std::chrono::steady_clock::now() - built;
            std::printf("%-15s %10llu bytes: chosen in %4.0f us, built in %5.0f us, %s\n",
                        to_string(coll), static_cast<unsigned long long>(bytes), took.count(),
                        part.count(), choice.reason.substr(0, 60).c_str());
        }
    }
}

}  // namespace weft::tune
