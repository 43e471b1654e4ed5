// Plans of algorithms as the closed forms see them, one lane unless said: doubling, halving, both,
// binomial, and two levels.
#pragma once

#include <utility>
#include <vector>

#include "src/plan/ir.h"

namespace weft::tune {

class Writer {
  public:
    explicit Writer(plan::Lane& lane) : lane_(lane) {}
    static plan::Operand input(uint32_t chunk) { return {plan::Space::input, chunk, -1}; }
    static plan::Operand output(uint32_t chunk) { return {plan::Space::output, chunk, -1}; }
    static plan::Operand scratch(uint32_t slot) { return {plan::Space::scratch, slot, -1}; }

    plan::Step& add(plan::StepKind kind, int32_t peer, plan::Operand dst,
                    decltype(plan::Step::src) src = {}, uint32_t chunk = 0) {
        plan::Step step;
        step.kind = kind;
        step.peer = peer;
        step.chunk = chunk;
        step.dst = dst;
        step.src = std::move(src);
        if (dst.space == plan::Space::scratch && dst.chunk >= lane_.scratch_slots) {
            lane_.scratch_slots = dst.chunk + 1;
        }
        return lane_.steps.emplace_back(std::move(step));
    }
    void grant(int32_t peer, plan::Operand dst, uint32_t chunk = 0) {
        add(plan::StepKind::grant, peer, dst, {}, chunk);
    }
    plan::Step& put(int32_t peer, plan::Operand src, uint32_t chunk = 0) {
        return add(plan::StepKind::put, peer, {}, {src}, chunk);
    }
    void wait(int32_t peer, plan::Operand dst, uint32_t chunk = 0) {
        add(plan::StepKind::wait, peer, dst, {}, chunk);
    }
    void copy(plan::Operand dst, plan::Operand src) { add(plan::StepKind::copy, -1, dst, {src}); }
    uint16_t last() const { return static_cast<uint16_t>(lane_.steps.size() - 1); }

