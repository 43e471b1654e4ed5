// The prover's dynamic half. Because every wait has exactly one counterpart, the events of a plan
// form a fixed graph, and one run in any order that respects it stands for all runs:
//
// 1. Each (rank, lane) is a chain of steps, tile after tile, op after op. A chain runs until its
//    next step waits for something that has not happened; if all chains are stuck, the graph has a
//    cycle: a deadlock under every delivery order. Edges: list order, put -> wait, grant -> put,
//    expose -> wait, `after`, the end of an op on all lanes of its rank, and slots of the link.
// 2. Clocks. Each chain keeps, for every other chain, the number of its steps known to be done.
//    Clocks travel with puts, grants and exposes, not with slots, whose number may be larger.
// 3. Memory. Each place keeps its last write and the reads since. A new access must know that the
//    conflicting ones are over; otherwise some delivery order makes them collide. A put reads its
//    source until a release (or the end of the op) and writes its target until the wait for it.
// 4. Values. A place holds a symbolic value, so at the end of each op the outputs show exactly
//    which contributions they got, in which order, and whether they were finished once.
//
// Cost: one clock (chains words) per event that crosses chains. Reference: Lamport, "Time, clocks,
// and the ordering of events", CACM 21(7), 1978; Mattern, "Virtual time and global states of
// distributed systems", 1989.
#include "src/plan/verify_run.h"
#include "src/base/log.h"

namespace weft::plan::prover {

namespace {

constexpr uint64_t places_max = 1ull << 24;  // about 1.5 GB

}  // namespace

Result<void> Prover::setup() {
    const Shape& shape = plan_.shape;
    const uint64_t blocks = static_cast<uint64_t>(shape.input_blocks) + shape.output_blocks;
    uint64_t places = 0;
    for (uint32_t rank = 0; rank < plan_.ranks.size(); rank++) {
        rank_base_.push_back(places);
        places += blocks * shape.chunks * how_.tiles;
        for (const Lane& lane : plan_.ranks[rank].lanes) {
            scratch_base_.push_back(places);
            places += lane.scratch_slots;
        }
        if (places > places_max) {
            return refuse(format("it is too large to prove: more than %llu places",
                                 static_cast<unsigned long long>(places_max)));
        }
    }
    memory_.resize(places);
    streams_.resize(matched_.stream_count);
    chains_.resize(matched_.chains.size());
    queued_.assign(chains_.size(), true);
    chains_left_ = static_cast<uint32_t>(chains_.size());
    agreed_.assign(shape.chunks, 0);
    for (uint32_t c = 0; c < chains_.size(); c++) {
        chains_[c].clock.assign(chains_.size(), 0);
        chains_[c].bound.assign(lane_of(c).scratch_slots, none);
        chains_[c].mail.resize(lane_of(c).steps.size());
        ready_.push_back(c);
        for (const Step& step : lane_of(c).steps) {
            for (const After& after : step.after) {
                const uint32_t other = rank_of(c) * matched_.lanes + after.lane;
                chains_[other].marks[after.step];
            }
        }
    }
    for (uint32_t rank = 0; rank < plan_.ranks.size(); rank++) {
        values_reset(rank);
    }
    return {};
}

// The start of an op: inputs are there, outputs and scratch hold nothing.
void Prover::values_reset(uint32_t rank) {
    const Shape& shape = plan_.shape;
    const uint32_t base = rank * matched_.lanes;
    for (size_t at = rank_base_[rank]; at < places_end(rank); at++) {
        memory_.at(at).value = 0;
    }
    if (!rules_.has_input(static_cast<int32_t>(rank))) {
        return;
    }
    for (uint32_t id = 0; id < shape.input_blocks * shape.chunks; id++) {
        for (uint32_t tile = 0; tile < how_.tiles; tile++) {
            const Operand operand{Space::input, id, -1};
            memory_.at(place_index(base, operand, tile)).value = values_.input(rank, id);
        }
    }
}

size_t Prover::place_index(uint32_t chain, const Operand& operand, uint32_t tile) const {
    const Shape& shape = plan_.shape;
    const uint32_t owner = operand.peer >= 0 ? chain_of(operand.peer, chain) : chain;
    if (operand.space == Space::scratch) {
        return scratch_base_[owner] + operand.chunk;
    }
    const uint32_t rank = rank_of(owner);
    const auto signed_rank = static_cast<int32_t>(rank);
    size_t id = operand.chunk;
    bool output = operand.space == Space::output;
    if (!output && in_place(rank) && rules_.has_output(signed_rank)) {
        const auto [input_block, output_block] = rules_.shared_blocks(signed_rank);
        if (operand.chunk / shape.chunks == input_block) {
            id = static_cast<size_t>(output_block) * shape.chunks + operand.chunk % shape.chunks;
            output = true;
        }
    }
    id += output ? static_cast<size_t>(shape.input_blocks) * shape.chunks : 0;
    return rank_base_[rank] + id * how_.tiles + tile;
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
    at.clock[chain]++;
    if (const auto mark = at.marks.find(at.step); mark != at.marks.end()) {
        mark->second.push_back(at.clock);
    }
    at.step++;
}

// Until it is blocked, or at the end of its op.
Result<void> Prover::chain_run(uint32_t index) {
    Chain& at = chains_[index];
    const Lane& lane = lane_of(index);
    const uint32_t before = at.clock[index];
    while (!at.at_end && at.op < how_.ops) {
        if (at.step == lane.steps.size()) {
            at.loans.clear();
            if (at.tile + 1 < how_.tiles) {
                at.tile++;
                at.step = 0;
                continue;
            }
            at.at_end = true;
            TRY(op_end(rank_of(index)));
            continue;
        }
        const Step& step = lane.steps[at.step];
        if (!skipped(step.chunk, at.tile) &&
            TRY(step_run(index, step, matched_.chains[index][at.step])) == Did::blocked) {
            break;
        }
        pass(index);
    }
    if (at.clock[index] != before) {
        for (const uint32_t waiter : std::exchange(at.waiters, {})) {
            wake(waiter);
        }
    }
    return {};
}

// The last lane of the rank ends the op: all its puts are delivered, and the user owns the memory.
Result<void> Prover::op_end(uint32_t rank) {
    const uint32_t first = rank * matched_.lanes;
    const uint32_t last = first + matched_.lanes;
    for (uint32_t c = first; c < last; c++) {
        if (!chains_[c].at_end) {
            return {};
        }
    }
    Clock joined(chains_.size(), 0);
    for (uint32_t c = first; c < last; c++) {
        Chain& at = chains_[c];
        at.clock[c]++;
        for (const OpenPut& open : at.open) {
            puts_[open.put].delivered = at.clock[c];
        }
        at.open.clear();
        join(joined, at.clock);
        if (std::any_of(at.bound.begin(), at.bound.end(), [](uint32_t b) { return b != none; })) {
            return fault(c, "a scratch slot that was filled is not released");
        }
    }
    TRY(outputs_check(rank, joined));
    values_reset(rank);
    for (uint32_t c = first; c < last; c++) {
        Chain& at = chains_[c];
        at.clock = joined;
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
    return {};
}

Result<void> run(const Plan& plan, const VerifyCase& how, const Matched& matched) {
    return Prover(plan, how, matched).run();
}

}  // namespace weft::plan::prover
