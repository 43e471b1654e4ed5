// Hierarchical plans: a stage inside the hosts and one between them, each rail a ring, mesh, tree
// or halving of its own (cluster.h says what a rail is). Between hosts only the ranks of one rail
// talk to each other, and every byte crosses once.
//
// all_gather     lane A: all_gather over each rail. Lane C: block after block, as A gets them, to
//                the other ranks of the host; every block at its final offset, no copy.
// reduce_scatter one lane: the ranks of a host exchange their inputs for one position of the rail a
//                position ahead of the stage between hosts, which adds them all in the step that
//                adds the partial sum.
// all_reduce     the block is cut into a slice a rail. Lane B: exchange and sum the slices inside
//                the host, into the output. Lane A: all_reduce over each rail, from output to
//                output. Lane C as above. By tree, A is two lanes: up and down.
// broadcast      a slice a rail. Lane S: the root deals the slices to the ranks of its host. Lane
//                A: broadcast over each rail. Lane C as above.
// reduce         one lane: as reduce_scatter, a slice a rail, towards the root's host; there the
//                ranks put their finished slices to the root.
//
// Lanes of one strand hand tiles on by `after`; strands are independent. So both levels are busy at
// once: with the next tile (A, B, C), the next position (the exchange), or another strand.
//
// Bytes each rank of N full hosts sends over its rail, S being all data (the larger buffer), r
// rails: all_gather and reduce_scatter (N-1)/N * S/r, all_reduce by ring, mesh or halving twice
// that, which is the bound; by tree at most 2 S/r.
// Reference: Zhang et al., "MiCS: near-linear scaling for training gigantic model on public cloud",
// PVLDB 16(1), 2022 (the hierarchy, with stages one after the other and a copy between them).
#include "src/plan/hier.h"

