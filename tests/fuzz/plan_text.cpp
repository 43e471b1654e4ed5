// Any bytes: the plan parser refuses them with a line, or what it accepts prints and parses back
// to the same plan, and the prover answers about it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "src/plan/text.h"
#include "src/plan/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace weft::plan;
    const auto plan = plan_parse({reinterpret_cast<const char*>(data), size});
    if (!plan.ok()) {
        return 0;
    }
    const auto again = plan_parse(plan_text(plan.value()));
    if (!again.ok() || !(again.value() == plan.value())) {
        std::abort();
    }
    (void)verify(plan.value(), {true, 2, 2, {}, {}});
    const auto part_of = [&](int32_t rank) -> weft::Result<RankPlan> {
        return plan.value().ranks[static_cast<size_t>(rank)];
    };
    if (plan.value().ranks.size() == static_cast<size_t>(plan.value().shape.rank_count)) {
        (void)prove(plan.value().shape, part_of, {ProofWay::folded, nullptr, 1000});
    }
    return 0;
}
