// The situations a plan is proved in.
#include "src/plan/verify.h"

#include "src/plan/verify_detail.h"

namespace weft::plan {

namespace {

// Out of place, in place, in place on every second rank; the last two where the call allows it.
std::vector<std::vector<bool>> place_patterns(const Shape& shape) {
    std::vector<std::vector<bool>> patterns = {{}};
    if (shape.coll != Coll::all_to_all && shape.coll != Coll::send_recv) {
        const auto ranks = static_cast<size_t>(shape.rank_count);
        patterns.emplace_back(ranks, true);
        patterns.emplace_back(ranks, false);
        for (size_t rank = 0; rank < ranks; rank += 2) {
            patterns.back()[rank] = true;
        }
    }
    return patterns;
}

// All chunks full, then empty by each bit of their number and by its complement: of any two chunks
// each is once empty while the other is not.
std::vector<std::vector<bool>> empty_patterns(const Shape& shape) {
    std::vector<std::vector<bool>> patterns = {{}};
    for (uint32_t bit = 1; bit != 0 && bit < shape.chunks; bit <<= 1) {
        for (const bool value : {true, false}) {
            auto& pattern = patterns.emplace_back(shape.chunks);
            for (uint32_t chunk = 0; chunk < shape.chunks; chunk++) {
                pattern[chunk] = ((chunk & bit) != 0) == value;
            }
        }
    }
    return patterns;
}

}  // namespace

Result<void> verify(const Plan& plan, const VerifyCase& how) {
    const prover::Matched matched = TRY(prover::check(plan));
    return prover::run(plan, how, matched);
}

Result<void> prove(const Plan& plan) {
    const prover::Matched matched = TRY(prover::check(plan));
    std::vector<uint32_t> tiles = {1, 2};
    if (matched.tiles_back_max > 0) {
        tiles.push_back(matched.tiles_back_max + 2);
    }
    const auto empties = empty_patterns(plan.shape);
    VerifyCase how;
    for (const bool eager : {false, true}) {
        how.eager = eager;
        for (const uint32_t count : tiles) {
            how.tiles = count;
            for (const auto& in_place : place_patterns(plan.shape)) {
                how.in_place = in_place;
                for (const auto& last_empty : empties) {
                    how.last_empty = last_empty;
                    TRY(prover::run(plan, how, matched));
                }
            }
        }
    }
    return {};
}

}  // namespace weft::plan
