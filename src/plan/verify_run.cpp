// The prover's dynamic half. Because every wait has exactly one counterpart, the events of a plan
// form a fixed graph, and one run in any order that respects it stands for all runs:
//
// 1. Each (rank, lane) is a chain of steps, tile after tile, op after op. A chain runs until its
//    next step waits for something that has not happened; if all chains are stuck, the graph has a
//    cycle: a deadlock under every delivery order. Edges: list order, put -> wait, grant -> put,
//    expose -> wait, `after`, the end of an op on all lanes of its rank, and slots of the link.
// 2. Clocks (verify_clock.h). Each chain keeps how many steps of other chains it knows to be done.
//    This travels with puts, grants and exposes, not with slots, whose number may be larger.
// 3. Memory. Each place keeps its last write and the reads since. A new access must know that the
//    conflicting ones are over; otherwise some delivery order makes them collide. A put reads its
//    source until a release (or the end of the op) and writes its target until the wait for it.
// 4. Values. A place holds a symbolic value, so at the end of each op the outputs show exactly
//    which contributions they got, in which order, and whether they were finished once.
//
// Folding. If every part is the image of one of host 0's (rotation.h), the ranks of host 0 are run
// alone, and each of their steps stands for the same step on all hosts at once. A message to a rank
// d hosts further arrives here from a rank d hosts back, what it tells turned by d hosts; a write
// to that rank's memory is, turned back, the write of somebody d hosts back to memory of host 0.
// Nothing is lost: the hosts' event graph covers this one, so a run of this one, each step taken on
// all hosts, is a run of that one; and a cycle here, followed round all hosts, is a cycle there.
//
// Situations. By ShortClocks, one run stands for many. Empty chunks: a step that is passed over
// takes with it only what it told, and ShortClocks count for a step on a chunk only what steps on
// that chunk told, so every order they find is there whichever chunks are empty; a run of the full
// plan, the missing steps left out, is a run, so nothing hangs either. In place on some ranks: the
// places of a rank depend on its own case alone, if every value that leaves a rank is the same in
// place as out of place, and every output; the trace compares that. docs/PROVER.md has the whole.
//
// Cost: by whole clocks, one clock (chains words) per event that crosses chains; by short ones as
// many words as a rank has lanes. Reference: Lamport, "Time, clocks, and the ordering of events",
// CACM 21(7), 1978; Mattern, "Virtual time and global states of distributed systems", 1989.
#include "src/plan/verify_run.h"
#include "src/base/log.h"

