// The prover's static half: every step has the form ir.h gives it, every operand exists where it
// is named, and every put, wait, grant and expose has its one counterpart that speaks of the same
// memory. Matching is by position in the two lists, so tiles that are skipped stay matched.
//
// Where one host stands for all, a peer d hosts further is a rank of host 0 whose peer is d hosts
// back: what it does about this rank stands in its list under that peer, turned by d hosts.
#include <algorithm>
#include <map>

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

Expected Rules::expected(int32_t rank, uint32_t id) const {
    const uint32_t block = id / shape.chunks;
    const uint32_t chunk = id % shape.chunks;
    const uint32_t mine = static_cast<uint32_t>(rank) * shape.chunks + chunk;
    const auto root = static_cast<uint32_t>(shape.root);
    switch (shape.coll) {
        case Coll::all_reduce:
        case Coll::reduce:
            return {true, 0, chunk};
        case Coll::reduce_scatter:
            return {true, 0, mine};
        case Coll::all_gather:
        case Coll::gather:
            return {false, block, chunk};
        case Coll::all_to_all:
            return {false, block, mine};
        case Coll::broadcast:
        case Coll::send_recv:
            return {false, root, chunk};
        case Coll::scatter:
            return {false, root, mine};
    }
    return {};
}

std::string place_text(const View& view, uint32_t chain, uint32_t step) {
    const Lane& lane = view.lane(chain);
    return format("rank %d lane %u step %u", view.rank_of(chain), chain % view.lanes(), step) +
           (step < lane.steps.size() ? " `" + step_text(lane.steps[step]) + "`"
                                     : std::string(" (the end of the operation)"));
}

Error refuse(const std::string& what) {
    return make_error(Code::invalid_argument, Scope::operation, "plan refused: " + what);
}

namespace {

// Steps of one chain that face one peer, in list order; positions in the list.
struct Facing {
    std::vector<uint32_t> grants, puts, data_puts, waits, data_waits, exposes, expose_waits;
};

class Checker {
  public:
    explicit Checker(const View& view) : view_(view), turn_(view.turn), rules_{view.shape} {}
    Result<Matched> run();

  private:
    Result<void> parts_check() const;
    Result<void> step_check(uint32_t chain, uint32_t index, const Step& step);
    const char* form_fault(const Step& step) const;
    const char* operand_fault(const Operand& operand, uint32_t chain, const Step& step) const;
    void facing_add(uint32_t chain, uint32_t index, const Step& step);
    void mark(uint32_t chain, uint32_t index);
    Result<void> pair_up(uint32_t sender, int32_t receiving);
    Result<void> counts_check(const Facing& from, const Facing& to, int32_t sender,
                              int32_t receiver, uint32_t lane) const;
    Error fault(uint32_t chain, uint32_t index, const std::string& what) const {
        return refuse(place_text(view_, chain, index) + ": " + what);
    }
    const Step& step_at(uint32_t chain, uint32_t index) const {
        return view_.lane(chain).steps[index];
    }
    const Facing* facing(uint32_t chain, int32_t peer) const {
        const auto found = facing_[chain].find(peer);
        return found == facing_[chain].end() ? nullptr : &found->second;
    }

