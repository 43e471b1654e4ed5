// One row of weft-plan compare: an algorithm, its best cut into strands and tiles, and its time.
// The same call gives the same rows on any machine: effort is counted in simulated events, not in
// seconds. Thread rule: reentrant. Failure rule: an algorithm that cannot be priced says so in its
// row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/sim/network.h"
#include "tools/plan/subject.h"

namespace weft::planner {

struct Row {
    std::string algorithm;
    double time_ns = 0;          // 0: not priced, `how` says why
    uint64_t bytes_per_nic = 0;  // the busiest one's, of either direction
    bool simulated = false;
    std::string how;  // "simulated, folded" or "closed form: ..."
    std::string cut;  // "2 strands, tiles of 128K, granted"
    plan::Choice choice;
};

// Events an algorithm may take: half of them for one run, all of them for the search.
struct Effort {
    uint64_t events = 20'000'000;
};

class Search {
  public:
    Search(const Call& call, const sim::Network& network, Effort effort)
        : call_(call), network_(network), effort_(effort) {}

    // As Weft would cut it.
    Row first(const std::string& algorithm) const;
    // The best of several cuts; `row` is first()'s.
    Row best(Row row) const;
    std::vector<Row> nccl() const;

  private:
    Row priced(const plan::Choice& choice) const;
    Row by_formula(const plan::Choice& choice, const std::string& why) const;
    Row simulated(const plan::Choice& choice, bool& too_much) const;

    const Call& call_;
    const sim::Network& network_;
    Effort effort_;
    mutable uint64_t spent_ = 0;
};

// Names of the algorithms that have a plan for the call.
std::vector<std::string> algorithms_of(const Call& call);

}  // namespace weft::planner