namespace weft::plan::prover {

namespace {

constexpr uint64_t places_max = 1ull << 24;  // about 1.5 GB

}  // namespace

// Input and output of a rank, as far as it has them, and the slots of its lanes.
Result<void> Prover::places_setup() {
    const Shape& shape = view_.shape;
    uint64_t places = 0;
    for (uint32_t local = 0; local < view_.ranks.size(); local++) {
        const int32_t rank = view_.turn.rank_at(0, static_cast<int32_t>(local));
        const uint64_t blocks = (rules_.has_input(rank) ? uint64_t{shape.input_blocks} : 0) +
                                (rules_.has_output(rank) ? uint64_t{shape.output_blocks} : 0);
        rank_base_.push_back(places);
        places += blocks * shape.chunks * how_.tiles;
        for (const Lane& lane : view_.ranks[local]->lanes) {
            scratch_base_.push_back(places);
            places += lane.scratch_slots;
        }
        if (places > places_max) {
            return refuse(format("it is too large to prove: more than %llu places",
                                 static_cast<unsigned long long>(places_max)));
        }
    }
    memory_.resize(places);
    return {};
}

Result<void> Prover::setup() {
    TRY(places_setup());
    const uint32_t chains = view_.chain_count();
    clocks_ = trial_.whole ? whole_clocks(view_) : short_clocks(view_, matched_);
    streams_.resize(matched_.stream_count);
    chains_.resize(chains);
    queued_.assign(chains, true);
    chains_left_ = chains;
    agreed_.assign(view_.shape.chunks, Value{});
    if (trial_.trace != nullptr) {
        trial_.trace->chains.resize(chains);
    }
    for (uint32_t c = 0; c < chains; c++) {
        chains_[c].bound.resize(view_.lane(c).scratch_slots);
        chains_[c].mail.resize(view_.lane(c).steps.size());
        chains_[c].marked.resize(matched_.mark_count[c]);
        ready_.push_back(c);
    }
    for (uint32_t local = 0; local < view_.ranks.size(); local++) {
        values_reset(local);
    }
    return {};
}

// The start of an op: inputs are there, outputs and scratch hold nothing.
void Prover::values_reset(uint32_t local) {
    const uint32_t base = local * lanes_;
    const int32_t rank = view_.rank_of(base);
    for (size_t at = rank_base_[local]; at < places_end(local); at++) {
        memory_.at(at).value = Value{};
    }
    if (!rules_.has_input(rank)) {
        return;
    }
    for (uint32_t id = 0; id < view_.shape.input_blocks * view_.shape.chunks; id++) {
        const Value value = values_.input(rank, id);
        for (uint32_t tile = 0; tile < how_.tiles; tile++) {
            memory_.at(place_index(base, Space::input, id, tile)).value = value;
        }
    }
}

// Of the chain's own rank.
size_t Prover::place_index(uint32_t chain, Space space, uint32_t id, uint32_t tile) const {
    if (space == Space::scratch) {
        return scratch_base_[chain] + id;
    }
    const Shape& shape = view_.shape;
    const int32_t rank = view_.rank_of(chain);
    bool output = space == Space::output;
    size_t at = id;
    if (!output && in_place(rank) && rules_.has_output(rank)) {
        const auto [input_block, output_block] = rules_.shared_blocks(rank);
        if (id / shape.chunks == input_block) {
            at = static_cast<size_t>(output_block) * shape.chunks + id % shape.chunks;
            output = true;
        }
    }
    if (output && rules_.has_input(rank)) {
        at += static_cast<size_t>(shape.input_blocks) * shape.chunks;
    }
    return rank_base_[chain / lanes_] + at * how_.tiles + tile;
}

// A peer's memory as that rank of host 0 sees it that stands for the peer.
Spot Prover::spot(uint32_t chain, const Operand& operand) const {
    const uint32_t tile = chains_[chain].tile;
    if (operand.peer < 0) {
        return {place_index(chain, operand.space, operand.chunk, tile), 0,
                operand.space == Space::scratch};
    }
    const int32_t host = view_.turn.host_of(operand.peer);
    const Shape& shape = view_.shape;
    const uint32_t blocks =
        operand.space == Space::input ? shape.input_blocks : shape.output_blocks;
    const uint32_t id = operand.space == Space::scratch
                            ? operand.chunk
                            : view_.turn.id(operand.chunk, blocks > 1, view_.turn.back(host));
    return {place_index(view_.chain_of(operand.peer, chain), operand.space, id, tile), host,
            operand.space == Space::scratch};
}

// The count at which the put's lane has released the slot it was sent from in a step on `chunk`. 0:
// it has not.
uint32_t Prover::release_after(const Access& access, uint32_t chunk) const {
    const Operand& source = view_.lane(access.chain).steps[access.step].src[0];
    const auto& released = chains_[access.chain].released;
    const auto last = released.find(pair(source.chunk, chunk));
    return last != released.end() && last->second > puts_[access.need].posted ? last->second : 0;
}

// Whether the step knows that an access to that place has come to its end. The source of a put is
// kept until delivery is known: a piece may be put again after it has arrived.
//
// By ShortClocks, all that says so of a slot is in the list of its own lane, so that what knows a
// later step of that lane knows the earlier ones; and a release on another chunk than the put's
// counts for steps on that other chunk.
Over Prover::over(const Seat& at, const Spot& spot, const Access& access) const {
    const auto knows = [&](uint32_t chain, int32_t host, uint32_t count) {
        if (count == 0) {
            return false;
        }
        if (host == 0 && chain == at.chain) {
            return clocks_->done(chain) >= count;
        }
        const int32_t rank = view_.turn.rank_at(host, static_cast<int32_t>(chain / lanes_));
        return clocks_->seen(at, rank, chain % lanes_) >= count;
    };
    const auto answer = [](bool known) { return known ? Over::always : Over::no; };
    const int32_t host = view_.turn.sum(spot.host, access.host);
    if (access.use == Use::local) {
        return answer(knows(access.chain, host, access.need));
    }
    const PutState& put = puts_[access.need];
    const bool lane_only = spot.slot && !trial_.whole;
    if (access.use == Use::put_target) {
        return answer(knows(put.receiver, view_.turn.sum(host, put.host), put.arrived) ||
                      (!lane_only && knows(put.sender, host, put.delivered)));
    }
    if (lane_only && !knows(put.sender, host, put.delivered)) {
        const uint32_t chunk = view_.turn.chunk(at.step.chunk, view_.turn.back(host));
        const bool known = knows(put.sender, host, release_after(access, chunk));
        return known ? Over::here : Over::no;
    }
    return answer(knows(put.sender, host, put.delivered));
}

// The same at the end of an op, for what lies in the rank's own memory: by whatever its lanes know
// together, through steps on the access' own chunk.
Over Prover::over_for_rank(uint32_t local, const Access& access) const {
    const uint32_t chunk =
        view_.turn.chunk(view_.lane(access.chain).steps[access.step].chunk, access.host);
    const auto knows = [&](uint32_t chain, int32_t host, uint32_t count) {
        const int32_t rank = view_.turn.rank_at(host, static_cast<int32_t>(chain / lanes_));
        return count != 0 &&
               clocks_->seen_by_any(local * lanes_, chunk, rank, chain % lanes_) >= count;
    };
    bool known = false;
    if (access.use == Use::local) {
        known = knows(access.chain, access.host, access.need);
    } else {
        const PutState& put = puts_[access.need];
        known = knows(put.sender, access.host, put.delivered) ||
                (access.use == Use::put_target &&
                 knows(put.receiver, view_.turn.sum(access.host, put.host), put.arrived));
    }
    return known ? Over::always : Over::no;
}

Prover::Did Prover::block(uint32_t chain, uint32_t on, const char* by) {
    chains_[chain].blocked_on = on;
    chains_[chain].blocked_by = by;
    chains_[on].waiters.push_back(chain);
    return Did::blocked;
}

void Prover::wake(uint32_t chain) {
    if (!queued_[chain]) {
        queued_[chain] = true;
        ready_.push_back(chain);
    }
}

// A step is done, or passed over because its tile is empty.
void Prover::pass(uint32_t chain) {
    Chain& at = chains_[chain];
    clocks_->pass(chain);
    const auto& marks = matched_.marks[chain];
    if (!marks.empty() && marks[at.step] != none) {
        const Seat seat{chain, view_.lane(chain).steps[at.step], matched_.chains[chain][at.step]};
        at.marked[marks[at.step]].push_back(clocks_->mark(seat));
    }
    at.step++;
}

// Until it is blocked, or at the end of its op.
Result<void> Prover::chain_run(uint32_t index) {
    Chain& at = chains_[index];
    const auto& steps = view_.lane(index).steps;
    const uint32_t before = clocks_->done(index);
    while (!at.at_end && at.op < how_.ops) {
        if (at.step == steps.size()) {
            at.loans.clear();
            if (at.tile + 1 < how_.tiles) {
                at.tile++;
                at.step = 0;
                continue;
            }
            at.at_end = true;
            TRY(op_end(index / lanes_));
            continue;
        }
        const Seat seat{index, steps[at.step], matched_.chains[index][at.step]};
        if (!skipped(seat.step.chunk, at.tile) && TRY(step_run(seat)) == Did::blocked) {
            break;
        }
        pass(index);
    }
    if (clocks_->done(index) != before) {
        for (const uint32_t waiter : std::exchange(at.waiters, {})) {
            wake(waiter);
        }
    }
    return {};
}

// The end of the op is one more step: by then all puts of the lane are delivered.
Result<void> Prover::lane_end(uint32_t chain) {
    Chain& at = chains_[chain];
    clocks_->pass(chain);
    for (const auto& [source, open] : at.open) {
        for (const OpenPut& put : open) {
            puts_[put.put].delivered = clocks_->done(chain);
        }
    }
    at.open.clear();
    for (const Bound& bound : at.bound) {
        if (bound.stream != none) {
            return fault(chain, "a scratch slot that was filled is not released");
        }
    }
    return {};
}

// The last lane of the rank ends the op: all its puts are delivered, and the user owns the memory.
Result<void> Prover::op_end(uint32_t local) {
    const uint32_t first = local * lanes_;
    const uint32_t last = first + lanes_;
    for (uint32_t c = first; c < last; c++) {
        if (!chains_[c].at_end) {
            return {};
        }
    }
    for (uint32_t c = first; c < last; c++) {
        TRY(lane_end(c));
    }
    clocks_->join(first);
    TRY(outputs_check(local));
    values_reset(local);
    for (uint32_t c = first; c < last; c++) {
        Chain& at = chains_[c];
        at.op++;
        at.tile = at.step = 0;
        at.at_end = false;
        chains_left_ -= at.op == how_.ops ? 1 : 0;
        wake(c);
    }
    return {};
}

// Nobody can move. Following who waits for whom leads round the cycle, or to a rank that has ended.
Error Prover::deadlock() const {
    constexpr int shown_max = 6;
    uint32_t chain = 0;
    while (chains_[chain].op == how_.ops || chains_[chain].at_end) {
        chain++;
    }
    std::string text = "deadlock: ";
    for (int shown = 0; shown < shown_max && chains_[chain].blocked_on != none; shown++) {
        const Chain& at = chains_[chain];
        text +=
            where(chain, at.step) + format(" (tile %u, operation %u, %s) waits for %s of ", at.tile,
                                           at.op, how_.eager ? "eager" : "granted", at.blocked_by);
        chain = at.blocked_on;
    }
    return refuse(text + where(chain, chains_[chain].step));
}

Result<void> Prover::run() {
    TRY(setup());
    while (!ready_.empty()) {
        const uint32_t chain = ready_.front();
        ready_.pop_front();
        queued_[chain] = false;
        TRY(chain_run(chain));
    }
    if (chains_left_ > 0) {
        return deadlock();
    }
    if (trial_.trace != nullptr) {
        trial_.trace->written = true;
    }
    return {};
}

Result<void> run(const View& view, const Matched& matched, Values& values, const Trial& trial) {
    return Prover(view, matched, values, trial).run();
}

}  // namespace weft::plan::prover
