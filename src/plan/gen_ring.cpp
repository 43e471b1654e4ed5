// Ring plans: position r of the stage sends to r+1 only and receives from r-1 only. n-1 steps a
// phase, bytes at the bound, each wire used by one pair: the choice for large blocks.
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
// Slots. Partial sums land in two slots in turn and leave from two others, so that a slot is free
// for the next grant as soon as it was read, not only when the put behind it was delivered. Grants
// go out two steps ahead: the sender finds its grant waiting. A sending slot is released just
// before it is written again, when its last put has long been delivered.
//
// Bytes each rank sends, blocks of B bytes: reduce_scatter and all_gather (n-1)B, all_reduce
// 2B(n-1)/n.
// Reference: Patarasuk, Yuan, "Bandwidth Optimal All-reduce Algorithms for Clusters of
// Workstations", JPDC 69(2), 2009.
#include <algorithm>

#include "src/plan/gen.h"

namespace weft::plan {

namespace {

using Place = Part::Place;

constexpr int32_t grants_ahead = 2;

// Receiving slot of the k-th partial sum, and the slot its sum leaves from.
Place slot_in(int32_t k) {
    return Part::slot(k % 2);
}

Place slot_out(int32_t receives, int32_t k) {
    return Part::slot(std::min(receives, 2) + k % 2);
}

// Position a rank adds to as its k-th partial sum, and receives as its k-th finished one.
int32_t pos_summed(const Part& part, int32_t k) {
    return part.at(-2 - k);
}

int32_t pos_gathered(const Part& part, int32_t k) {
    return part.at(-1 - k);
}

void grant_sum(Part& part, int32_t k) {
    if (k < part.size() - 1) {
        part.grant(part.at(-1), slot_in(k), pos_summed(part, k));
    }
}

void grant_gathered(Part& part, int32_t k) {
    if (k < part.size() - 1) {
        const int32_t pos = pos_gathered(part, k);
        part.grant(part.at(-1), Part::output(pos), pos);
    }
}

void pass_on_sum(Part& part, int32_t k) {
    const int32_t pos = pos_summed(part, k);
    const Place sum = slot_out(part.size() - 1, k);
    part.fetch(pos);
    part.wait(part.at(-1), slot_in(k), pos);
    part.release(sum, pos);
    part.reduce(sum, {slot_in(k), Part::own(pos)}, pos, false);
    part.release(slot_in(k), pos);
    part.used();
    grant_sum(part, k + grants_ahead);
    part.put(part.at(1), sum, pos);
}

// The last partial sum makes the result of the own position.
void finish_sum(Part& part, Place result) {
    const int32_t last = part.size() - 2;
    const int32_t pos = part.self();
    part.fetch(pos);
    part.wait(part.at(-1), slot_in(last), pos);
    part.reduce(result, {slot_in(last), Part::own(pos)}, pos, true);
    part.release(slot_in(last), pos);
    part.used();
}

void put_first_input(Part& part) {
    for (int32_t k = 0; k < grants_ahead; k++) {
        part.each([&] { grant_sum(part, k); });
    }
    part.each([&] {
        const int32_t pos = part.at(-1);
        const Place sum = slot_out(part.size() - 1, part.size() > 2 ? 1 : 0);
        part.fetch(pos);
        part.put(part.at(1), part.first(pos, sum), pos);
        part.used();
    });
}

void pass_on_sums(Part& part) {
    for (int32_t k = 0; k + 2 < part.size(); k++) {
        part.each([&] { pass_on_sum(part, k); });
    }
}

// Grants 0 to grants_ahead-1 have been given, the own position has been put.
void pass_on_gathered(Part& part) {
    for (int32_t k = 0; k + 1 < part.size(); k++) {
        part.each([&] {
            const int32_t pos = pos_gathered(part, k);
            part.wait(part.at(-1), Part::output(pos), pos);
            grant_gathered(part, k + grants_ahead);
            if (k + 2 < part.size()) {
                part.put(part.at(1), Part::output(pos), pos);
            }
        });
    }
}

void ring_reduce_scatter(Part& part) {
    put_first_input(part);
    pass_on_sums(part);
    part.each([&] { finish_sum(part, Part::output()); });
}

void ring_all_gather(Part& part) {
    for (int32_t k = 0; k < grants_ahead; k++) {
        part.each([&] { grant_gathered(part, k); });
    }
    part.each([&] {
        part.put(part.at(1), Part::input(), part.self());
        part.copy(Part::output(part.self()), Part::input(), part.self());
    });
    pass_on_gathered(part);
}

void ring_all_reduce(Part& part) {
    put_first_input(part);
    pass_on_sums(part);
    const int32_t self = part.self();
    part.each([&] {
        // The first finished position to come is the one put first as input: in place it must be
        // out.
        part.release(Part::input(part.at(-1)), part.at(-1));
        grant_gathered(part, 0);
    });
    part.each([&] { finish_sum(part, Part::output(self)); });
    part.each([&] {
        grant_gathered(part, 1);
        part.put(part.at(1), Part::output(self), self);
    });
    pass_on_gathered(part);
}

}  // namespace

void gen_ring(Part& part) {
    switch (part.stage().coll) {
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
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;  // generate() has other plans for them, or refuses them
    }
}

}  // namespace weft::plan
