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

Error Prover::clash(const Seat& at, const char* what, const Operand& operand,
                    const Access& with) const {
    static constexpr std::array<const char*, 3> uses = {"", " (its put not known to be delivered)",
                                                        " (its put not known to have arrived)"};
    Step shown;
    shown.kind = StepKind::release;
    shown.dst = operand;
    const std::string name = step_text(shown);
    return fault(at.chain,
                 std::string(what) + " " +
                     name.substr(name.find(' ') + 1, name.find(" chunk") - name.find(' ') - 1) +
                     " while it may still be in use by " + where(with.chain, with.step) +
                     uses[static_cast<size_t>(with.use)]);
}

Prover::Did Prover::after_wait(const Seat& at) {
    const Chain& chain = chains_[at.chain];
    for (const After& after : at.step.after) {
        if (after.tiles_back > chain.tile) {
            continue;
        }
        const uint32_t other = view_.first_of(at.chain) + after.lane;
        const auto& passes = chains_[other].marked[matched_.marks[other][after.step]];
        const size_t wanted =
            static_cast<size_t>(chain.op) * how_.tiles + chain.tile - after.tiles_back;
        if (passes.size() <= wanted) {
            return block(at.chain, other, "a step it comes after");
        }
        const Seat marked{other, view_.lane(other).steps[after.step],
                          matched_.chains[other][after.step]};
        clocks_->follow(at, marked, passes[wanted]);
    }
    return Did::done;
}

Result<Value> Prover::read(const Seat& at, const Operand& operand, Access access) {
    const Spot where = spot(at.chain, operand);
    access.host = view_.turn.back(where.host);
    const auto known = [&](const Access& earlier) { return over(at, where, earlier); };
    if (const auto with = memory_.read(where.index, access, known)) {
        return clash(at, "reads", operand, *with);
    }
    const Place& place = memory_.at(where.index);
    if (place.value.node == 0) {
        return fault(at.chain, "reads what nobody has written");
    }
    if (operand.space == Space::scratch &&
        (view_.turn.chunk(place.chunk, where.host) != at.step.chunk ||
         place.tile != chains_[at.chain].tile)) {
        return fault(at.chain, format("reads a scratch slot that holds tile %u of chunk %u",
                                      place.tile, view_.turn.chunk(place.chunk, where.host)));
    }
    return values_.turned(place.value, where.host);
}

Result<void> Prover::write(const Seat& at, const Spot& spot, const Operand& operand, Access access,
                           Value value) {
    const int32_t back = view_.turn.back(spot.host);
    access.host = back;
    const auto known = [&](const Access& earlier) { return over(at, spot, earlier); };
    if (const auto with = memory_.write(spot.index, access, known)) {
        return clash(at, "writes", operand, *with);
    }
    Place& place = memory_.at(spot.index);
    place.value = values_.turned(value, back);
    place.chunk = view_.turn.chunk(at.step.chunk, back);
    place.tile = chains_[at.chain].tile;
    return {};
}

// A value that leaves a rank, or ends in its output, must be the same in every run of one trace:
// then ranks cannot tell whether others are in place.
Result<void> Prover::moved(uint32_t chain, Value value) {
    if (trial_.trace == nullptr) {
        return {};
    }
    auto& values = trial_.trace->chains[chain];
    const size_t turn = chains_[chain].moved++;
    if (!trial_.trace->written) {
        values.push_back(value);
    } else if (turn >= values.size() || !(values[turn] == value)) {
        return fault(chain, "comes to other values in place than out of place");
    }
    return {};
}

Result<void> Prover::put_data(const Seat& at, Parcel& parcel) {
    Chain& chain = chains_[at.chain];
    const Operand& source = at.step.src[0];
    parcel.put = static_cast<uint32_t>(puts_.size());
    puts_.push_back(
        PutState{at.chain, at.match.chain, at.match.host, clocks_->done(at.chain) + 1, 0, 0});
    chain.open[source_key(source)].push_back({parcel.put, chain.tile, at.step.chunk});
    parcel.value =
        TRY(read(at, source, Access{Use::put_source, at.chain, chain.step, parcel.put, 0}));
    TRY(moved(at.chain, parcel.value));
    if (how_.eager) {
        return {};
    }
    Operand target = view_.lane(at.match.chain).steps[at.match.grant].dst;
    const Spot where{place_index(at.match.chain, target.space, target.chunk, chain.tile),
                     at.match.host, target.space == Space::scratch};
    target.peer = at.step.peer;
    return write(at, where, target, Access{Use::put_target, at.chain, chain.step, parcel.put, 0},
                 parcel.value);
}

