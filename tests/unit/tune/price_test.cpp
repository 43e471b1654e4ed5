// Prices of whole plans against the simulator.
#include "src/tune/price.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "src/sim/simulate.h"
#include "tests/unit/tune/drafts.h"

namespace weft::tune {

namespace {

struct Spread {
    double median = 0, worst = 0;  // of form / simulated, worst by its distance from 1
};

template <class Fits>
Spread spread_of(bool gpu, Coll coll, Fits fits) {
    std::vector<double> ratios;
    for (const auto& [hosts, ranks] : {std::pair{2, 2}, {4, 4}, {8, 2}}) {
        const Machine machine = machine_make(gpu, hosts, ranks);
        for (const uint64_t bytes : {uint64_t{4096}, uint64_t{4} << 20}) {
            for (const Candidate& candidate : candidates(machine, coll, bytes)) {
                if (fits(candidate.choice)) {
                    ratios.push_back(price_ns(machine.scene, candidate.draft) /
                                     simulated_ns(machine, candidate));
                }
            }
        }
    }
    REQUIRE_FALSE(ratios.empty());
    std::sort(ratios.begin(), ratios.end());
    const double low = ratios.front(), high = ratios.back();
    return {ratios[ratios.size() / 2], 1 / low > high ? low : high};
}

}  // namespace

TEST_CASE("plans by hosts cost what the simulator says, within an estimate's reach") {
    for (const bool gpu : {false, true}) {
        for (const Coll coll : {Coll::all_reduce, Coll::all_gather, Coll::reduce_scatter}) {
            for (const plan::Algo inter :
                 {plan::Algo::ring, plan::Algo::halving, plan::Algo::mesh}) {
                const Spread spread = spread_of(gpu, coll, [&](const plan::Choice& choice) {
                    return choice.algo == plan::Algo::hier && choice.shape.inter == inter;
                });
                CAPTURE(gpu, to_string(coll), to_string(inter), spread.worst);
                CHECK(spread.median == Approx(1).epsilon(0.15));
                CHECK(spread.worst > 0.6);
                CHECK(spread.worst < 1.6);
            }
        }
    }
}

TEST_CASE("flat plans over hosts cost about what the simulator says") {
    for (const bool gpu : {false, true}) {
        for (const Coll coll : plan::collectives) {
            for (const plan::Algo algo : {plan::Algo::direct, plan::Algo::ring}) {
                if (plan::has_plan(coll, algo)) {
                    const Spread spread = spread_of(
                        gpu, coll, [&](const plan::Choice& choice) { return choice.algo == algo; });
                    CAPTURE(gpu, to_string(coll), to_string(algo), spread.worst);
                    CHECK(spread.median == Approx(1).epsilon(0.2));
                }
            }
        }
    }
}

// What matters in the end: how much longer the cheapest by price takes than the fastest.
TEST_CASE("what is chosen by price is nearly the fastest there is") {
    for (const bool gpu : {false, true}) {
        for (const Coll coll : plan::collectives) {
            for (const auto& [hosts, ranks] : {std::pair{2, 2}, {4, 4}}) {
                const Machine machine = machine_make(gpu, hosts, ranks);
                for (const uint64_t bytes : {uint64_t{8}, uint64_t{65536}, uint64_t{8} << 20}) {
                    double cheapest = 0, chosen = 0, fastest = 0;
                    for (const Candidate& candidate : candidates(machine, coll, bytes)) {
                        const double form = price_ns(machine.scene, candidate.draft);
                        const double sim = simulated_ns(machine, candidate);
                        chosen = cheapest == 0 || form < cheapest ? sim : chosen;
                        cheapest = cheapest == 0 ? form : std::min(cheapest, form);
                        fastest = fastest == 0 ? sim : std::min(fastest, sim);
                    }
                    CAPTURE(gpu, to_string(coll), hosts, bytes, chosen, fastest);
                    CHECK(chosen < 1.4 * fastest);
                }
            }
        }
    }
}

TEST_CASE("every candidate beside the simulator", "[.grid]") {
    for (const bool gpu : {false, true}) {
        for (const auto& [hosts, ranks] : {std::pair{2, 2}, {4, 2}, {4, 8}, {8, 1}, {16, 4}}) {
            for (const Coll coll : plan::collectives) {
                const char* only = std::getenv("COLL");
                if (only != nullptr && std::string(only) != to_string(coll)) {
                    continue;
                }
                const Machine machine = machine_make(gpu, hosts, ranks);
                for (uint64_t bytes = 64; bytes <= 64 << 20; bytes *= 32) {
                    double best_form = 0, best_sim = 0, chosen_sim = 0;
                    std::string rows;
                    for (const Candidate& candidate : candidates(machine, coll, bytes)) {
                        const double form = price_ns(machine.scene, candidate.draft);
                        const double sim = simulated_ns(machine, candidate);
                        if (best_form == 0 || form < best_form) {
                            best_form = form;
                            chosen_sim = sim;
                        }
                        best_sim = best_sim == 0 ? sim : std::min(best_sim, sim);
                        rows += format("  %-14s x%u %9llu x %-5u %s form %10.1f sim %10.1f  %.2f\n",
                                       candidate.name.c_str(), candidate.choice.lanes,
                                       static_cast<unsigned long long>(candidate.choice.tile_bytes),
                                       candidate.choice.tiles,
                                       candidate.choice.eager ? "eager" : "grant", form / 1000,
                                       sim / 1000, form / sim);
                    }
                    std::printf("%s %dx%d %s %llu bytes: regret %.2f\n%s", gpu ? "gpu" : "tcp",
                                hosts, ranks, to_string(coll),
                                static_cast<unsigned long long>(bytes), chosen_sim / best_sim,
                                rows.c_str());
                }
            }
        }
    }
}

}  // namespace weft::tune
