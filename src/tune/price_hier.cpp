// Plans by hosts: what src/plan/gen_hier*.cpp writes. b is a tile of a position's chunk; H hosts, k
// ranks each. All ranks of a host use its rails at once.
#include <algorithm>

#include "src/tune/price_detail.h"

namespace weft::tune {

// Ranks of the same host that a rank serves; where few ranks stand for many rails, each port again.
double Pricer::neighbours() const {
    return scene_.host_ranks - 1;
}

// One position from a rank to its neighbours, spacing only.
double Pricer::unit(double b) const {
    return neighbours() * spacing(scene_.inside, b, 1);
}

// From a position's arrival on the rail, or from its grants, until all neighbours have it.
double Pricer::spread(double b) const {
    return neighbours() == 0
               ? 0
               : hop(scene_.inside, b, 1) + (neighbours() - 1) * spacing(scene_.inside, b, 1);
}

Work Pricer::hier_gather(double b) const {
    const Level& out = scene_.between;
    Work all = phase(draft_.inter, out, scene_.hosts, b, scene_.host_ranks, slot_copy(b));
    all.path += start(out, std::min(scene_.hosts - 1, 12.0));
    all.lead += start(out, std::min(scene_.hosts - 1, 12.0));
    all.first += start(out, std::min(scene_.hosts - 1, 12.0));
    all.rail = all.port;
    all.port = scene_.hosts * unit(b);
    all.thread = scene_.ports * all.thread +
                 scene_.hosts * neighbours() * (handling(scene_.inside) + slot_copy(b));
    all.period = all.path;
    // Passed on as they come: bound by the last to come, or by all there is to pass on.
    all.path = std::max({all.path + spread(b), all.first + (scene_.hosts - 1) * unit(b),
                         start(scene_.inside, 1) + scene_.hosts * unit(b),
                         all.path + tail(out) - tail(scene_.inside)}) +
               tail(scene_.inside);
    return all;
}

Work Pricer::hier_scatter_sum(double b) const {
    const Level& out = scene_.between;
    const double sum = neighbours() * reduce(b);
    Work all = phase(draft_.inter, out, scene_.hosts, b, scene_.host_ranks, sum + reduce(b));
    all.rail = all.port;
    all.port = scene_.hosts * unit(b);
    all.thread =
        scene_.ports * all.thread + sum + scene_.hosts * neighbours() * handling(scene_.inside);
    const double inside = start(scene_.inside, 2 * neighbours()) + spread(b) + sum;
    all.path = std::max(inside + all.path, inside + (scene_.hosts - 1) * std::max(unit(b), sum) +
                                               hop(out, b, scene_.host_ranks)) +
               tail(out);
    all.path = std::max(all.path, start(out, 2) + all.first);
    all.lead += std::max(inside, start(out, 2));
    all.period = all.path;
    return all;
}

Work Pricer::hier_all_reduce(double b) const {
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double k = scene_.host_ranks, hosts = scene_.hosts;
    const double sum = neighbours() * reduce(b);
    const double summed = start(in, 2 * neighbours()) + spread(b) + sum;
    Work all;
    double positions = hosts;
    if (draft_.inter == plan::Algo::tree) {
        positions = 1;
        all = tree_stage(plan::Algo::tree, out, hosts, b, k, {true, true});
        // A leaf grants the way down when its own put has left.
        all.path = std::max(all.path + std::max(summed, start(out, 2)),
                            regrant(out, start(out, 2) + hop(out, b, k)) + hop(out, b, k));
    } else {
        const Work down = phase(draft_.inter, out, hosts, b, k, reduce(b));
        const Work up = phase(draft_.inter, out, hosts, b, k, slot_copy(b));
        all = down;
        all += up;
        const double in_turn = std::max(unit(b), sum) * std::max(1.0, hosts * draft_.full);
        const double begun = std::max(summed, start(out, 2));
        const double halfway =
            std::max(begun + down.path, summed + in_turn - std::max(unit(b), sum) + down.first);
        // Grants of the second half: a hop before the end of a ring, else behind the first half.
        const double granted =
            draft_.inter == plan::Algo::ring
                ? regrant(out, std::max(halfway - down.first - out.latency_ns, begun + down.first))
                : regrant(out, draft_.inter == plan::Algo::mesh
                                   ? halfway
                                   : std::max(halfway - out.latency_ns, begun + down.first));
        all.path = std::max(halfway, granted) + up.path;
        all.period = all.path;
    }
    all.lead += std::max(summed, start(out, 2));
    all.rail = all.port;
    all.port = 2 * positions * unit(b);
    all.thread =
        scene_.ports * all.thread + std::max(1.0, positions * draft_.full) *
                                        (sum + neighbours() * (2 * handling(in) + slot_copy(b)));
    all.path += std::max(spread(b) + (neighbours() > 0 ? tail(in) : 0), tail(out));
    return all;
}

// broadcast: dealt, over the rails, spread. reduce: exchanged, over the rails, collected; in one
// lane.
Work Pricer::hier_rooted(double b) const {
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const bool up = draft_.coll == Coll::reduce;
    const double sum = up ? neighbours() * reduce(b) : 0;
    Work all = tree_stage(draft_.inter, out, scene_.hosts, b, scene_.host_ranks, {up, !up});
    all.rail = all.port;
    all.port = 2 * unit(b);
    all.thread = scene_.ports * all.thread + sum + 2 * neighbours() * (handling(in) + slot_copy(b));
    const double before = neighbours() == 0 ? 0 : start(in, neighbours()) + spread(b) + sum;
    all.lead += std::max(before, start(out, 1)) + spread(b);
    all.path = std::max(before, start(out, 1)) + all.path + spread(b) +
               (neighbours() > 0 ? tail(in) : tail(out));
    all.period =
        up ? std::max(all.period, before + hop(out, b, scene_.host_ranks) + reduce(b) + spread(b))
           : std::max(all.period, start(in, 1) + spread(b));
    return all;
}

// Every other host in turn: exchanged inside a host ahead, then k puts along the rail; two hosts
// are granted at a time.
Work Pricer::hier_all_to_all(double b) const {
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double k = scene_.host_ranks, units = scene_.hosts - 1;
    const double rail = k * spacing(out, b, k);
    Work all;
    all.rail = units * rail;
    all.port = scene_.hosts * unit(b);
    all.thread = scene_.ports * units * k * (handling(out) + slot_copy(b)) +
                 scene_.hosts * neighbours() * (handling(in) + slot_copy(b));
    const double own = neighbours() == 0 ? 0 : start(in, neighbours()) + spread(b);
    const double flight_ns = flight(out, b, k) + out.completion_ns;
    const double window =
        ((draft_.eager ? 0 : control(out)) + flight_ns + (k - 1) * spacing(out, b, k)) / 2;
    all.path = own + spread(b) + flight_ns + (k - 1) * spacing(out, b, k) +
               (units - 1) * std::max({rail, unit(b), window}) + slot_copy(b) * k;
    all.path = std::max(all.path, all.thread);
    all.lead = start(out, 1) + hop(out, 0, 0);
    all.period = all.path;
    all.path += tail(out);
    return all;
}

// gather, scatter: everything passes the root's port inside its host, a share of it each rail.
Work Pricer::hier_blocks(double b) const {
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double k = scene_.host_ranks, blocks = scene_.hosts - 1;
    Work all;
    all.rail = blocks * spacing(out, b, k);
    all.port = (blocks + 1) * unit(b);
    all.thread =
        (scene_.ranks - 1) * (draft_.eager ? 1 : 2) * std::max(in.post_ns, in.completion_ns) +
        scene_.ports * blocks * handling(out) + (scene_.ranks - 1) * slot_copy(b);
    const double relay = neighbours() == 0 ? 0 : hop(in, b, 1);
    const double window =
        draft_.eager || neighbours() == 0 ? 0 : (control(out) + hop(out, b, k)) / 2;
    all.path = std::max(start(out, 1) + hop(out, b, k) + relay +
                            (blocks - 1) * std::max(spacing(out, b, k), window),
                        start(in, 1) + relay + all.port);
    all.path = std::max(all.path, all.thread);
    all.lead = start(out, 1) + hop(out, 0, 0);
    all.period = all.path;
    all.path += tail(out);
    return all;
}

Work Pricer::hierarchy() const {
    const double b = draft_.tile_bytes;
    switch (draft_.coll) {
        case Coll::all_gather:
            return hier_gather(b);
        case Coll::reduce_scatter:
            return hier_scatter_sum(b);
        case Coll::all_reduce:
            return hier_all_reduce(b);
        case Coll::broadcast:
        case Coll::reduce:
            return hier_rooted(b);
        case Coll::all_to_all:
            return hier_all_to_all(b);
        case Coll::gather:
        case Coll::scatter:
            return hier_blocks(b);
        case Coll::send_recv:
            break;
    }
    return {};
}

}  // namespace weft::tune