    const View& view_;
    const Rotation& turn_;
    Rules rules_;
    Matched out_;
    std::vector<std::map<int32_t, Facing>> facing_;  // by chain, by peer
};

// Every part has the same lanes, and steps enough for its output.
Result<void> Checker::parts_check() const {
    const Shape& shape = view_.shape;
    for (size_t local = 0; local < view_.ranks.size(); local++) {
        const RankPlan& part = *view_.ranks[local];
        const int32_t rank = turn_.rank_at(0, static_cast<int32_t>(local));
        if (part.rank != rank || part.lanes.size() != view_.lanes() || part.lanes.empty()) {
            return refuse(
                format("part %d is rank %d with %zu lanes; expected rank %d with %u lanes, at "
                       "least one",
                       rank, part.rank, part.lanes.size(), rank, view_.lanes()));
        }
        size_t steps = 0;
        for (const Lane& lane : part.lanes) {
            steps += lane.steps.size();
            if (lane.scratch_slots > lane.steps.size()) {
                return refuse(
                    format("a lane of rank %d has %u scratch slots for %zu steps: some are never "
                           "used",
                           rank, lane.scratch_slots, lane.steps.size()));
            }
        }
        const uint64_t outputs = static_cast<uint64_t>(shape.chunks) * shape.output_blocks;
        if (rules_.has_output(part.rank) && steps < outputs) {
            return refuse(
                format("rank %d has %zu steps for %llu chunks of output: some are never written",
                       rank, steps, static_cast<unsigned long long>(outputs)));
        }
    }
    return {};
}

const char* Checker::operand_fault(const Operand& operand, uint32_t chain, const Step& step) const {
    const int32_t rank = operand.peer >= 0 ? operand.peer : view_.rank_of(chain);
    if (rank >= view_.shape.rank_count) {
        return "names the memory of a rank that does not exist";
    }
    const uint64_t chunks = view_.shape.chunks;
    switch (operand.space) {
        case Space::none:
            return "names no memory";
        case Space::scratch:
            return operand.chunk < view_.lane(view_.chain_of(rank, chain)).scratch_slots
                       ? nullptr
                       : "names a scratch slot beyond the lane's";
        case Space::input:
            if (!rules_.has_input(rank) || operand.chunk >= chunks * view_.shape.input_blocks) {
                return "names an input chunk that does not exist";
            }
            break;
        case Space::output:
            if (!rules_.has_output(rank) || operand.chunk >= chunks * view_.shape.output_blocks) {
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
    if (faces_peer != (step.peer >= 0) || step.peer >= view_.shape.rank_count) {
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
    if (step.peer == view_.rank_of(chain) || step.chunk >= view_.shape.chunks) {
        return fault(chain, index, "has itself as peer, or a chunk that does not exist");
    }
    for (const Operand& source : step.src) {
        if (const char* what = operand_fault(source, chain, step)) {
            return fault(chain, index, what);
        }
    }
    if (step.dst.space != Space::none) {
        if (const char* what = operand_fault(step.dst, chain, step)) {
            return fault(chain, index, what);
        }
    }
    for (const After& after : step.after) {
        const uint32_t other = view_.first_of(chain) + after.lane;
        if (after.lane >= view_.lanes() || after.step >= view_.lane(other).steps.size()) {
            return fault(chain, index, "comes after a step that does not exist");
        }
        out_.tiles_back_max = std::max<uint32_t>(out_.tiles_back_max, after.tiles_back);
        mark(other, after.step);
    }
    if (step.peer >= 0) {
        facing_add(chain, index, step);
    }
    return {};
}

void Checker::mark(uint32_t chain, uint32_t index) {
    auto& marks = out_.marks[chain];
    marks.resize(view_.lane(chain).steps.size(), none);
    if (marks[index] == none) {
        marks[index] = out_.mark_count[chain]++;
    }
}

void Checker::facing_add(uint32_t chain, uint32_t index, const Step& step) {
    Match& match = out_.chains[chain][index];
    match.chain = view_.chain_of(step.peer, chain);
    match.host = turn_.host_of(step.peer);
    Facing& facing = facing_[chain][step.peer];
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
}

Result<void> Checker::counts_check(const Facing& from, const Facing& to, int32_t sender,
                                   int32_t receiver, uint32_t lane) const {
    struct Count {
        const char *what, *with;
        size_t here, there;
    };
    const Count counts[] = {
        {"puts to", "waits for", from.puts.size(), to.waits.size()},
        {"puts of data to", "grants to", from.data_puts.size(), to.grants.size()},
        {"puts of data to", "waits for data of", from.data_puts.size(), to.data_waits.size()},
        {"exposes to", "waits on exposed memory of", from.exposes.size(), to.expose_waits.size()}};
    for (const Count& count : counts) {
        if (count.here != count.there) {
            return refuse(format("rank %d has %zu %s rank %d on lane %u, which has %zu %s it",
                                 sender, count.here, count.what, receiver, lane, count.there,
                                 count.with));
        }
    }
    return {};
}

// Everything `sender` says to the rank `receiving` on this lane.
Result<void> Checker::pair_up(uint32_t sender, int32_t receiving) {
    static const Facing nothing;
    const int32_t turn = turn_.host_of(receiving);
    const uint32_t receiver = view_.chain_of(receiving, sender);
    const int32_t seen = turn_.rank(view_.rank_of(sender), turn_.back(turn));
    const Facing* facing_to = facing(sender, receiving);
    const Facing* facing_from = facing(receiver, seen);
    const Facing& from = facing_to != nullptr ? *facing_to : nothing;
    const Facing& to = facing_from != nullptr ? *facing_from : nothing;
    TRY(counts_check(from, to, view_.rank_of(sender), receiving, sender % view_.lanes()));
    const bool many[] = {view_.shape.input_blocks > 1, view_.shape.output_blocks > 1};
    auto& sends = out_.chains[sender];
    auto& receives = out_.chains[receiver];
    const uint32_t stream = out_.stream_count++;
    for (size_t i = 0; i < from.puts.size(); i++) {
        const Step& put = step_at(sender, from.puts[i]);
        const Step& wait = step_at(receiver, to.waits[i]);
        if (put.chunk != turn_.chunk(wait.chunk, turn) ||
            put.src.empty() != (wait.dst.space == Space::none)) {
            return fault(
                receiver, to.waits[i],
                "does not expect what " + place_text(view_, sender, from.puts[i]) + " sends");
        }
        sends[from.puts[i]].partner = to.waits[i];
        receives[to.waits[i]].partner = from.puts[i];
    }
    for (size_t i = 0; i < from.data_puts.size(); i++) {
        const Step& grant = step_at(receiver, to.grants[i]);
        if (!(grant.dst == step_at(receiver, to.data_waits[i]).dst) ||
            turn_.chunk(grant.chunk, turn) != step_at(sender, from.data_puts[i]).chunk) {
            return fault(receiver, to.data_waits[i],
                         "waits for other memory than " +
                             place_text(view_, receiver, to.grants[i]) + " gave");
        }
        sends[from.data_puts[i]].grant = to.grants[i];
        receives[to.grants[i]].partner = from.data_puts[i];
    }
    for (size_t i = 0; i < from.exposes.size(); i++) {
        const Step& expose = step_at(sender, from.exposes[i]);
        const Step& wait = step_at(receiver, to.expose_waits[i]);
        const bool slot = expose.dst.space == Space::scratch;
        const uint32_t meant =
            slot ? wait.dst.chunk
                 : turn_.id(wait.dst.chunk, many[wait.dst.space == Space::output], turn);
        if (expose.chunk != turn_.chunk(wait.chunk, turn) || expose.dst.space != wait.dst.space ||
            expose.dst.chunk != meant) {
            return fault(receiver, to.expose_waits[i],
                         "waits for other memory than " +
                             place_text(view_, sender, from.exposes[i]) + " exposed");
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
    TRY(parts_check());
    const uint32_t chains = view_.chain_count();
    facing_.resize(chains);
    out_.chains.resize(chains);
    out_.marks.resize(chains);
    out_.mark_count.assign(chains, 0);
    for (uint32_t chain = 0; chain < chains; chain++) {
        const auto& steps = view_.lane(chain).steps;
        out_.chains[chain].resize(steps.size());
        for (uint32_t i = 0; i < steps.size(); i++) {
            TRY(step_check(chain, i, steps[i]));
        }
    }
    for (uint32_t chain = 0; chain < chains; chain++) {
        for (const auto& [peer, facing] : facing_[chain]) {
            TRY(pair_up(chain, peer));
            // Who says nothing itself is asked here what it hears.
            const uint32_t other = view_.chain_of(peer, chain);
            const int32_t back = turn_.back(turn_.host_of(peer));
            const int32_t self = turn_.rank(view_.rank_of(chain), back);
            if (this->facing(other, self) == nullptr) {
                TRY(pair_up(other, self));
            }
        }
    }
    return std::move(out_);
}

}  // namespace

// Before any part is looked at.
Result<void> shape_check(const Shape& shape) {
    const Rules rules{shape};
    if (shape.rank_count < 1 || shape.root < 0 || shape.root >= shape.rank_count) {
        return refuse(format("root %d for %d ranks", shape.root, shape.rank_count));
    }
    if (shape.coll == Coll::send_recv && shape.rank_count != 2) {
        return refuse(format("a pair plan has 2 ranks, not %d", shape.rank_count));
    }
    if (shape.chunks == 0 || shape.slots_min == 0 || shape.input_blocks != rules.input_blocks() ||
        shape.output_blocks != rules.output_blocks()) {
        return refuse(
            format("%u chunks, %u slots, %u input and %u output blocks: %s has %u and %u blocks",
                   shape.chunks, shape.slots_min, shape.input_blocks, shape.output_blocks,
                   to_string(shape.coll), rules.input_blocks(), rules.output_blocks()));
    }
    const uint64_t ids =
        static_cast<uint64_t>(shape.chunks) * std::max(shape.input_blocks, shape.output_blocks);
    if (ids > UINT32_MAX) {
        return refuse(format("%u chunks in %u blocks: an operand cannot name them all",
                             shape.chunks, std::max(shape.input_blocks, shape.output_blocks)));
    }
    return {};
}

Result<Matched> check(const View& view) {
    return Checker(view).run();
}

void pairs_number(const View& view, Matched& matched) {
    matched.pairs.resize(view.chain_count());
    for (uint32_t chain = 0; chain < view.chain_count(); chain++) {
        auto& pairs = matched.pairs[chain];
        const auto number = [&](uint32_t chunk, int32_t rank) {
            const auto next = static_cast<uint32_t>(pairs.size());
            return pairs.try_emplace(Matched::pair(chunk, rank), next).first->second;
        };
        const auto& steps = view.lane(chain).steps;
        for (size_t i = 0; i < steps.size(); i++) {
            Match& match = matched.chains[chain][i];
            match.own = number(steps[i].chunk, view.rank_of(chain));
            if (steps[i].peer >= 0) {
                match.known = number(steps[i].chunk, steps[i].peer);
            }
        }
    }
}

}  // namespace weft::plan::prover