namespace weft::plan {

std::vector<int32_t> Strand::scatter_order() const {
    const int32_t size = hosts();
    std::vector<int32_t> order;
    if (one_position()) {
        return {0};
    }
    if (algo() == Algo::halving) {
        for (const int32_t x : halving_order(size)) {
            order.push_back(host_at(-x));
        }
        return order;
    }
    const bool ring = algo() == Algo::ring;
    for (int32_t i = 0; i < size; i++) {
        order.push_back(host_at(ring ? -1 - i : i));
    }
    return order;
}

std::vector<int32_t> Strand::gather_order() const {
    std::vector<int32_t> order = scatter_order();
    if (one_position() || algo() == Algo::halving) {
        std::reverse(order.begin(), order.end());
        return order;
    }
    for (int32_t i = 0; i < hosts(); i++) {
        order[static_cast<size_t>(i)] = host_at(-i);
    }
    return order;
}

Stage Strand::stage(Coll coll) const {
    Stage made;
    made.coll = coll;
    made.cluster = &home.cluster;
    made.size = hosts();
    made.self = home.host;
    made.root = root_host();
    made.local = home.local;
    made.ports = home.ports;
    made.by_rank = coll == Coll::all_gather || coll == Coll::reduce_scatter;
    made.strand = strand;
    return made;
}

namespace {

// The stage between the hosts, in one lane.
void between(const Strand& strand, Part& part) {
    switch (part.stage().coll) {
        case Coll::broadcast:
            tree_down(part, strand.tree(part.stage()));
            return;
        case Coll::reduce:
            tree_up(part, strand.tree(part.stage()));
            return;
        case Coll::all_reduce:
        case Coll::reduce_scatter:
        case Coll::all_gather:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    if (strand.algo() == Algo::halving) {
        gen_halving(part);
    } else if (strand.algo() == Algo::mesh) {
        gen_mesh(part);
    } else {
        gen_ring(part);
    }
}

// Lane C: what a rank has from its rails goes to the other ranks of its host, and theirs come.
// Units and their order are those of the rails: position after position, port after port.
class Spread {
  public:
    struct Config {
        std::vector<int32_t> order;
        Places output;
        bool by_rank = false;
        int32_t own_pos = -1;  // whose chunk lies at `own` instead
        Places own;
        int32_t full = -1;             // this local rank has everything
        const Marks* ready = nullptr;  // by port: it is there
        const Marks* freed = nullptr;  // by rail: its place may be overwritten
    };
    Spread(Writer& to, const Home& home, Config config)
        : to_(to), home_(home), config_(std::move(config)) {}

    void run();

  private:
    // A grant and its put take two latencies inside the host, in which small blocks of many
    // positions could have gone.
    static constexpr int32_t grants_ahead = 16;

    int32_t units() const { return static_cast<int32_t>(config_.order.size()) * home_.ports; }
    int32_t pos(int32_t unit) const {
        return config_.order[static_cast<size_t>(unit / home_.ports)];
    }
    int32_t rail(int32_t unit, int32_t local) const {
        return unit % home_.ports * home_.ranks + local;
    }
    int32_t key(int32_t unit, int32_t local) const;
    Operand place(int32_t unit, int32_t local) const {
        return config_.output.at(key(unit, local), rail(unit, local));
    }
    uint32_t chunk(int32_t unit, int32_t local) const {
        return place(unit, local).chunk % to_.chunks();
    }
    void grant(int32_t unit);
    void put(int32_t unit);
    void wait(int32_t unit);

    Writer& to_;
    const Home& home_;
    Config config_;
};

int32_t Spread::key(int32_t unit, int32_t local) const {
    if (rail(unit, local) >= home_.cluster.rails()) {
        return -1;
    }
    return config_.by_rank ? home_.cluster.rank_at(pos(unit), rail(unit, local)) : pos(unit);
}

void Spread::grant(int32_t unit) {
    for (int32_t i = 1; i < home_.ranks && unit < units() && home_.local != config_.full; i++) {
        const int32_t from = home_.at(-i);
        if (key(unit, from) >= 0) {
            if (config_.freed != nullptr) {
                config_.freed->hold(to_, rail(unit, from), pos(unit), chunk(unit, from));
            }
            to_.grant(home_.rank(from), place(unit, from), chunk(unit, from));
        }
    }
}

void Spread::put(int32_t unit) {
    if (key(unit, home_.local) < 0) {
        return;
    }
    Operand source = place(unit, home_.local);
    if (pos(unit) == config_.own_pos) {
        source = config_.own.at(pos(unit), rail(unit, home_.local));
    }
    if (config_.ready != nullptr) {
        config_.ready->hold(to_, unit % home_.ports, pos(unit), chunk(unit, home_.local));
    }
    for (int32_t i = 1; i < home_.ranks; i++) {
        if (home_.at(i) != config_.full) {
            to_.put(home_.rank(home_.at(i)), source, chunk(unit, home_.local));
        }
    }
}

void Spread::wait(int32_t unit) {
    for (int32_t i = 1; i < home_.ranks && unit >= 0 && home_.local != config_.full; i++) {
        const int32_t from = home_.at(-i);
        if (key(unit, from) >= 0) {
            to_.wait(home_.rank(from), place(unit, from), chunk(unit, from));
        }
    }
}

void Spread::run() {
    if (home_.ranks == 1) {
        return;
    }
    for (int32_t unit = 0; unit < grants_ahead; unit++) {
        grant(unit);
    }
    for (int32_t unit = 0; unit < units(); unit++) {
        put(unit);
        wait(unit - spread_waits_behind);
        grant(unit + grants_ahead);
    }
    for (int32_t unit = units() - spread_waits_behind; unit < units(); unit++) {
        wait(unit);
    }
}

void hier_all_gather(Strand& strand) {
    Marks arrived(strand.hosts(), strand.home.ports);
    Stage stage = strand.stage(Coll::all_gather);
    stage.input = {Space::input, strand.strand, 0, 0};
    stage.output = strand.blocks(Space::output);
    stage.written = &arrived;
    Writer rails = strand.lane(6);
    Part part(rails, stage);
    between(strand, part);
    strand.done(rails);

    Spread::Config config;
    config.order = strand.gather_order();
    config.output = stage.output;
    config.by_rank = true;
    config.own_pos = strand.home.host;
    config.own = stage.input;
    config.ready = &arrived;
    Writer inside = strand.lane(6);
    Spread(inside, strand.home, std::move(config)).run();
    strand.done(inside);
}

void hier_reduce_scatter(Strand& strand) {
    Exchange::Config config;
    config.order = strand.scatter_order();
    config.input = strand.blocks(Space::input);
    config.by_rank = true;
    Stage stage = strand.stage(Coll::reduce_scatter);
    stage.input = config.input;
    stage.output = {Space::output, strand.strand, 0, 0};
    Writer lane = strand.lane(6);
    Exchange exchange(lane, strand.home, std::move(config));
    stage.slot_base = exchange.slots();
    stage.exchange = strand.home.ranks > 1 ? &exchange : nullptr;
    Part part(lane, stage);
    exchange.start();
    between(strand, part);
    strand.done(lane);
}

// Lane B of all_reduce: the host's sums, in the output of the rank that stands for the rail.
void sum_inside(Strand& strand, Marks& summed, Marks& freed) {
    const std::vector<int32_t> order = strand.scatter_order();
    Exchange::Config config;
    config.order = order;
    config.input = strand.slices(Space::input);
    config.release_puts = true;
    config.released = &freed;
    Stage stage = strand.stage(Coll::all_reduce);
    stage.input = config.input;
    stage.output = strand.slices(Space::output);
    stage.written = &summed;
    Writer lane = strand.lane(6);
    Exchange exchange(lane, strand.home, std::move(config));
    stage.exchange = &exchange;
    Part part(lane, stage);
    exchange.start();
    for (const int32_t pos : order) {
        part.each([&] {
            part.fetch(pos);
            part.reduce(Part::output(pos), {Part::own(pos)}, pos, false);
            part.used();
        });
    }
    exchange.end();
    strand.done(lane);
}

void hier_all_reduce(Strand& strand) {
    Marks freed(strand.hosts(), strand.home.cluster.rails());
    Marks summed(strand.hosts(), strand.home.ports), finished = summed;
    sum_inside(strand, summed, freed);

    Stage stage = strand.stage(Coll::all_reduce);
    stage.input = stage.output = strand.slices(Space::output);
    stage.ready = &summed;
    stage.written = &finished;
    Writer rails = strand.lane(6);
    Part part(rails, stage);
    if (strand.algo() == Algo::tree) {
        Writer down = rails.next();
        tree_both(rails, down, stage, strand.tree(stage));
        strand.done(rails);
        strand.done(down);
    } else {
        between(strand, part);
        strand.done(rails);
    }

    Spread::Config config;
    config.order = strand.gather_order();
    config.output = stage.output;
    config.ready = &finished;
    config.freed = &freed;
    Writer inside = strand.lane(6);
    Spread(inside, strand.home, std::move(config)).run();
    strand.done(inside);
}

// Lane S of broadcast, on the root's host.
void deal(Strand& strand, Marks& dealt) {
    const Home& home = strand.home;
    const Places input = strand.slices(Space::input), output = strand.slices(Space::output);
    Writer lane = strand.lane(6);
    const bool is_root = strand.is_root();
    for (int32_t port = 0; port < home.ports && home.host == strand.root_host(); port++) {
        for (int32_t i = is_root ? 1 : 0; i < (is_root ? home.ranks : 1); i++) {
            const int32_t rail = port * home.ranks + home.at(i);
            if (rail >= home.cluster.rails()) {
                continue;
            }
            const Operand place = output.at(0, rail);
            const uint32_t chunk = place.chunk % lane.chunks();
            if (is_root) {
                lane.put(home.rank(home.at(i)), input.at(0, rail), chunk);
                lane.copy(place, input.at(0, rail), chunk);
            } else {
                lane.grant(strand.shape.root, place, chunk);
                lane.wait(strand.shape.root, place, chunk);
                dealt.set(port, 0, lane.mark());
            }
        }
    }
    strand.done(lane);
}

void hier_broadcast(Strand& strand) {
    Marks dealt(1, strand.home.ports), arrived = dealt;
    deal(strand, dealt);

    Stage stage = strand.stage(Coll::broadcast);
    const bool at_root = strand.home.host == strand.root_host();
    stage.input = strand.slices(strand.is_root() ? Space::input : Space::output);
    stage.output = strand.slices(Space::output);
    stage.ready = &dealt;
    stage.written = &arrived;
    Writer rails = strand.lane(6);
    Part part(rails, stage);
    between(strand, part);
    strand.done(rails);

    Spread::Config config;
    config.order = {0};
    config.output = stage.output;
    config.own_pos = strand.is_root() ? 0 : -1;
    config.own = stage.input;
    config.full = at_root ? strand.home.cluster.local_of(strand.shape.root) : -1;
    config.ready = at_root ? &dealt : &arrived;
    Writer inside = strand.lane(6);
    Spread(inside, strand.home, std::move(config)).run();
    strand.done(inside);
}

// The finished slices of the root's host come together at the root.
void collect(Strand& strand, Writer& lane, const Stage& stage) {
    const Home& home = strand.home;
    if (home.host != strand.root_host()) {
        return;
    }
    for (const bool waiting : {false, true}) {
        for (int32_t port = 0; port < home.ports; port++) {
            for (int32_t i = strand.is_root() ? 1 : 0; i < (strand.is_root() ? home.ranks : 1);
                 i++) {
                const int32_t rail = port * home.ranks + home.at(-i);
                const Operand place = stage.output.at(0, rail);
                const uint32_t chunk = stage.input.at(0, rail).chunk % lane.chunks();
                if (rail >= home.cluster.rails()) {
                    continue;
                }
                if (!strand.is_root() && !waiting) {
                    const auto slot = stage.output.base + static_cast<uint32_t>(port);
                    lane.put(strand.shape.root, {Space::scratch, slot, -1}, chunk);
                } else if (strand.is_root() && !waiting) {
                    lane.grant(home.rank(home.at(-i)), place, chunk);
                } else if (strand.is_root()) {
                    lane.wait(home.rank(home.at(-i)), place, chunk);
                }
            }
        }
    }
}

void hier_reduce(Strand& strand) {
    Exchange::Config config;
    config.order = {0};
    config.input = strand.slices(Space::input);
    config.release_puts = strand.is_root();  // in place, its output takes their room
    Stage stage = strand.stage(Coll::reduce);
    stage.input = config.input;
    Writer lane = strand.lane(6);
    Exchange exchange(lane, strand.home, std::move(config));
    stage.slot_base = exchange.slots();
    if (strand.is_root()) {
        stage.output = strand.slices(Space::output);
    } else if (strand.home.host == strand.root_host()) {
        stage.output = {Space::scratch, stage.slot_base, 0, 0};
        stage.slot_base += static_cast<uint32_t>(strand.home.ports);
    }
    stage.exchange = strand.home.ranks > 1 ? &exchange : nullptr;
    Part part(lane, stage);
    exchange.start();
    between(strand, part);
    exchange.end();
    collect(strand, lane, stage);
    strand.done(lane);
}

}  // namespace

void gen_hier(const Shape& shape, uint32_t strands, uint32_t number, RankPlan& plan) {
    Strand strand(shape, strands, number, plan);
    switch (shape.coll) {
        case Coll::all_reduce:
            hier_all_reduce(strand);
            break;
        case Coll::reduce_scatter:
            hier_reduce_scatter(strand);
            break;
        case Coll::all_gather:
            hier_all_gather(strand);
            break;
        case Coll::broadcast:
            hier_broadcast(strand);
            break;
        case Coll::reduce:
            hier_reduce(strand);
            break;
        case Coll::all_to_all:
            hier_all_to_all(strand);
            break;
        case Coll::gather:
            hier_gather(strand);
            break;
        case Coll::scatter:
            hier_scatter(strand);
            break;
        case Coll::send_recv:
            break;  // generate() refuses it
    }
}

}  // namespace weft::plan