Result<Prover::Did> Prover::put(const Seat& at) {
    const bool data = !at.step.src.empty();
    const bool holds_slot = how_.eager || !data;
    if (holds_slot && !has_slot(at.match.out)) {
        return block(at.chain, at.match.chain, "a free slot of the link");
    }
    if (data && !how_.eager) {
        auto& grants = chains_[at.match.chain].mail[at.match.grant];
        if (grants.empty()) {
            return block(at.chain, at.match.chain, "the grant");
        }
        clocks_->learn(at, grants.pop().told);
    }
    Parcel parcel;
    if (data) {
        TRY(put_data(at, parcel));
    }
    streams_[at.match.out].sent += holds_slot ? 1 : 0;
    post(at, std::move(parcel));
    return Did::done;
}

// The bytes are there. Eager, they leave the link's slot for dst, or a scratch dst becomes the
// slot.
Result<void> Prover::wait_data(const Seat& at, const Parcel& parcel) {
    const Operand& dst = at.step.dst;
    const bool scratch = dst.space == Space::scratch;
    if (!how_.eager) {
        puts_[parcel.put].arrived = clocks_->done(at.chain) + 1;
    } else {
        const Value value = values_.turned(parcel.value, at.match.host);
        TRY(write(at, spot(at.chain, dst), dst, local(at.chain), value));
        streams_[at.match.in].freed += scratch ? 0 : 1;
    }
    if (scratch) {
        Bound& bound = chains_[at.chain].bound[dst.chunk];
        if (bound.stream != none) {
            return fault(at.chain, "fills a scratch slot that was not released");
        }
        bound = {at.match.in, at.step.chunk};
    }
    return {};
}

Result<Prover::Did> Prover::wait(const Seat& at) {
    auto& parcels = chains_[at.match.chain].mail[at.match.partner];
    const bool exposed = at.step.dst.peer >= 0;
    if (parcels.empty()) {
        return block(at.chain, at.match.chain, exposed ? "the expose" : "the put");
    }
    const Parcel parcel = parcels.pop();
    clocks_->learn(at, parcel.told);
    if (exposed) {
        chains_[at.chain].loans.push_back({at.step.dst, at.step.chunk});
    } else if (at.step.dst.space == Space::none) {
        streams_[at.match.in].freed++;
    } else {
        TRY(wait_data(at, parcel));
    }
    return Did::done;
}

Result<Value> Prover::source_read(const Seat& at, const Operand& source) {
    if (source.peer < 0) {
        return read(at, source, local(at.chain));
    }
    const auto& loans = chains_[at.chain].loans;
    if (std::none_of(loans.begin(), loans.end(), [&](const Loan& loan) {
            return loan.operand == source && same_chunk(loan.chunk, at.step.chunk);
        })) {
        return fault(at.chain, "loads a peer's memory without having waited for its expose");
    }
    const Value value = TRY(read(at, source, local(at.chain)));
    TRY(moved(at.chain, value));
    return value;
}

Result<void> Prover::compute(const Seat& at) {
    const Step& step = at.step;
    const Spot target = spot(at.chain, step.dst);
    if (step.kind == StepKind::copy && !step.finish) {
        const Spot source = spot(at.chain, step.src[0]);
        if (source.index == target.index && source.host == target.host) {
            return {};  // in place: the bytes are where they belong, nothing is touched
        }
    }
    std::vector<Value> parts;
    for (const Operand& source : step.src) {
        parts.push_back(TRY(source_read(at, source)));
        if (step.kind == StepKind::reduce && values_.is_finished(parts.back())) {
            return fault(at.chain, "adds to a chunk that was finished already");
        }
    }
    Value value =
        parts.size() == 1 ? parts[0] : values_.sum(parts, at.chain, chains_[at.chain].step);
    if (step.finish) {
        if (!rules_.reducing() || values_.is_finished(value)) {
            return fault(at.chain, "finishes what needs no finishing, or a second time");
        }
        value = values_.finished(value);
    }
    return write(at, target, step.dst, local(at.chain), value);
}

