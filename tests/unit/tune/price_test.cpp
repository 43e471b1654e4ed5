// Prices of whole plans against the simulator.
#include "src/tune/price.h"

#include <cstdio>
#include <cstdlib>

#include "src/sim/simulate.h"
#include "tests/unit/tune/drafts.h"

namespace weft::tune {

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
