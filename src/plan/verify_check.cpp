// The prover's static half: every step has the form ir.h gives it, every operand exists where it
// is named, and every put, wait, grant and expose has its one counterpart that speaks of the same
// memory. Matching is by position in the two lists, so tiles that are skipped stay matched.
#include <algorithm>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

bool Rules::reducing() const {
    return shape.coll == Coll::all_reduce || shape.coll == Coll::reduce ||
           shape.coll == Coll::reduce_scatter;
}

bool Rules::has_input(int32_t rank) const {
    const bool from_root = shape.coll == Coll::broadcast || shape.coll == Coll::scatter ||
                           shape.coll == Coll::send_recv;
    return !from_root || rank == shape.root;
}

bool Rules::has_output(int32_t rank) const {
    if (shape.coll == Coll::send_recv) {
        return rank != shape.root;
    }
    const bool to_root = shape.coll == Coll::reduce || shape.coll == Coll::gather;
    return !to_root || rank == shape.root;
}

uint32_t Rules::input_blocks() const {
    const bool many = shape.coll == Coll::reduce_scatter || shape.coll == Coll::all_to_all ||
                      shape.coll == Coll::scatter;
    return many ? static_cast<uint32_t>(shape.rank_count) : 1;
}

uint32_t Rules::output_blocks() const {
    const bool many = shape.coll == Coll::all_gather || shape.coll == Coll::all_to_all ||
                      shape.coll == Coll::gather;
    return many ? static_cast<uint32_t>(shape.rank_count) : 1;
}

std::pair<uint32_t, uint32_t> Rules::shared_blocks(int32_t rank) const {
    const auto own = static_cast<uint32_t>(rank);
    return {input_blocks() > 1 ? own : 0, output_blocks() > 1 ? own : 0};
}

std::vector<std::pair<uint32_t, uint32_t>> Rules::expected(int32_t rank, uint32_t id) const {
    const uint32_t block = id / shape.chunks;
    const uint32_t chunk = id % shape.chunks;
    const uint32_t mine = static_cast<uint32_t>(rank) * shape.chunks + chunk;
    const auto root = static_cast<uint32_t>(shape.root);
    std::vector<std::pair<uint32_t, uint32_t>> from;
    switch (shape.coll) {
        case Coll::all_reduce:
        case Coll::reduce:
        case Coll::reduce_scatter:
            for (uint32_t q = 0; q < static_cast<uint32_t>(shape.rank_count); q++) {
                from.emplace_back(q, shape.coll == Coll::reduce_scatter ? mine : chunk);
            }
            break;
        case Coll::all_gather:
        case Coll::gather:
            from.emplace_back(block, chunk);
            break;
        case Coll::all_to_all:
            from.emplace_back(block, mine);
            break;
        case Coll::broadcast:
        case Coll::send_recv:
            from.emplace_back(root, chunk);
            break;
        case Coll::scatter:
            from.emplace_back(root, mine);
            break;
    }
    return from;
}

std::string place_text(const Plan& plan, uint32_t lanes, uint32_t chain, uint32_t step) {
    const uint32_t rank = chain / lanes;
    const Lane& lane = plan.ranks[rank].lanes[chain % lanes];
    return format("rank %u lane %u step %u", rank, chain % lanes, step) +
           (step < lane.steps.size() ? " `" + step_text(lane.steps[step]) + "`"
                                     : std::string(" (the end of the operation)"));
}

Error refuse(const std::string& what) {
    return make_error(Code::invalid_argument, Scope::operation, "plan refused: " + what);
}

namespace {

// Steps of one chain that face one peer, in list order.
struct Facing {
    std::vector<uint32_t> grants, puts, data_puts, waits, data_waits, exposes, expose_waits;
};

class Checker {
  public:
    explicit Checker(const Plan& plan) : plan_(plan), rules_{plan.shape} {}
    Result<Matched> run();