  private:
    plan::Lane& lane_;
};

inline plan::Shape shape_make(Coll coll, int32_t ranks, uint32_t chunks) {
    plan::Shape shape;
    shape.coll = coll;
    shape.rank_count = ranks;
    shape.chunks = chunks;
    shape.slots_min = static_cast<uint32_t>(ranks);
    const auto n = static_cast<uint32_t>(ranks);
    shape.input_blocks = coll == Coll::reduce_scatter ? n : 1;
    shape.output_blocks = coll == Coll::all_gather ? n : 1;
    return shape;
}

inline plan::Plan plan_empty(Coll coll, int32_t ranks, uint32_t chunks, uint32_t lanes) {
    plan::Plan plan;
    plan.shape = shape_make(coll, ranks, chunks);
    for (int32_t rank = 0; rank < ranks; rank++) {
        plan.ranks.push_back({rank, std::vector<plan::Lane>(lanes)});
    }
    return plan;
}

// The blocks a rank holds before round i: those that share its bits above i.
inline std::vector<uint32_t> group_of(int32_t ranks, int32_t rank, int32_t round) {
    std::vector<uint32_t> blocks;
    for (int32_t block = 0; block < ranks; block++) {
        if (block >> round == rank >> round) {
            blocks.push_back(static_cast<uint32_t>(block));
        }
    }
    return blocks;
}

// `chunked`: the blocks are chunks of one block (all_reduce), and the own one is in the output.
inline void doubling_grants(Writer& to, int32_t ranks, int32_t rank, bool chunked) {
    for (int32_t round = 0; 1 << round < ranks; round++) {
        const int32_t partner = rank ^ 1 << round;
        for (const uint32_t block : group_of(ranks, partner, round)) {
            to.grant(partner, Writer::output(block), chunked ? block : 0);
        }
    }
}

inline void doubling_rounds(Writer& to, int32_t ranks, int32_t rank, bool chunked) {
    for (int32_t round = 0; 1 << round < ranks; round++) {
        const int32_t partner = rank ^ 1 << round;
        for (const uint32_t block : group_of(ranks, rank, round)) {
            const bool own = block == static_cast<uint32_t>(rank) && !chunked;
            to.put(partner, own ? Writer::input(0) : Writer::output(block), chunked ? block : 0);
        }
        if (round == 0 && !chunked) {
            to.copy(Writer::output(static_cast<uint32_t>(rank)), Writer::input(0));
        }
        for (const uint32_t block : group_of(ranks, partner, round)) {
            to.wait(partner, Writer::output(block), chunked ? block : 0);
        }
    }
}

// Scratch: slot 2i for what is received, 2i + 1 for the sum, i counting receives.
inline void halving_rounds(Writer& to, int32_t ranks, int32_t rank, bool chunked) {
    const auto n = static_cast<uint32_t>(ranks);
    int32_t rounds = 0;
    while (1 << rounds < ranks) {
        rounds++;
    }
    uint32_t slot = 0;
    const auto each = [&](auto use) {
        slot = 0;
        for (int32_t round = rounds - 1; round >= 0; round--) {
            use(round, rank ^ 1 << round);
        }
    };
    each([&](int32_t round, int32_t partner) {
        for (const uint32_t block : group_of(ranks, rank, round)) {
            to.grant(partner, Writer::scratch(2 * slot++), chunked ? block : 0);
        }
    });
    std::vector<plan::Operand> held(n);
    for (uint32_t block = 0; block < n; block++) {
        held[block] = Writer::input(block);
    }
    each([&](int32_t round, int32_t partner) {
        for (const uint32_t block : group_of(ranks, partner, round)) {
            to.put(partner, held[block], chunked ? block : 0);
        }
        for (const uint32_t block : group_of(ranks, rank, round)) {
            const uint32_t chunk = chunked ? block : 0;
            const plan::Operand in = Writer::scratch(2 * slot);
            const plan::Operand sum =
                round == 0 ? Writer::output(chunked ? block : 0) : Writer::scratch(2 * slot + 1);
            to.wait(partner, in, chunk);
            if (round > 0) {
                to.add(plan::StepKind::release, -1, sum, {}, chunk);
            }
            to.add(plan::StepKind::reduce, -1, sum, {in, held[block]}, chunk).finish = round == 0;
            to.add(plan::StepKind::release, -1, in, {}, chunk);
            held[block] = sum;
            slot++;
        }
    });
}

inline plan::Plan halving_doubling(Coll coll, int32_t ranks) {
    const bool chunked = coll == Coll::all_reduce;
    plan::Plan plan = plan_empty(coll, ranks, chunked ? static_cast<uint32_t>(ranks) : 1, 1);
    for (int32_t rank = 0; rank < ranks; rank++) {
        Writer to(plan.ranks[static_cast<size_t>(rank)].lanes[0]);
        if (coll != Coll::all_gather) {
            halving_rounds(to, ranks, rank, chunked);
        }
        if (coll == Coll::all_reduce) {
            for (uint32_t block = 0; block < static_cast<uint32_t>(ranks); block++) {
                to.add(plan::StepKind::release, -1, Writer::input(block), {}, block);
            }
        }
        if (coll != Coll::reduce_scatter) {
            doubling_grants(to, ranks, rank, chunked);
            doubling_rounds(to, ranks, rank, chunked);
        }
    }
    return plan;
}

// From rank 0; a rank is reached from the rank without its lowest bit.
inline plan::Plan binomial(int32_t ranks) {
    plan::Plan plan = plan_empty(Coll::broadcast, ranks, 1, 1);
    for (int32_t rank = 0; rank < ranks; rank++) {
        Writer to(plan.ranks[static_cast<size_t>(rank)].lanes[0]);
        const int32_t lowest = rank & -rank;
        if (rank > 0) {
            to.grant(rank - lowest, Writer::output(0));
            to.wait(rank - lowest, Writer::output(0));
        }
        int32_t bit = 1;
        while (bit < ranks) {
            bit *= 2;
        }
        for (bit = rank == 0 ? bit / 2 : lowest / 2; bit > 0; bit /= 2) {
            if (rank + bit < ranks) {
                to.put(rank + bit, rank == 0 ? Writer::input(0) : Writer::output(0));
            }
        }
        if (rank == 0) {
            to.copy(Writer::output(0), Writer::input(0));
        }
    }
    return plan;
}

// all_reduce: every rank reduces its slice from all, then gives it to all.
inline plan::Plan two_shot(int32_t ranks) {
    plan::Plan plan = plan_empty(Coll::all_reduce, ranks, static_cast<uint32_t>(ranks), 1);
    for (int32_t rank = 0; rank < ranks; rank++) {
        Writer to(plan.ranks[static_cast<size_t>(rank)].lanes[0]);
        const auto own = static_cast<uint32_t>(rank);
        const auto peers = [&](int32_t direction, auto use) {
            for (int32_t i = 1; i < ranks; i++) {
                const int32_t peer = (rank + direction * i + ranks) % ranks;
                use(peer, static_cast<uint32_t>(peer));
            }
        };
        const auto slot = [&](uint32_t peer) {
            return Writer::scratch(peer < own ? peer : peer - 1);
        };
        peers(-1, [&](int32_t peer, uint32_t p) { to.grant(peer, slot(p), own); });
        peers(1, [&](int32_t peer, uint32_t p) { to.put(peer, Writer::input(p), p); });
        peers(-1, [&](int32_t peer, uint32_t p) { to.wait(peer, slot(p), own); });
        decltype(plan::Step::src) sources;
        for (uint32_t p = 0; p < static_cast<uint32_t>(ranks); p++) {
            sources.push_back(p == own ? Writer::input(own) : slot(p));
        }
        // The grants of the second shot wait for the inputs; in the first's last arrivals they
        // are long out, and travel while the slice is reduced.
        peers(1, [&](int32_t, uint32_t p) {
            to.add(plan::StepKind::release, -1, Writer::input(p), {}, p);
        });
        peers(-1, [&](int32_t peer, uint32_t p) { to.grant(peer, Writer::output(p), p); });
        to.add(plan::StepKind::reduce, -1, Writer::output(own), sources, own).finish = true;
        peers(-1,
              [&](int32_t, uint32_t p) { to.add(plan::StepKind::release, -1, slot(p), {}, own); });
        peers(1, [&](int32_t peer, uint32_t) { to.put(peer, Writer::output(own), own); });
        peers(-1, [&](int32_t peer, uint32_t p) { to.wait(peer, Writer::output(p), p); });
    }
    return plan;
}

// all_gather over hosts of k ranks: lane 0 between hosts, lane 1 inside, tied by `after`.
inline plan::RankPlan hierarchical_part(int32_t hosts, int32_t k, bool staged, int32_t rank) {
    plan::RankPlan part{rank, std::vector<plan::Lane>(2)};
    const int32_t host = rank / k, local = rank % k;
    const auto block = [&](int32_t of_host, int32_t of_local) {
        return Writer::output(static_cast<uint32_t>((of_host + hosts) % hosts * k + of_local % k));
    };
    const auto image = [&](int32_t other) { return (other + hosts) % hosts * k + local; };
    Writer out(part.lanes[0]);
    for (int32_t i = 1; i < hosts; i++) {
        out.grant(image(host - i), block(host - i, local));
    }
    for (int32_t i = 1; i < hosts; i++) {
        out.put(image(host + i), Writer::input(0));
    }
    out.copy(block(host, local), Writer::input(0));
    std::vector<uint16_t> arrived(1, 0);
    for (int32_t i = 1; i < hosts; i++) {
        out.wait(image(host - i), block(host - i, local));
        arrived.push_back(out.last());
    }
    Writer in(part.lanes[1]);
    const auto inside = [&](int32_t direction, auto use) {
        for (int32_t i = 0; i < hosts; i++) {
            for (int32_t j = 1; j < k; j++) {
                const int32_t other = (local + direction * j + k) % k;
                use(i, host * k + other, block(host - i, other));
            }
        }
    };
    inside(-1, [&](int32_t, int32_t peer, plan::Operand at) { in.grant(peer, at); });
    inside(1, [&](int32_t i, int32_t peer, plan::Operand) {
        plan::Step& put = in.put(peer, i == 0 ? Writer::input(0) : block(host - i, local));
        if (hosts > 1 && (staged || i > 0)) {
            put.after = {{0, staged ? arrived.back() : arrived[static_cast<size_t>(i)], 0}};
        }
    });
    inside(-1, [&](int32_t, int32_t peer, plan::Operand at) { in.wait(peer, at); });
    return part;
}

inline plan::Plan hierarchical(int32_t hosts, int32_t k, bool staged) {
    plan::Plan plan = plan_empty(Coll::all_gather, hosts * k, 1, 2);
    for (int32_t rank = 0; rank < hosts * k; rank++) {
        plan.ranks[static_cast<size_t>(rank)] = hierarchical_part(hosts, k, staged, rank);
    }
    return plan;
}

}  // namespace weft::tune
