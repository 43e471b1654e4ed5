// Direct plans: every contribution goes straight from the rank that has it to the rank that needs
// it. One step, any rank count, lowest latency.
//
// 1. Grant every sender one place: its block of the output, or, when reducing, a scratch slot.
// 2. Put to every receiver, the next rank first, so that n ranks do not all begin with rank 0.
// 3. Copy the own block while the others travel.
// 4. Wait for every sender. When reducing: one step over all inputs in rank order, so that every
//    rank that computes the same result gets the same bits; then give the slots back.
//
// Bytes each rank sends and receives, blocks of B bytes, n ranks: all_reduce, all_gather,
// reduce_scatter and all_to_all (n-1)B; the rooted ones (n-1)B at the root and B elsewhere.
// all_reduce is thus the choice for small B only; the others are as good as any other algorithm in
// bytes and lose only where paths are shared.
// Reference: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in
// MPICH", IJHPCA 19(1), 2005 (pairwise exchange).
#include "src/plan/gen.h"

namespace weft::plan {

namespace {

bool per_peer_input(Coll coll) {
    return coll == Coll::reduce_scatter || coll == Coll::all_to_all || coll == Coll::scatter;
}

bool per_peer_output(Coll coll) {
    return coll == Coll::all_gather || coll == Coll::all_to_all || coll == Coll::gather;
}

Operand source_for(const Part& part, int32_t to) {
    return part.input(per_peer_input(part.shape().coll) ? to : 0);
}

Operand place_of(const Part& part, int32_t from) {
    if (!is_reducing(part.shape().coll)) {
        return part.output(per_peer_output(part.shape().coll) ? from : 0);
    }
    return Part::scratch(static_cast<uint32_t>(from < part.rank() ? from : from - 1));
}

void reduce_all(Part& part) {
    const Coll coll = part.shape().coll;
    if (coll == Coll::all_reduce && part.ranks() > 1) {
        part.release(part.input(), part.chunk());  // in place, the reduce overwrites what was put
    }
    std::vector<Operand> sources;
    sources.reserve(static_cast<size_t>(part.ranks()));
    for (int32_t from = 0; from < part.ranks(); from++) {
        sources.push_back(from == part.rank() ? source_for(part, part.rank())
                                              : place_of(part, from));
    }
    part.reduce(part.output(), std::move(sources), part.chunk(), true);
    for (int32_t i = 1; i < part.ranks(); i++) {
        part.release(place_of(part, part.at(-i)), part.chunk());
    }
}

}  // namespace

void gen_direct(Part& part) {
    const Shape& shape = part.shape();
    const int32_t rank = part.rank();
    const bool reducing = is_reducing(shape.coll);
    for (int32_t i = 1; i < part.ranks(); i++) {
        const int32_t from = part.at(-i);
        if (sends(shape, from, rank)) {
            part.grant(from, place_of(part, from), part.chunk());
        }
    }
    for (int32_t i = 1; i < part.ranks(); i++) {
        const int32_t to = part.at(i);
        if (sends(shape, rank, to)) {
            part.put(to, source_for(part, to), part.chunk());
        }
    }
    const bool own = sends(shape, rank, rank);
    if (own && !reducing) {
        part.copy(place_of(part, rank), source_for(part, rank), part.chunk());
    }
    for (int32_t i = 1; i < part.ranks(); i++) {
        const int32_t from = part.at(-i);
        if (sends(shape, from, rank)) {
            part.wait(from, place_of(part, from), part.chunk());
        }
    }
    if (own && reducing) {
        reduce_all(part);
    }
}

}  // namespace weft::plan