  private:
    Result<void> shape_check() const;
    Result<void> step_check(uint32_t chain, uint32_t index, const Step& step);
    const char* form_fault(const Step& step) const;
    const char* operand_fault(const Operand& operand, uint32_t chain, const Step& step) const;
    Result<void> pair_up(uint32_t sender, uint32_t receiver);
    Result<void> counts_equal(const char* what, const char* with, size_t here, size_t there,
                              uint32_t sender, uint32_t receiver) const;
    Error fault(uint32_t chain, uint32_t index, const std::string& what) const {
        return refuse(place_text(plan_, out_.lanes, chain, index) + ": " + what);
    }
    const Step& step_at(uint32_t chain, uint32_t index) const {
        return plan_.ranks[chain / out_.lanes].lanes[chain % out_.lanes].steps[index];
    }
    uint32_t rank_of(uint32_t chain) const { return chain / out_.lanes; }

    const Plan& plan_;
    Rules rules_;
    Matched out_;
    std::vector<std::map<uint32_t, Facing>> facing_;  // by chain, by peer
};

Result<void> Checker::shape_check() const {
    const Shape& shape = plan_.shape;
    if (shape.rank_count < 1 || shape.root < 0 || shape.root >= shape.rank_count ||
        plan_.ranks.size() != static_cast<size_t>(shape.rank_count)) {
        return refuse(format("%zu parts and root %d for %d ranks", plan_.ranks.size(), shape.root,
                             shape.rank_count));
    }
    if (shape.coll == Coll::send_recv && shape.rank_count != 2) {
        return refuse(format("a pair plan has 2 ranks, not %d", shape.rank_count));
    }
    if (shape.chunks == 0 || shape.slots_min == 0 || shape.input_blocks != rules_.input_blocks() ||
        shape.output_blocks != rules_.output_blocks()) {
        return refuse(
            format("%u chunks, %u slots, %u input and %u output blocks: %s has %u and %u "
                   "blocks",
                   shape.chunks, shape.slots_min, shape.input_blocks, shape.output_blocks,
                   to_string(shape.coll), rules_.input_blocks(), rules_.output_blocks()));
    }
    for (size_t r = 0; r < plan_.ranks.size(); r++) {
        const RankPlan& part = plan_.ranks[r];
        if (part.rank != static_cast<int32_t>(r) ||
            part.lanes.size() != plan_.ranks[0].lanes.size() || part.lanes.empty()) {
            return refuse(
                format("part %zu is rank %d with %zu lanes; expected rank %zu with %zu "
                       "lanes, at least one",
                       r, part.rank, part.lanes.size(), r, plan_.ranks[0].lanes.size()));
        }
        size_t steps = 0;
        for (const Lane& lane : part.lanes) {
            steps += lane.steps.size();
            if (lane.scratch_slots > lane.steps.size()) {
                return refuse(
                    format("a lane of rank %zu has %u scratch slots for %zu steps: some "
                           "are never used",
                           r, lane.scratch_slots, lane.steps.size()));
            }
        }
        const uint64_t outputs = static_cast<uint64_t>(shape.chunks) * shape.output_blocks;
        if (rules_.has_output(part.rank) && steps < outputs) {
            return refuse(
                format("rank %zu has %zu steps for %llu chunks of output: some are "
                       "never written",
                       r, steps, static_cast<unsigned long long>(outputs)));
        }
    }
    return {};
}

const char* Checker::operand_fault(const Operand& operand, uint32_t chain, const Step& step) const {
    const auto rank = operand.peer >= 0 ? operand.peer : static_cast<int32_t>(rank_of(chain));
    if (rank >= plan_.shape.rank_count) {
        return "names the memory of a rank that does not exist";
    }
    const uint64_t chunks = plan_.shape.chunks;
    switch (operand.space) {
        case Space::none:
            return "names no memory";
        case Space::scratch:
            return operand.chunk < plan_.ranks[static_cast<size_t>(rank)]
                                       .lanes[chain % out_.lanes]
                                       .scratch_slots
                       ? nullptr
                       : "names a scratch slot beyond the lane's";
        case Space::input:
            if (!rules_.has_input(rank) || operand.chunk >= chunks * plan_.shape.input_blocks) {
                return "names an input chunk that does not exist";
            }
            break;
        case Space::output:
            if (!rules_.has_output(rank) || operand.chunk >= chunks * plan_.shape.output_blocks) {
                return "names an output chunk that does not exist";
            }
            break;
    }
    return operand.chunk % chunks == step.chunk ? nullptr : "moves another chunk than its operand";
}

// What every kind of step has and has not.
const char* Checker::form_fault(const Step& step) const {
    const bool own_dst = step.dst.space != Space::none && step.dst.peer < 0;
    const bool faces_peer = step.kind == StepKind::grant || step.kind == StepKind::put ||
                            step.kind == StepKind::wait || step.kind == StepKind::expose;
    if (faces_peer != (step.peer >= 0) || step.peer >= plan_.shape.rank_count) {
        return "has no valid peer, or one it must not have";
    }
    if (step.finish && step.kind != StepKind::copy && step.kind != StepKind::reduce) {
        return "cannot finish anything";
    }
    const bool writes = step.kind == StepKind::grant || step.kind == StepKind::copy ||
                        step.kind == StepKind::reduce;
    if (writes && (!own_dst || step.dst.space == Space::input)) {
        return "must write to own output or scratch";
    }
    switch (step.kind) {
        case StepKind::grant:
        case StepKind::expose:
        case StepKind::release:
            return own_dst && step.src.empty() ? nullptr : "needs one own operand and no source";
        case StepKind::put:
            if (step.dst.space != Space::none || step.src.size() > 1 ||
                (!step.src.empty() && step.src[0].peer >= 0)) {
                return "needs at most one own source and no destination";
            }
            return nullptr;
        case StepKind::wait:
            return step.src.empty() && (step.dst.peer < 0 || step.dst.peer == step.peer)
                       ? nullptr
                       : "waits for one rank about the memory of another";
        case StepKind::copy:
            return step.src.size() == 1 ? nullptr : "needs exactly one source";
        case StepKind::reduce:
            return step.src.empty() ? "needs a source" : nullptr;
    }
    return nullptr;
}

Result<void> Checker::step_check(uint32_t chain, uint32_t index, const Step& step) {
    if (const char* what = form_fault(step)) {
        return fault(chain, index, what);
    }
    if (step.peer == static_cast<int32_t>(rank_of(chain)) || step.chunk >= plan_.shape.chunks) {
        return fault(chain, index, "has itself as peer, or a chunk that does not exist");
    }
    std::vector<Operand> operands(step.src.begin(), step.src.end());
    if (step.dst.space != Space::none) {
        operands.push_back(step.dst);
    }
    for (const Operand& operand : operands) {
        if (const char* what = operand_fault(operand, chain, step)) {
            return fault(chain, index, what);
        }
    }
    const auto& lanes = plan_.ranks[rank_of(chain)].lanes;
    for (const After& after : step.after) {
        if (after.lane >= lanes.size() || after.step >= lanes[after.lane].steps.size()) {
            return fault(chain, index, "comes after a step that does not exist");
        }
        out_.tiles_back_max = std::max<uint32_t>(out_.tiles_back_max, after.tiles_back);
    }
    if (step.peer < 0) {
        return {};
    }
    Facing& facing = facing_[chain][static_cast<uint32_t>(step.peer)];
    if (step.kind == StepKind::grant) {
        facing.grants.push_back(index);
    } else if (step.kind == StepKind::expose) {
        facing.exposes.push_back(index);
    } else if (step.kind == StepKind::put) {
        facing.puts.push_back(index);
        if (!step.src.empty()) {
            facing.data_puts.push_back(index);
        }
    } else if (step.dst.peer >= 0) {
        facing.expose_waits.push_back(index);
    } else {
        facing.waits.push_back(index);
        if (step.dst.space != Space::none) {
            facing.data_waits.push_back(index);
        }
    }
    return {};
}

Result<void> Checker::counts_equal(const char* what, const char* with, size_t here, size_t there,
                                   uint32_t sender, uint32_t receiver) const {
    if (here == there) {
        return {};
    }
    return refuse(format("rank %u has %zu %s rank %u on lane %u, which has %zu %s it",
                         rank_of(sender), here, what, rank_of(receiver), sender % out_.lanes, there,
                         with));
}

// Everything `sender` says to the rank of `receiver` on this lane.
Result<void> Checker::pair_up(uint32_t sender, uint32_t receiver) {
    const Facing& from = facing_[sender][rank_of(receiver)];
    const Facing& to = facing_[receiver][rank_of(sender)];
    TRY(counts_equal("puts to", "waits for", from.puts.size(), to.waits.size(), sender, receiver));
    TRY(counts_equal("puts of data to", "grants to", from.data_puts.size(), to.grants.size(),
                     sender, receiver));
    TRY(counts_equal("puts of data to", "waits for data of", from.data_puts.size(),
                     to.data_waits.size(), sender, receiver));
    TRY(counts_equal("exposes to", "waits on exposed memory of", from.exposes.size(),
                     to.expose_waits.size(), sender, receiver));
    auto& sends = out_.chains[sender];
    auto& receives = out_.chains[receiver];
    const uint32_t stream = out_.stream_count++;
    for (size_t i = 0; i < from.puts.size(); i++) {
        const Step& put = step_at(sender, from.puts[i]);
        const Step& wait = step_at(receiver, to.waits[i]);
        if (put.chunk != wait.chunk || put.src.empty() != (wait.dst.space == Space::none)) {
            return fault(receiver, to.waits[i],
                         "does not expect what " +
                             place_text(plan_, out_.lanes, sender, from.puts[i]) + " sends");
        }
        sends[from.puts[i]].partner = to.waits[i];
        receives[to.waits[i]].partner = from.puts[i];
    }
    for (size_t i = 0; i < from.data_puts.size(); i++) {
        const Step& grant = step_at(receiver, to.grants[i]);
        if (!(grant.dst == step_at(receiver, to.data_waits[i]).dst) ||
            grant.chunk != step_at(sender, from.data_puts[i]).chunk) {
            return fault(receiver, to.data_waits[i],
                         "waits for other memory than " +
                             place_text(plan_, out_.lanes, receiver, to.grants[i]) + " gave");
        }
        sends[from.data_puts[i]].grant = to.grants[i];
        receives[to.grants[i]].partner = from.data_puts[i];
    }
    for (size_t i = 0; i < from.exposes.size(); i++) {
        const Step& expose = step_at(sender, from.exposes[i]);
        const Step& wait = step_at(receiver, to.expose_waits[i]);
        if (expose.chunk != wait.chunk || expose.dst.space != wait.dst.space ||
            expose.dst.chunk != wait.dst.chunk) {
            return fault(receiver, to.expose_waits[i],
                         "waits for other memory than " +
                             place_text(plan_, out_.lanes, sender, from.exposes[i]) + " exposed");
        }
        sends[from.exposes[i]].partner = to.expose_waits[i];
        receives[to.expose_waits[i]].partner = from.exposes[i];
    }
    for (const auto* list : {&from.puts, &from.grants, &from.exposes}) {
        for (const uint32_t step : *list) {
            sends[step].out = stream;
        }
    }
    for (const uint32_t step : to.waits) {
        receives[step].in = stream;
    }
    return {};
}

Result<Matched> Checker::run() {
    TRY(shape_check());
    out_.lanes = static_cast<uint32_t>(plan_.ranks[0].lanes.size());
    facing_.resize(plan_.ranks.size() * out_.lanes);
    for (const RankPlan& part : plan_.ranks) {
        for (const Lane& lane : part.lanes) {
            const auto chain = static_cast<uint32_t>(out_.chains.size());
            out_.chains.emplace_back(lane.steps.size());
            for (uint32_t i = 0; i < lane.steps.size(); i++) {
                TRY(step_check(chain, i, lane.steps[i]));
            }
        }
    }
    for (uint32_t chain = 0; chain < facing_.size(); chain++) {
        // Both directions, whichever side speaks first; pair_up inserts the missing view.
        for (const auto& [peer, facing] : facing_[chain]) {
            const uint32_t other = peer * out_.lanes + chain % out_.lanes;
            if (chain < other || facing_[other].count(rank_of(chain)) == 0) {
                TRY(pair_up(chain, other));
                TRY(pair_up(other, chain));
            }
        }
    }
    return std::move(out_);
}

}  // namespace

Result<Matched> check(const Plan& plan) {
    return Checker(plan).run();
}

}  // namespace weft::plan::prover
