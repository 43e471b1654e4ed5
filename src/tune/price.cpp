#include "src/tune/price.h"

#include <algorithm>

#include "src/tune/price_detail.h"

namespace weft::tune {

Scene scene_of(const Table& table, const plan::Cluster* cluster, int32_t ranks) {
    Scene scene;
    scene.inside = table.inside.level();
    scene.between = table.between.level();
    const double turns = table.turns;
    for (Level* level : {&scene.inside, &scene.between}) {
        level->post_ns *= turns;
        level->completion_ns *= turns;
        level->reduce_ns_per_byte *= turns;
        level->copy_ns_per_byte *= turns;
    }
    scene.ranks = scene.host_ranks = ranks;
    scene.rails = table.rails;
    scene.own_rails = table.own_rails;
    scene.cross = table.own_rails < table.rails ? table.cross / 100.0 : 1;
    if (cluster == nullptr) {
        return scene;
    }
    scene.hosts = cluster->host_count();
    scene.host_ranks = cluster->rails();
    scene.ports = (cluster->rails() + cluster->ranks_min() - 1) / cluster->ranks_min();
    for (int32_t rank = 0; rank < ranks; rank++) {
        const int32_t next = rank + 1 < ranks ? rank + 1 : 0;
        scene.crossings += cluster->host_of(rank) != cluster->host_of(next) ? 1 : 0;
    }
    return scene;
}

// Flat plans put to whoever is next, on whatever rail.
Pricer::Pricer(const Scene& scene, const Draft& draft) : scene_(scene), draft_(draft) {
    if (draft.algo != plan::Algo::hier && scene.host_ranks > 1) {
        scene_.between.ns_per_byte /= scene.cross;
    }
}

double log2_up(double n) {
    double rounds = 0;
    for (double reach = 1; reach < n; reach *= 2) {
        rounds++;
    }
    return rounds;
}

// ---- messages

double Pricer::share(double senders) const {
    return std::max(1 / scene_.own_rails, senders / scene_.rails);
}

double Pricer::flight(const Level& level, double bytes, double senders) const {
    double byte = level.ns_per_byte;
    if (&level == &scene_.between) {
        const double pieces =
            std::min(scene_.own_rails, std::max(1.0, bytes / scene_.stripe_bytes));
        byte *= std::max(1 / pieces, senders / scene_.rails);
    }
    return level.post_ns + level.latency_ns + (bytes + header(level)) * byte;
}

double Pricer::spacing(const Level& level, double bytes, double senders) const {
    const double byte = level.ns_per_byte * (&level == &scene_.between ? share(senders) : 1);
    return std::max({level.post_ns, level.gap_ns, (bytes + header(level)) * byte});
}

double Pricer::control(const Level& level) const {
    return level.post_ns + level.latency_ns + level.control_bytes * level.ns_per_byte +
           level.completion_ns;
}

double Pricer::start(const Level& level, double grants) const {
    return draft_.eager ? 0 : std::max(grants * level.post_ns, control(level));
}

double Pricer::regrant(const Level& level, double first_put) const {
    return draft_.eager ? 0 : first_put + level.latency_ns + control(level);
}

// What a rank's thread does for one put out and one put in.
double Pricer::handling(const Level& level) const {
    return draft_.eager ? level.post_ns + level.completion_ns
                        : 2 * level.post_ns + 3 * level.completion_ns;
}

// ---- phases among `members` equal ranks of one level

// A rank passes on what it gets. Where several share a NIC, their messages leave one after the
// other and stay so: only the first hop waits for all of them, what is left bounds the port.
Work Pricer::ring_phase(const Level& level, double members, double b, double senders,
                        double work) const {
    const double steps = members - 1;
    Work phase;
    phase.step = spacing(level, b, senders);
    phase.first = hop(level, b, senders) + work;
    phase.lead = hop(level, 0, 0);
    phase.path = phase.first + (steps - 1) * (hop(level, b, 1) + work);
    phase.port = steps * phase.step * draft_.full;
    phase.thread = steps * (handling(level) + work) * draft_.full;
    return phase;
}

// Rounds of twice as many positions each, less what is empty.
Work Pricer::halving_phase(const Level& level, double members, double b, double senders,
                           double work) const {
    const double rounds = log2_up(members);
    const double puts = std::max(rounds, (members - 1) * draft_.full);
    Work phase;
    phase.step = spacing(level, b, senders);
    phase.first = hop(level, b, senders) + work;
    phase.lead = hop(level, 0, 0);
    phase.path = phase.first + (rounds - 1) * (hop(level, b, 1) + work) +
                 (puts - rounds) * std::max(phase.step, work);
    phase.port = puts * phase.step;
    phase.thread = puts * (handling(level) + work);
    return phase;
}

// Groups of eight, five of them under way (gen_direct.cpp). Who owns the one position that is not
// empty hears from all, or tells all.
Work Pricer::mesh_phase(const Level& level, double members, double b, double senders,
                        double work) const {
    constexpr double window = 40;
    const double puts = members - 1;
    const double round_trip = draft_.eager ? 0 : control(level) + hop(level, b, senders);
    const double each = std::max({spacing(level, b, senders), work, level.completion_ns,
                                  puts > window ? round_trip / window : 0});
    Work phase;
    phase.first = hop(level, b, senders) + work;
    phase.lead = hop(level, 0, 0);
    phase.path = phase.first + (puts - 1) * each;
    phase.port = puts * spacing(level, b, senders);
    phase.thread = puts * (handling(level) + work) * draft_.full;
    return phase;
}

Work Pricer::phase(plan::Algo algo, const Level& level, double members, double b, double senders,
                   double work) const {
    if (members < 2) {
        return {};
    }
    switch (algo) {
        case plan::Algo::halving:
        case plan::Algo::tree:
            return halving_phase(level, members, b, senders, work);
        case plan::Algo::mesh:
        case plan::Algo::direct:
            return mesh_phase(level, members, b, senders, work);
        case plan::Algo::ring:
        case plan::Algo::chain:
        case plan::Algo::binomial:
        case plan::Algo::hier:
            break;
    }
    return ring_phase(level, members, b, senders, work);
}

// ---- flat plans

// One lap without the last hop, over edges inside the hosts and between them.
Work Pricer::lap(double b, double work) const {
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double steps = scene_.ranks - 1;
    const double far = std::min(scene_.crossings, steps);
    const double senders = std::max(1.0, scene_.crossings / scene_.hosts);
    const Level& slow = far > 0 ? out : in;
    Work lap;
    lap.step = spacing(slow, b, senders);
    lap.first = hop(slow, b, senders) + work;
    lap.lead = hop(slow, 0, 0);
    lap.path = far * lap.first + (steps - far) * (hop(in, b, 1) + work);
    // Every position passes the slowest edge: two are granted at a time.
    const double window = draft_.eager ? 0 : (hop(slow, b, senders) + control(slow) + work) / 2;
    lap.path =
        std::max(lap.path, lap.first + (steps * draft_.full - 1) * std::max(lap.step, window));
    (far > 0 ? lap.rail : lap.port) = steps * lap.step * draft_.full;
    lap.thread = steps * (handling(slow) + work) * draft_.full;
    return lap;
}

Work Pricer::flat_ring() const {
    const double b = draft_.tile_bytes;
    const Level& slow = scene_.crossings > 0 ? scene_.between : scene_.inside;
    Work all;
    if (draft_.coll != Coll::all_gather) {
        all += lap(b, reduce(b));
    }
    if (draft_.coll != Coll::reduce_scatter) {
        all += lap(b, slot_copy(b));
    }
    all.lead += start(slow, 2);
    all.path += start(slow, 2);
    all.period = all.path;
    all.path += tail(slow);
    return all;
}

// Everybody to everybody: the puts to other hosts and those inside leave side by side.
Work Pricer::exchange(double b, double work, bool in_groups) const {
    const double near = scene_.host_ranks - 1, far = scene_.ranks - scene_.host_ranks;
    const Level& in = scene_.inside;
    const Level& out = scene_.between;
    const double k = scene_.host_ranks;
    const Level& slow = far > 0 ? out : in;
    const plan::Algo algo = in_groups ? plan::Algo::mesh : plan::Algo::direct;
    Work all;
    all.port = near * spacing(in, b, 1);
    all.rail = far * spacing(out, b, k);
    all.thread = near * (handling(in) + work) + far * (handling(out) + work);
    const double posts = near * in.post_ns + far * out.post_ns;
    all.first = hop(slow, b, k);
    all.lead = hop(slow, 0, 0);
    all.path =
        all.first + std::max({all.port, all.rail - (far > 0 ? spacing(out, b, k) : 0), posts});
    if (in_groups && far > 0) {
        all.path = std::max(all.path, phase(algo, out, far + 1, b, k, work).path);
    }
    return all;
}

Work Pricer::flat_exchange(bool in_groups) const {
    const double b = draft_.tile_bytes;
    const Level& slow = scene_.hosts > 1 ? scene_.between : scene_.inside;
    const double peers = scene_.ranks - 1;
    const bool reducing = draft_.coll == Coll::all_reduce || draft_.coll == Coll::reduce_scatter;
    const bool halves = in_groups && draft_.coll == Coll::all_reduce;
    Work all = exchange(b, reducing ? reduce(b) : 0, in_groups);
    const double grants = in_groups ? std::min(peers, 16.0) : peers;
    all.lead += start(slow, grants);
    all.path += start(slow, grants);
    if (reducing) {
        all.path += (in_groups ? std::min(peers, 8.0) : peers) * reduce(b);
    } else {
        all.path += slot_copy(b);
    }
    if (halves) {
        all += exchange(b, slot_copy(b), in_groups);
        all.path += start(slow, grants);
    }
    // A thread that posts, hears and grants for everybody may be what takes longest.
    all.path = std::max(all.path, all.thread + slow.latency_ns);
    all.period = all.path;
    all.path += tail(slow);
    return all;
}

// Neighbours are near, so the bits below a host's size stay inside but for its border.
Work Pricer::flat_halving() const {
    const double b = draft_.tile_bytes;
    const double n = scene_.ranks, k = scene_.host_ranks;
    const bool far = scene_.hosts > 1;
    const Level& slow = far ? scene_.between : scene_.inside;
    double crossing = 0;  // puts to other hosts, of all ranks of a host
    for (double bit = 1; bit < n; bit *= 2) {
        crossing += std::max(1.0, n / 2 / bit) * std::min(bit, k);
    }
    const double rounds = log2_up(n);
    const auto half = [&](double work) {
        Work made = halving_phase(slow, n, b, 1, work);
        const double rail = crossing * draft_.full / k * spacing(slow, b, k);
        made.rail = far ? rail : 0;
        made.port = far ? 0 : made.port;
        made.path = rounds * made.first +
                    std::max((far ? rail : made.port) - rounds * made.step,
                             ((n - 1) * draft_.full - rounds) * std::max(work, slow.post_ns));
        return made;
    };
    Work all;
    if (draft_.coll != Coll::all_gather) {
        all += half(reduce(b));
    }
    if (draft_.coll != Coll::reduce_scatter) {
        all += half(slot_copy(b));
    }
    const double grants = start(slow, std::min(n - 1, 8.0));
    all.lead += grants;
    all.path += grants * (draft_.coll == Coll::all_reduce ? 2 : 1);
    all.period = all.path;
    all.path += tail(slow);
    return all;
}

Work Pricer::flat() const {
    switch (draft_.algo) {
        case plan::Algo::direct:
        case plan::Algo::mesh:
            return is_rooted() ? rooted_direct() : flat_exchange(draft_.algo == plan::Algo::mesh);
        case plan::Algo::halving:
            return flat_halving();
        case plan::Algo::tree:
        case plan::Algo::chain:
        case plan::Algo::binomial:
            return flat_tree();
        case plan::Algo::ring:
            return is_rooted() ? flat_tree() : flat_ring();
        case plan::Algo::hier:
            break;
    }
    return {};
}

// The first tile of a strand goes its way; strands start together and share; a lane takes its next
// tile when it is through with one.
double price_ns(const Scene& scene, const Draft& draft) {
    if (scene.ranks < 2) {
        return draft.tile_bytes * draft.tiles * draft.strands * scene.inside.copy_ns_per_byte;
    }
    const Pricer pricer(scene, draft);
    const Work work = draft.algo == plan::Algo::hier ? pricer.hierarchy() : pricer.flat();
    const double shared = std::max({work.port, work.rail, work.thread});
    const double together = (draft.strands - 1) * work.step;
    const double pass = std::max(work.period + together, draft.strands * shared);
    return std::max({work.path + together, work.lead + draft.strands * shared, work.thread}) +
           (draft.tiles - 1) * pass;
}

}  // namespace weft::tune
