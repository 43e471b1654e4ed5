// Rooted plans: trees of any level, and everything to or from one rank at once.
#include <algorithm>

#include "src/tune/price_detail.h"

namespace weft::tune {

Work Pricer::tree_stage(plan::Algo algo, const Level& level, double members, double b,
                        double senders, Ways ways) const {
    const double step = hop(level, b, 1);
    const double queue = spacing(level, b, senders) - spacing(level, b, 1);  // behind neighbours
    const double each = spacing(level, b, senders);
    const double sum = ways.up ? reduce(b) : 0;
    const double both = (ways.up ? 1 : 0) + (ways.down ? 1 : 0);
    const double rounds = log2_up(members);
    Work stage;
    // A tile is granted when the lane comes to it, and the parent must have it first.
    const double turn = (draft_.eager ? 0 : control(level)) + step;
    if (algo == plan::Algo::tree) {
        const double above = is_rooted() ? 1 : 0;
        const double nodes = members - above;
        // Of a level that is full, a parent hears its second child, or serves it, right after the
        // first. The lowest levels of a flat tree have several ranks of a host at them.
        double depth = above, alone = above * step, paired = alone, level_nodes = 2;
        for (; level_nodes <= nodes; level_nodes *= 2) {
            const double busy =
                std::max(1.0, std::min(level_nodes / scene_.hosts, scene_.host_ranks));
            const double edge = hop(level, b, busy);
            alone += edge;
            paired += 2 * level_nodes - 1 <= nodes ? edge + spacing(level, b, busy) : 0;
            depth++;
        }
        stage.path = both * (std::max(alone, paired) + queue) + depth * 2 * sum;
        stage.period = turn + each + 2 * sum;
        // An inner node of one tree is a leaf of the other, which half the strands run.
        const double children = nodes >= 5 ? 2 : nodes >= 3 ? 1.5 : 1;
        const double inner =
            ways.up && ways.down ? std::max(1.0, children + (nodes >= 5 ? 1 : 0.5)) : children;
        const double leaf = ways.up && ways.down ? 1 : 0;
        const double shares = nodes < 3 ? both : draft_.strands >= 2 ? (inner + leaf) / 2 : inner;
        stage.port = shares * each;
        stage.thread = 1.5 * both * handling(level) + 2 * sum;
        stage.step = each;
    } else if (algo == plan::Algo::ring || algo == plan::Algo::chain) {
        const double far = members - 1;
        stage.path = far * (step + sum) + queue;
        stage.step = each;
        stage.period = members > 2 ? turn + sum + level.post_ns : turn + sum;
        stage.port = each;
        stage.thread = handling(level) + sum;
    } else {
        stage.path = rounds * (step + sum) + queue;
        stage.step = each;
        stage.period = std::max(turn + sum, rounds * each);
        stage.port = rounds * each;
        stage.thread = rounds * (handling(level) + sum);
    }
    stage.first = step;
    stage.lead = hop(level, 0, 0);
    return stage;
}

Work Pricer::flat_tree() const {
    const double b = draft_.tile_bytes;
    const bool up = draft_.coll != Coll::broadcast, down = draft_.coll != Coll::reduce;
    const bool far = scene_.hosts > 1;
    const bool chain = draft_.algo == plan::Algo::ring || draft_.algo == plan::Algo::chain;
    const Level& slow = far ? scene_.between : scene_.inside;
    // A chain leaves a host once; of a tree every rank may.
    const double leave = chain ? std::max(1.0, scene_.crossings / scene_.hosts) : scene_.host_ranks;
    const bool one = draft_.algo == plan::Algo::tree;
    Work all = tree_stage(draft_.algo, slow, scene_.ranks, b, one ? 1 : leave, {up, down});
    all.port *= one ? spacing(slow, b, leave) / spacing(slow, b, 1) : 1;
    if (draft_.algo == plan::Algo::binomial && scene_.crossings <= scene_.hosts) {
        // Bits below a host's size stay inside.
        const double in_rounds = log2_up(scene_.host_ranks), out_rounds = log2_up(scene_.hosts);
        const double work = up ? reduce(b) : slot_copy(b);
        all = tree_stage(draft_.algo, slow, far ? scene_.hosts : scene_.ranks, b, 1, {up, down});
        all.path += far ? in_rounds * (hop(scene_.inside, b, 1) + work) : 0;
        all.thread = (far ? in_rounds : 0) * (handling(scene_.inside) + work) +
                     out_rounds * (handling(slow) + work);
    }
    if (chain && far) {
        const double steps = scene_.ranks - 1;
        const double crossing = std::min(scene_.crossings, steps);
        const double work = up ? reduce(b) : slot_copy(b);
        all.path = crossing * hop(slow, b, leave) + (steps - crossing) * hop(scene_.inside, b, 1) +
                   steps * work;
    }
    if (far) {
        all.rail = all.port;
        all.port = 0;
    }
    all.lead += start(slow, 1);
    all.path += start(slow, 1) + tail(slow);
    return all;
}

// The root's thread and ports carry everything.
Work Pricer::rooted_direct() const {
    const double b = draft_.tile_bytes;
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double near = scene_.host_ranks - 1, far = scene_.ranks - scene_.host_ranks;
    const Level& slow = far > 0 ? out : in;
    const double work = draft_.coll == Coll::reduce ? reduce(b) : slot_copy(b);
    Work all;
    all.port = near * spacing(in, b, 1);
    all.rail = far * spacing(out, b, 1);
    const double hears = draft_.eager ? 1 : 2;
    all.thread = near * hears * std::max(in.post_ns, in.completion_ns) +
                 far * hears * std::max(out.post_ns, out.completion_ns) + (near + far) * work;
    all.lead = start(slow, 1) + hop(slow, 0, 0);
    all.path = start(slow, 1) + hop(slow, b, 1) +
               std::max({all.port, all.rail - (far > 0 ? spacing(out, b, 1) : 0), 0.0}) +
               (near + far) * work;
    all.path = std::max(all.path, all.thread + slow.latency_ns);
    // A root that only gives goes on as soon as it has posted and is granted more.
    const bool gives = draft_.coll == Coll::broadcast || draft_.coll == Coll::scatter;
    all.period =
        gives ? std::max({start(slow, 1) + hop(slow, b, 1), all.port, all.rail}) : all.path;
    all.path += tail(slow);
    return all;
}

}  // namespace weft::tune
