// One rank's part of a plan: checks the shape and lets the algorithm write each lane.
#include "src/base/log.h"
#include "src/plan/gen.h"
#include "src/plan/planner.h"

namespace weft::plan {

int32_t Part::at(int32_t offset) const {
    return (rank_ + offset % ranks() + ranks()) % ranks();
}

Step& Part::add(StepKind kind, int32_t peer, uint32_t chunk) {
    Step& step = lane_steps_.steps.emplace_back();
    step.kind = kind;
    step.peer = peer;
    step.chunk = chunk;
    return step;
}

void Part::use_scratch(const Operand& operand) {
    if (operand.space == Space::scratch && operand.chunk >= lane_steps_.scratch_slots) {
        lane_steps_.scratch_slots = operand.chunk + 1;
    }
}

void Part::grant(int32_t peer, Operand dst, uint32_t chunk) {
    use_scratch(dst);
    add(StepKind::grant, peer, chunk).dst = dst;
}

void Part::put(int32_t peer, Operand src, uint32_t chunk) {
    add(StepKind::put, peer, chunk).src = {src};
}

void Part::signal(int32_t peer, uint32_t chunk) {
    add(StepKind::put, peer, chunk);
}

void Part::wait(int32_t peer, Operand dst, uint32_t chunk) {
    add(StepKind::wait, peer, chunk).dst = dst;
}

void Part::wait_signal(int32_t peer, uint32_t chunk) {
    add(StepKind::wait, peer, chunk);
}

void Part::expose(int32_t peer, Operand dst, uint32_t chunk) {
    add(StepKind::expose, peer, chunk).dst = dst;
}

void Part::copy(Operand dst, Operand src, uint32_t chunk) {
    Step& step = add(StepKind::copy, -1, chunk);
    step.dst = dst;
    step.src = {src};
}

void Part::reduce(Operand dst, std::vector<Operand> src, uint32_t chunk, bool finish) {
    use_scratch(dst);
    Step& step = add(StepKind::reduce, -1, chunk);
    step.dst = dst;
    step.src = std::move(src);
    step.finish = finish;
}

void Part::release(Operand dst, uint32_t chunk) {
    add(StepKind::release, -1, chunk).dst = dst;
}

bool is_reducing(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::reduce;
}

bool sends(const Shape& shape, int32_t from, int32_t to) {
    switch (shape.coll) {
        case Coll::all_reduce:
        case Coll::reduce_scatter:
        case Coll::all_gather:
        case Coll::all_to_all:
            return true;
        case Coll::reduce:
        case Coll::gather:
            return to == shape.root;
        case Coll::broadcast:
        case Coll::scatter:
            return from == shape.root;
        case Coll::send_recv:
            return false;
    }
    return false;
}

namespace {

Result<void> shape_check(const Shape& shape, uint32_t lanes, int32_t rank) {
    const auto bad = [](const std::string& what) {
        return make_error(Code::invalid_argument, Scope::operation, what);
    };
    if (shape.coll == Coll::send_recv) {
        return bad("a Send or Recv is a pair plan, not a collective plan");
    }
    if (shape.rank_count < 1 || rank < 0 || rank >= shape.rank_count || shape.root < 0 ||
        shape.root >= shape.rank_count) {
        return bad(format("plan for rank %d with root %d of %d ranks: no such rank", rank,
                          shape.root, shape.rank_count));
    }
    const bool sliced = shape.coll == Coll::all_reduce && (shape.algo == Algo::ring || shape.loads);
    const uint32_t chunks = lanes * (sliced ? static_cast<uint32_t>(shape.rank_count) : 1u);
    if (lanes == 0 || shape.chunks != chunks) {
        return bad(format("plan with %u chunks on %u lanes: %s by %s cuts a block into %u",
                          shape.chunks, lanes, to_string(shape.coll), to_string(shape.algo),
                          chunks));
    }
    const bool ringless =
        shape.coll == Coll::all_to_all || shape.coll == Coll::gather || shape.coll == Coll::scatter;
    if (shape.algo == Algo::ring && (ringless || shape.loads)) {
        return bad(format("%s has no ring plan%s", to_string(shape.coll),
                          shape.loads ? " that loads from peers" : ""));
    }
    if (shape.loads && (ringless || shape.coll == Coll::reduce)) {
        return bad(format("%s has no plan that loads from peers", to_string(shape.coll)));
    }
    return {};
}

}  // namespace

Result<RankPlan> generate(const Shape& shape, uint32_t lanes, int32_t rank) {
    TRY(shape_check(shape, lanes, rank));
    RankPlan plan;
    plan.rank = rank;
    for (uint32_t lane = 0; lane < lanes; lane++) {
        Part part(shape, lanes, lane, rank);
        if (shape.loads) {
            gen_loads(part);
        } else if (shape.algo == Algo::ring) {
            gen_ring(part);
        } else {
            gen_direct(part);
        }
        plan.lanes.push_back(part.take());
    }
    return plan;
}

RankPlan pair_plan(bool is_send, int32_t rank, int32_t peer) {
    Part part(Shape{}, 1, 0, rank);
    if (is_send) {
        part.put(peer, part.input(), 0);
    } else {
        part.grant(peer, part.output(), 0);
        part.wait(peer, part.output(), 0);
    }
    RankPlan plan;
    plan.rank = rank;
    plan.lanes.push_back(part.take());
    return plan;
}

}  // namespace weft::plan
