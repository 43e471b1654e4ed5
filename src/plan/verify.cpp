// The situations a plan is proved in, and the ways to do it.
#include "src/plan/verify.h"

#include <algorithm>
#include <utility>

#include "src/base/log.h"
#include "src/plan/verify_run.h"

namespace weft::plan {

namespace {

using prover::Matched;
using prover::refuse;
using prover::Trace;
using prover::Trial;
using prover::Values;
using prover::View;

// Counts that whole clocks may have to compare, and keep: minutes, and 2 GB.
constexpr uint64_t compared_max = 1ull << 37;
constexpr uint64_t kept_max = 1ull << 29;

bool may_be_in_place(const Shape& shape) {
    return shape.coll != Coll::all_to_all && shape.coll != Coll::send_recv;
}

// Out of place, in place, in place on every second rank; the last two where the call allows it.
std::vector<std::vector<bool>> place_patterns(const Shape& shape) {
    std::vector<std::vector<bool>> patterns = {{}};
    if (may_be_in_place(shape)) {
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

std::vector<uint32_t> tile_counts(const Matched& matched) {
    std::vector<uint32_t> tiles = {1, 2};
    if (matched.tiles_back_max > 0) {
        tiles.push_back(matched.tiles_back_max + 2);
    }
    return tiles;
}

uint64_t steps_of(const RankPlan& part) {
    uint64_t steps = 0;
    for (const Lane& lane : part.lanes) {
        steps += lane.steps.size();
    }
    return steps;
}

View view_of(const Shape& shape, const Rotation& turn, const std::vector<RankPlan>& parts) {
    View view{shape, turn, {}};
    for (const RankPlan& part : parts) {
        view.ranks.push_back(&part);
    }
    return view;
}

// One plan, asked for in one way after the other.
class Proving {
  public:
    Proving(const Shape& shape, const PartOf& part_of, const ProofOptions& options)
        : shape_(shape), part_of_(part_of), options_(options) {}
    Result<Proof> run();

  private:
    bool wants(ProofWay way) const { return options_.way == ProofWay::any || options_.way == way; }
    void tell(const VerifyCase& how) const;
    Result<Proof> of_all_ranks();
    Result<std::vector<RankPlan>> parts_all();
    Result<Proof> short_proof(const View& view, ProofWay way);
    Result<Proof> whole_proof(const View& view);
    bool whole_fits(const View& view, const Matched& matched) const;
    Proof proof_of(const View& view, ProofWay way) const;
    // The answer of the way before, which the next one cannot improve on.
    Error stands(const std::string& why) const {
        return refused_.empty() ? refuse(why)
                                : make_error(Code::invalid_argument, Scope::operation,
                                             refused_ + " (as far as it was asked: " + why + ")");
    }

    const Shape& shape_;
    const PartOf& part_of_;
    const ProofOptions& options_;
    uint32_t runs_ = 0;
    std::string rotation_;
    std::string refused_;   // what the way before said
    std::string too_many_;  // why not all parts are there
};

void Proving::tell(const VerifyCase& how) const {
    if (options_.progress) {
        options_.progress(format("%u situations done, now %s, %u tiles, %s", runs_,
                                 how.eager ? "eager" : "granted", how.tiles,
                                 how.in_place.empty() ? "out of place" : "in place"));
    }
}

Proof Proving::proof_of(const View& view, ProofWay way) const {
    Proof proof{way, static_cast<int32_t>(view.ranks.size()), 0, runs_, rotation_};
    for (const RankPlan* part : view.ranks) {
        proof.steps += steps_of(*part);
    }
    return proof;
}

// In place on all ranks or on none: by the trace, that covers some.
Result<Proof> Proving::short_proof(const View& view, ProofWay way) {
    Matched matched = TRY(prover::check(view));
    prover::pairs_number(view, matched);
    Values values(shape_, view.turn);
    runs_ = 0;
    for (const bool eager : {false, true}) {
        for (const uint32_t tiles : tile_counts(matched)) {
            Trace trace;
            for (const bool in_place : {false, true}) {
                if (in_place && !may_be_in_place(shape_)) {
                    continue;
                }
                const size_t places = in_place ? static_cast<size_t>(shape_.rank_count) : 0;
                const VerifyCase how{eager, tiles, 2, std::vector<bool>(places, true), {}};
                tell(how);
                TRY(prover::run(view, matched, values, Trial{how, false, &trace}));
                runs_++;
            }
        }
    }
    return proof_of(view, way);
}

bool Proving::whole_fits(const View& view, const Matched& matched) const {
    uint64_t steps = 0, marks = 0, passes = 0;
    for (const RankPlan* part : view.ranks) {
        steps += steps_of(*part);
    }
    for (const uint32_t count : matched.mark_count) {
        marks += count;
    }
    for (const uint32_t tiles : tile_counts(matched)) {
        passes += tiles;
    }
    const uint64_t runs = place_patterns(shape_).size() * empty_patterns(shape_).size();
    const uint64_t chains = view.chain_count();
    const uint64_t kept = (chains + steps + marks * 2 * passes) * chains;
    return kept <= kept_max && steps * chains * passes * runs * 4 <= compared_max;
}

Result<Proof> Proving::whole_proof(const View& view) {
    const Matched matched = TRY(prover::check(view));
    if (!whole_fits(view, matched)) {
        return stands(format("%d ranks are too many for whole clocks", shape_.rank_count));
    }
    Values values(shape_, view.turn);
    const auto empties = empty_patterns(shape_);
    runs_ = 0;
    VerifyCase how;
    for (const bool eager : {false, true}) {
        how.eager = eager;
        for (const uint32_t count : tile_counts(matched)) {
            how.tiles = count;
            for (const auto& in_place : place_patterns(shape_)) {
                how.in_place = in_place;
                tell(how);
                for (const auto& last_empty : empties) {
                    how.last_empty = last_empty;
                    TRY(prover::run(view, matched, values, Trial{how, true, nullptr}));
                    runs_++;
                }
            }
        }
    }
    return proof_of(view, ProofWay::whole_clocks);
}

// None, and too_many_ says so, if they do not fit.
Result<std::vector<RankPlan>> Proving::parts_all() {
    std::vector<RankPlan> parts;
    uint64_t steps = 0;
    for (int32_t rank = 0; rank < shape_.rank_count; rank++) {
        parts.push_back(TRY(part_of_(rank)));
        steps += steps_of(parts.back());
        if (steps > options_.steps_max) {
            too_many_ = format("ranks 0 to %d of %d have %llu steps, too many to run all ranks",
                               rank, shape_.rank_count, static_cast<unsigned long long>(steps));
            return std::vector<RankPlan>();
        }
    }
    return parts;
}

Result<Proof> Proving::of_all_ranks() {
    const std::vector<RankPlan> parts = TRY(parts_all());
    if (parts.empty()) {
        return stands(too_many_);
    }
    const Rotation none(shape_);
    const View view = view_of(shape_, none, parts);
    if (wants(ProofWay::all_ranks)) {
        Result<Proof> proof = short_proof(view, ProofWay::all_ranks);
        if (proof.ok() || !wants(ProofWay::whole_clocks)) {
            return proof;
        }
        refused_ = proof.error().what;
    }
    return whole_proof(view);
}

Result<Proof> Proving::run() {
    TRY(prover::shape_check(shape_));
    if (wants(ProofWay::folded)) {
        const Turned turned = TRY(rotation_find(shape_, part_of_, options_.progress));
        rotation_ = turned.why;
        if (!turned.yes && !wants(ProofWay::all_ranks)) {
            return refuse("it cannot be folded: " + turned.why);
        }
        if (turned.yes) {
            const View view = view_of(shape_, turned.rotation, turned.first);
            Result<Proof> proof = short_proof(view, ProofWay::folded);
            if (proof.ok() || !wants(ProofWay::all_ranks)) {
                return proof;
            }
            refused_ = proof.error().what;
        }
    }
    return of_all_ranks();
}

// A source of parts that are all there.
Result<PartOf> part_source(const Plan& plan) {
    if (plan.ranks.size() != static_cast<size_t>(plan.shape.rank_count)) {
        return refuse(format("%zu parts for %d ranks", plan.ranks.size(), plan.shape.rank_count));
    }
    return PartOf([&plan](int32_t rank) -> Result<RankPlan> {
        return plan.ranks[static_cast<size_t>(rank)];
    });
}

}  // namespace

Result<void> verify(const Plan& plan, const VerifyCase& how) {
    TRY(prover::shape_check(plan.shape));
    TRY(part_source(plan));
    const Rotation none(plan.shape);
    const View view = view_of(plan.shape, none, plan.ranks);
    const Matched matched = TRY(prover::check(view));
    Values values(plan.shape, none);
    return prover::run(view, matched, values, Trial{how, true, nullptr});
}

Result<Proof> prove(const Shape& shape, const PartOf& part_of, const ProofOptions& options) {
    return Proving(shape, part_of, options).run();
}

Result<void> prove(const Plan& plan) {
    TRY(prover::shape_check(plan.shape));
    const PartOf part_of = TRY(part_source(plan));
    TRY(prove(plan.shape, part_of));
    return {};
}

}  // namespace weft::plan
