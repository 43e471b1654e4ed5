// What the steps of a plan do to clocks, memory and values, and what the outputs must hold.
#include <algorithm>
#include <array>

#include "src/base/log.h"
#include "src/plan/text.h"
#include "src/plan/verify_run.h"

namespace weft::plan::prover {

Error Prover::fault(uint32_t chain, const std::string& what) const {
    const Chain& at = chains_[chain];
    return refuse(
        where(chain, at.step) +
        format(" (tile %u, operation %u, %s): ", at.tile, at.op, how_.eager ? "eager" : "granted") +
        what);
}

Error Prover::clash(uint32_t chain, const char* what, const Operand& operand,
                    const Access& with) const {
    static constexpr std::array<const char*, 3> uses = {"", " (its put not known to be delivered)",
                                                        " (its put not known to have arrived)"};
    Step shown;
    shown.kind = StepKind::release;
    shown.dst = operand;
    const std::string name = step_text(shown);
    return fault(chain,
                 std::string(what) + " " +
                     name.substr(name.find(' ') + 1, name.find(" chunk") - name.find(' ') - 1) +
                     " while it may still be in use by " + where(with.chain, with.step) +
                     uses[static_cast<size_t>(with.use)]);
}

Prover::Did Prover::after_wait(uint32_t chain, const Step& step) {
    Chain& at = chains_[chain];
    for (const After& after : step.after) {
        if (after.tiles_back > at.tile) {
            continue;
        }
        const uint32_t other = rank_of(chain) * matched_.lanes + after.lane;
        const auto& passes = chains_[other].marks.at(after.step);
        const size_t wanted = static_cast<size_t>(at.op) * how_.tiles + at.tile - after.tiles_back;
        if (passes.size() <= wanted) {
            return block(chain, other, "a step it comes after");
        }
        join(at.clock, passes[wanted]);
    }
    return Did::done;
}

Result<Values::Id> Prover::read(uint32_t chain, const Operand& operand, Access access) {
    const Chain& at = chains_[chain];
    const uint32_t chunk = lane_of(chain).steps[at.step].chunk;
    const size_t index = place_index(chain, operand, at.tile);
    if (const auto with = memory_.read(index, access, at.clock)) {
        return clash(chain, "reads", operand, *with);
    }
    const Place& place = memory_.at(index);
    if (place.value == 0) {
        return fault(chain, "reads what nobody has written");
    }
    if (operand.space == Space::scratch && (place.chunk != chunk || place.tile != at.tile)) {
        return fault(chain, format("reads a scratch slot that holds tile %u of chunk %u",
                                   place.tile, place.chunk));
    }
    return place.value;
}

Result<void> Prover::write(uint32_t chain, const Operand& operand, Access access,
                           Values::Id value) {
    const Chain& at = chains_[chain];
    const size_t index = place_index(chain, operand, at.tile);
    if (const auto with = memory_.write(index, access, at.clock)) {
        return clash(chain, "writes", operand, *with);
    }
    Place& place = memory_.at(index);
    place.value = value;
    place.chunk = lane_of(chain).steps[at.step].chunk;
    place.tile = at.tile;
    return {};
}

Result<void> Prover::put_data(uint32_t chain, const Step& step, const Match& match,
                              Parcel& parcel) {
    Chain& at = chains_[chain];
    const uint32_t receiver = chain_of(step.peer, chain);
    parcel.put = static_cast<uint32_t>(puts_.size());
    puts_.push_back(PutState{chain, receiver, 0, 0});
    at.open.push_back(OpenPut{parcel.put, step.src[0], at.tile});
    parcel.value =
        TRY(read(chain, step.src[0], Access{Use::put_source, chain, at.step, parcel.put}));
    if (how_.eager) {
        return {};
    }
    Operand target = lane_of(receiver).steps[match.grant].dst;
    target.peer = step.peer;
    return write(chain, target, Access{Use::put_target, chain, at.step, parcel.put}, parcel.value);
}

Result<Prover::Did> Prover::put(uint32_t chain, const Step& step, const Match& match) {
    Chain& at = chains_[chain];
    const bool data = !step.src.empty();
    const bool holds_slot = how_.eager || !data;
    const uint32_t receiver = chain_of(step.peer, chain);
    if (holds_slot && !has_slot(match.out)) {
        return block(chain, receiver, "a free slot of the link");
    }
    if (data && !how_.eager) {
        auto& grants = chains_[receiver].mail[match.grant];
        if (grants.empty()) {
            return block(chain, receiver, "the grant");
        }
        join(at.clock, grants.pop().clock);
    }
    Parcel parcel;
    if (data) {
        TRY(put_data(chain, step, match, parcel));
    }
    streams_[match.out].sent += holds_slot ? 1 : 0;
    post(chain, std::move(parcel));
    return Did::done;
}

// The bytes are there. Eager, they leave the link's slot for dst, or a scratch dst becomes the
// slot.
Result<void> Prover::wait_data(uint32_t chain, const Step& step, const Match& match,
                               const Parcel& parcel) {
    Chain& at = chains_[chain];
    const bool scratch = step.dst.space == Space::scratch;
    if (!how_.eager) {
        puts_[parcel.put].arrived = at.clock[chain] + 1;
    } else {
        TRY(write(chain, step.dst, local(chain), parcel.value));
        streams_[match.in].freed += scratch ? 0 : 1;
    }
    if (scratch) {
        if (at.bound[step.dst.chunk] != none) {
            return fault(chain, "fills a scratch slot that was not released");
        }
        at.bound[step.dst.chunk] = match.in;
    }
    return {};
}

Result<Prover::Did> Prover::wait(uint32_t chain, const Step& step, const Match& match) {
    Chain& at = chains_[chain];
    const uint32_t sender = chain_of(step.peer, chain);
    auto& parcels = chains_[sender].mail[match.partner];
    if (parcels.empty()) {
        return block(chain, sender, step.dst.peer >= 0 ? "the expose" : "the put");
    }
    const Parcel parcel = parcels.pop();
    join(at.clock, parcel.clock);
    if (step.dst.peer >= 0) {
        at.loans.push_back(step.dst);
    } else if (step.dst.space == Space::none) {
        streams_[match.in].freed++;
    } else {
        TRY(wait_data(chain, step, match, parcel));
    }
    return Did::done;
}

Result<void> Prover::compute(uint32_t chain, const Step& step) {
    const Chain& at = chains_[chain];
    if (step.kind == StepKind::copy && !step.finish &&
        place_index(chain, step.src[0], at.tile) == place_index(chain, step.dst, at.tile)) {
        return {};  // in place: the bytes are where they belong, nothing is touched
    }
    std::vector<Values::Id> parts;
    for (const Operand& source : step.src) {
        if (source.peer >= 0 &&
            std::find(at.loans.begin(), at.loans.end(), source) == at.loans.end()) {
            return fault(chain, "loads a peer's memory without having waited for its expose");
        }
        parts.push_back(TRY(read(chain, source, local(chain))));
        if (step.kind == StepKind::reduce && values_.is_finished(parts.back())) {
            return fault(chain, "adds to a chunk that was finished already");
        }
    }
    Values::Id value = parts.size() == 1 ? parts[0] : values_.sum(parts);
    if (step.finish) {
        if (!rules_.reducing() || values_.is_finished(value)) {
            return fault(chain, "finishes what needs no finishing, or a second time");
        }
        value = values_.finished(value);
    }
    return write(chain, step.dst, local(chain), value);
}

void Prover::release(uint32_t chain, const Step& step) {
    Chain& at = chains_[chain];
    const bool scratch = step.dst.space == Space::scratch;
    std::erase_if(at.open, [&](const OpenPut& open) {
        const bool covered = open.source == step.dst && (scratch || open.tile == at.tile);
        if (covered) {
            puts_[open.put].delivered = at.clock[chain] + 1;
        }
        return covered;
    });
    if (scratch && at.bound[step.dst.chunk] != none) {
        streams_[at.bound[step.dst.chunk]].freed += how_.eager ? 1 : 0;
        at.bound[step.dst.chunk] = none;
        memory_.at(place_index(chain, step.dst, at.tile)).value = 0;
    }
}

// Grants and exposes hold no slot of the link, but they travel through one behind what does.
Prover::Did Prover::announce(uint32_t chain, const Step& step, const Match& match) {
    if (!has_slot(match.out)) {
        return block(chain, chain_of(step.peer, chain), "a free slot of the link");
    }
    post(chain, Parcel{});
    return Did::done;
}

Result<Prover::Did> Prover::step_run(uint32_t chain, const Step& step, const Match& match) {
    if (after_wait(chain, step) == Did::blocked) {
        return Did::blocked;
    }
    switch (step.kind) {
        case StepKind::grant:
            if (step.dst.space == Space::scratch && chains_[chain].bound[step.dst.chunk] != none) {
                return fault(chain, "grants a scratch slot that was not released");
            }
            return how_.eager ? Did::done : announce(chain, step, match);
        case StepKind::expose:
            return announce(chain, step, match);
        case StepKind::put:
            return put(chain, step, match);
        case StepKind::wait:
            return wait(chain, step, match);
        case StepKind::copy:
        case StepKind::reduce:
            TRY(compute(chain, step));
            return Did::done;
        case StepKind::release:
            release(chain, step);
            return Did::done;
    }
    return Did::done;
}

Result<void> Prover::outputs_check(uint32_t rank, const Clock& joined) {
    const uint32_t chain = rank * matched_.lanes;
    for (size_t at = rank_base_[rank]; at < places_end(rank); at++) {
        if (const auto with = memory_.settle(at, joined)) {
            return fault(chain, "the user may reuse memory that is still in use by " +
                                    where(with->chain, with->step));
        }
    }
    if (!rules_.has_output(static_cast<int32_t>(rank))) {
        return {};
    }
    const Shape& shape = plan_.shape;
    for (uint32_t id = 0; id < shape.output_blocks * shape.chunks; id++) {
        for (uint32_t tile = 0; tile < how_.tiles; tile++) {
            if (!skipped(id % shape.chunks, tile)) {
                const Operand output{Space::output, id, -1};
                TRY(output_check(rank, id, memory_.at(place_index(chain, output, tile)).value));
            }
        }
    }
    return {};
}

Result<void> Prover::output_check(uint32_t rank, uint32_t id, Values::Id value) {
    const auto bad = [&](const char* what) {
        return refuse(
            format("rank %u output chunk %u (%s): ", rank, id, how_.eager ? "eager" : "granted") +
            what + "; it holds " + values_.text(value));
    };
    if (checked_.count({rank, id, value}) > 0) {
        return {};
    }
    if (values_.contributions(value) != rules_.expected(static_cast<int32_t>(rank), id)) {
        return bad("does not hold every contribution exactly once");
    }
    if (rules_.reducing() != values_.is_finished(value)) {
        return bad(rules_.reducing() ? "was not finished" : "was finished");
    }
    if (plan_.shape.coll == Coll::all_reduce) {
        if (agreed_[id] != 0 && agreed_[id] != value) {
            return bad("was summed in another order than on another rank");
        }
        agreed_[id] = value;
    }
    checked_.insert({rank, id, value});
    return {};
}

}  // namespace weft::plan::prover