// By ShortClocks, a release on another chunk than the wait that filled the slot is none, and one on
// another chunk than the put's is none for most: it is missing where its chunk is empty.
Result<void> Prover::release(const Seat& at) {
    Chain& chain = chains_[at.chain];
    const Operand& dst = at.step.dst;
    const bool scratch = dst.space == Space::scratch;
    const uint32_t count = clocks_->done(at.chain) + 1;
    if (const auto open = chain.open.find(source_key(dst)); open != chain.open.end()) {
        std::erase_if(open->second, [&](const OpenPut& put) {
            const bool covered =
                (scratch || put.tile == chain.tile) && same_chunk(put.chunk, at.step.chunk);
            if (covered) {
                puts_[put.put].delivered = count;
            }
            return covered;
        });
        if (scratch && !trial_.whole) {
            chain.released[pair(dst.chunk, at.step.chunk)] = count;
        }
    }
    if (!scratch || chain.bound[dst.chunk].stream == none) {
        return {};
    }
    Bound& bound = chain.bound[dst.chunk];
    if (!same_chunk(bound.chunk, at.step.chunk)) {
        return fault(at.chain, "releases a scratch slot that a wait on another chunk filled");
    }
    streams_[bound.stream].freed += how_.eager ? 1 : 0;
    bound = {};
    memory_.at(spot(at.chain, dst).index).value = Value{};
    return {};
}

// Grants and exposes hold no slot of the link, but they travel through one behind what does.
Prover::Did Prover::announce(const Seat& at) {
    if (!has_slot(at.match.out)) {
        return block(at.chain, at.match.chain, "a free slot of the link");
    }
    post(at, Parcel{});
    return Did::done;
}

Result<Prover::Did> Prover::step_run(const Seat& at) {
    if (after_wait(at) == Did::blocked) {
        return Did::blocked;
    }
    switch (at.step.kind) {
        case StepKind::grant:
            if (at.step.dst.space == Space::scratch &&
                chains_[at.chain].bound[at.step.dst.chunk].stream != none) {
                return fault(at.chain, "grants a scratch slot that was not released");
            }
            return how_.eager ? Did::done : announce(at);
        case StepKind::expose:
            return announce(at);
        case StepKind::put:
            return put(at);
        case StepKind::wait:
            return wait(at);
        case StepKind::copy:
        case StepKind::reduce:
            TRY(compute(at));
            return Did::done;
        case StepKind::release:
            TRY(release(at));
            return Did::done;
    }
    return Did::done;
}

Result<void> Prover::outputs_check(uint32_t local) {
    const uint32_t chain = local * lanes_;
    const int32_t rank = view_.rank_of(chain);
    const auto known = [&](const Access& access) { return over_for_rank(local, access); };
    for (size_t at = rank_base_[local]; at < places_end(local); at++) {
        if (const auto with = memory_.settle(at, known)) {
            return fault(chain, "the user may reuse memory that is still in use by " +
                                    where(with->chain, with->step));
        }
    }
    if (!rules_.has_output(rank)) {
        return {};
    }
    const Shape& shape = view_.shape;
    for (uint32_t id = 0; id < shape.output_blocks * shape.chunks; id++) {
        for (uint32_t tile = 0; tile < how_.tiles; tile++) {
            if (!skipped(id % shape.chunks, tile)) {
                const size_t at = place_index(chain, Space::output, id, tile);
                TRY(output_check(rank, id, memory_.at(at).value));
                TRY(moved(chain, memory_.at(at).value));
            }
        }
    }
    return {};
}

// Where one host stands for all, its chunks of one cycle are one chunk as the hosts of the cycle
// see it: turned back to the first of the cycle, the values must be one.
Result<void> Prover::output_check(int32_t rank, uint32_t id, Value value) {
    const auto bad = [&](const char* what) {
        return refuse(
            format("rank %d output chunk %u (%s): ", rank, id, how_.eager ? "eager" : "granted") +
            what + "; it holds " + values_.text(value));
    };
    if (!values_.is(value, rules_.expected(rank, id))) {
        return bad("does not hold every contribution exactly once");
    }
    if (rules_.reducing() != values_.is_finished(value)) {
        return bad(rules_.reducing() ? "was not finished" : "was finished");
    }
    if (view_.shape.coll != Coll::all_reduce) {
        return {};
    }
    const Rotation& turn = view_.turn;
    Value& agreed = agreed_[turn.cycle_of(id)];
    const Value turned = values_.turned(value, turn.back(turn.place_in_cycle(id)));
    if (turn.cycle_length(id) != turn.hosts() || (agreed.node != 0 && !(agreed == turned))) {
        return bad("was summed in another order than on another rank");
    }
    agreed = turned;
    return {};
}

}  // namespace weft::plan::prover
