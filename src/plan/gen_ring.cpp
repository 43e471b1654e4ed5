// Ring plans: rank r sends to r+1 only and receives from r-1 only. n-1 steps a phase, bytes at the
// bound, each wire used by one pair: the choice for large blocks.
//
// reduce_scatter, blocks of n ranks:
// 1. Put the own part of block r-1.
// 2. n-1 times: wait for the partial sum of block r-2-k in a scratch slot, add the own part, put
//    the sum on. Block b is thus summed in the fixed order b+1, b+2, ..., b.
// 3. The last sum, of block r, goes to the output and is finished.
//
// all_gather: 1. put the own block, 2. n-1 times: wait for block r-1-k at its final place in the
// output and put it on from there: no copy on the way.
//
// all_reduce is the first over n slices of the block, then the second over the finished slices,
// zero-copy from output to output.
//
// broadcast, reduce: a chain root, root+1, ..., each rank hands its tile on (broadcast) or adds its
// own (reduce, from root+1 round to root) while the next tile is under way behind it.
//
// Slots. Partial sums land in two slots in turn and leave from two others, so that a slot is free
// for the next grant as soon as it was read, not only when the put behind it was delivered. Grants
// go out two steps ahead: the sender finds its grant waiting. A sending slot is released just
// before it is written again, when its last put has long been delivered.
//
// Bytes each rank sends, blocks of B bytes: reduce_scatter and all_gather (n-1)B, all_reduce
// 2B(n-1)/n, chains B.
// Reference: Patarasuk, Yuan, "Bandwidth Optimal All-reduce Algorithms for Clusters of
// Workstations", JPDC 69(2), 2009.
#include <algorithm>

#include "src/plan/gen.h"

namespace weft::plan {

namespace {

constexpr int32_t grants_ahead = 2;

// Receiving slot of the k-th partial sum, and the slot its sum leaves from.
Operand slot_in(int32_t k) {
    return Part::scratch(static_cast<uint32_t>(k % 2));
}

Operand slot_out(int32_t receives, int32_t k) {
    return Part::scratch(static_cast<uint32_t>(std::min(receives, 2) + k % 2));
}

// Position a rank adds to as its k-th partial sum, and receives as its k-th finished one.
int32_t pos_summed(const Part& part, int32_t k) {
    return part.at(-2 - k);
}

int32_t pos_gathered(const Part& part, int32_t k) {
    return part.at(-1 - k);
}

void grant_sum(Part& part, int32_t k) {
    if (k < part.ranks() - 1) {
        part.grant(part.at(-1), slot_in(k), part.chunk(pos_summed(part, k)));
    }
}

void grant_gathered(Part& part, int32_t k) {
    if (k < part.ranks() - 1) {
        const Operand place = part.output(pos_gathered(part, k));
        part.grant(part.at(-1), place, part.chunk(place));
    }
}

void pass_on_sum(Part& part, int32_t k) {
    const Operand own = part.input(pos_summed(part, k));
    const Operand sum = slot_out(part.ranks() - 1, k);
    const uint32_t chunk = part.chunk(own);
    part.wait(part.at(-1), slot_in(k), chunk);
    part.release(sum, chunk);
    part.reduce(sum, {slot_in(k), own}, chunk, false);
    part.release(slot_in(k), chunk);
    grant_sum(part, k + grants_ahead);
    part.put(part.at(1), sum, chunk);
}

// The last partial sum makes the result of the own position.
void finish_sum(Part& part, Operand result) {
    const int32_t last = part.ranks() - 2;
    const Operand own = part.input(part.rank());
    const uint32_t chunk = part.chunk(own);
    part.wait(part.at(-1), slot_in(last), chunk);
    part.reduce(result, {slot_in(last), own}, chunk, true);
    part.release(slot_in(last), chunk);
}

void put_first_input(Part& part) {
    for (int32_t k = 0; k < grants_ahead; k++) {
        grant_sum(part, k);
    }
    const Operand first = part.input(part.at(-1));
    part.put(part.at(1), first, part.chunk(first));
}

void pass_on_sums(Part& part) {
    for (int32_t k = 0; k + 2 < part.ranks(); k++) {
        pass_on_sum(part, k);
    }
}

// Grants 0 to grants_ahead-1 have been given, the own position has been put.
void pass_on_gathered(Part& part) {
    for (int32_t k = 0; k + 1 < part.ranks(); k++) {
        const Operand place = part.output(pos_gathered(part, k));
        part.wait(part.at(-1), place, part.chunk(place));
        grant_gathered(part, k + grants_ahead);
        if (k + 2 < part.ranks()) {
            part.put(part.at(1), place, part.chunk(place));
        }
    }
}

void ring_reduce_scatter(Part& part) {
    put_first_input(part);
    pass_on_sums(part);
    finish_sum(part, part.output());
}

void ring_all_gather(Part& part) {
    for (int32_t k = 0; k < grants_ahead; k++) {
        grant_gathered(part, k);
    }
    part.put(part.at(1), part.input(), part.chunk());
    part.copy(part.output(part.rank()), part.input(), part.chunk());
    pass_on_gathered(part);
}

void ring_all_reduce(Part& part) {
    put_first_input(part);
    pass_on_sums(part);
    // The first finished position to come is the one put first as input: in place it must be out.
    const Operand first = part.input(part.at(-1));
    part.release(first, part.chunk(first));
    grant_gathered(part, 0);
    finish_sum(part, part.output(part.rank()));
    grant_gathered(part, 1);
    const Operand own = part.output(part.rank());
    part.put(part.at(1), own, part.chunk(own));
    pass_on_gathered(part);
}

void chain_broadcast(Part& part) {
    const uint32_t chunk = part.chunk();
    const bool last = part.at(1) == part.shape().root;
    if (part.is_root()) {
        part.put(part.at(1), part.input(), chunk);
        part.copy(part.output(), part.input(), chunk);
        return;
    }
    part.grant(part.at(-1), part.output(), chunk);
    part.wait(part.at(-1), part.output(), chunk);
    if (!last) {
        part.put(part.at(1), part.output(), chunk);
    }
}

void chain_reduce(Part& part) {
    const uint32_t chunk = part.chunk();
    const Operand in = Part::scratch(0);
    const Operand sum = Part::scratch(1);
    if (part.at(-1) == part.shape().root) {
        part.put(part.at(1), part.input(), chunk);
        return;
    }
    part.grant(part.at(-1), in, chunk);
    part.wait(part.at(-1), in, chunk);
    if (part.is_root()) {
        part.reduce(part.output(), {in, part.input()}, chunk, true);
        part.release(in, chunk);
        return;
    }
    part.release(sum, chunk);
    part.reduce(sum, {in, part.input()}, chunk, false);
    part.release(in, chunk);
    part.put(part.at(1), sum, chunk);
}

}  // namespace

void gen_ring(Part& part) {
    if (part.ranks() == 1) {
        gen_direct(part);
        return;
    }
    switch (part.shape().coll) {
        case Coll::all_reduce:
            ring_all_reduce(part);
            break;
        case Coll::reduce_scatter:
            ring_reduce_scatter(part);
            break;
        case Coll::all_gather:
            ring_all_gather(part);
            break;
        case Coll::broadcast:
            chain_broadcast(part);
            break;
        case Coll::reduce:
            chain_reduce(part);
            break;
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;  // generate() refuses them
    }
}

}  // namespace weft::plan
