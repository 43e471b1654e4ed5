// The situations a plan is proved in.
#include "src/plan/verify.h"

#include <algorithm>

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

// All chunks full, every second one empty, only the first one not empty.
std::vector<std::vector<bool>> empty_patterns(const Shape& shape) {
    std::vector<std::vector<bool>> patterns = {{}};
    if (shape.chunks > 1) {
        patterns.emplace_back(shape.chunks, false);
        for (size_t chunk = 1; chunk < shape.chunks; chunk += 2) {
            patterns.back()[chunk] = true;
        }
        patterns.emplace_back(shape.chunks, true);
        patterns.back()[0] = false;
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
    VerifyCase how;
    for (const bool eager : {false, true}) {
        how.eager = eager;
        for (const uint32_t count : tiles) {
            how.tiles = count;
            for (const auto& in_place : place_patterns(plan.shape)) {
                how.in_place = in_place;
                for (const auto& last_empty : empty_patterns(plan.shape)) {
                    how.last_empty = last_empty;
                    TRY(prover::run(plan, how, matched));
                }
            }
        }
    }
    return {};
}

}  // namespace weft::plan
