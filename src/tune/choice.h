// The choice by price: every algorithm the call could take, with every number of strands and every
// tile, priced on one table; the cheapest is chosen, the simplest of those that cost the same. A
// function of its arguments alone, so equal tables choose alike on every rank. On one host the
// rules of src/plan stay: they are measured there, and the price is not.
// Thread rule: reentrant, pure.
#pragma once

#include "src/plan/planner.h"
#include "src/tune/price.h"

namespace weft::tune {

// Time grows with the number of ranks (scene_of) and of candidates, a few hundred.
Result<plan::Choice> choose(const plan::Request& request, const plan::Limits& limits,
                            const Table& table);

// The price of a choice, in nanoseconds: what explanations and tools show.
double price_of(const Scene& scene, const plan::Request& request, const plan::Choice& choice);

// "812 us", "2.1 ms": two or three digits.
std::string time_text(double ns);

}  // namespace weft::tune
