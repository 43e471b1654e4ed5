// Hierarchical gather, scatter and all_to_all: blocks never cross rails. What rank l of a host has
// for rank l' of another goes to rank l' of its own host first, and from there along rail l'. Every
// byte crosses between hosts once, over all rails alike; one more hop and one scratch slot inside a
// host is the price.
//
// gather: every rank puts its block along its rail to the root's host, where it is handed on to its
// final place at the root. scatter: the reverse. all_to_all: for each other host in turn, the ranks
// of a host exchange what is for it (exchange.h, a host ahead), then each puts along its rail what
// it got and what it has.
#include "src/plan/hier.h"

namespace weft::plan {

namespace {

constexpr int32_t units_ahead = 2;
constexpr size_t relay_slots = 4;
constexpr size_t relay_ahead = 2;

struct Hand {
    int32_t from, to;
};

// One tile after the other comes from a rank and goes on to another. A slot is released when its
// turn comes again, two puts later at the earliest.
void relay(Writer& lane, const std::vector<Hand>& hands, uint32_t chunk) {
    const auto slot = [](size_t turn) {
        return Operand{Space::scratch, static_cast<uint32_t>(turn % relay_slots), -1};
    };
    const auto grant = [&](size_t turn) {
        if (turn < hands.size()) {
            if (turn >= relay_slots) {
                lane.release(slot(turn), chunk);
            }
            lane.grant(hands[turn].from, slot(turn), chunk);
        }
    };
    for (size_t turn = 0; turn < relay_ahead; turn++) {
        grant(turn);
    }
    for (size_t turn = 0; turn < hands.size(); turn++) {
        lane.wait(hands[turn].from, slot(turn), chunk);
        grant(turn + relay_ahead);
        lane.put(hands[turn].to, slot(turn), chunk);
    }
    for (size_t turn = hands.size() - std::min(hands.size(), relay_slots); turn < hands.size();
         turn++) {
        lane.release(slot(turn), chunk);
    }
}

// The blocks of another host that pass through this rank of the root's host.
std::vector<int32_t> blocks_through(const Home& home, int32_t host, int32_t local) {
    std::vector<int32_t> ranks;
    for (int32_t l = local; l < home.cluster.ranks_on(host); l += home.ranks) {
        ranks.push_back(home.cluster.rank_at(host, l));
    }
    return ranks;
}

// At the root: one block, and the rank next to it on its way.
struct Leg {
    int32_t block, next;
};

// The blocks of one unit: of the host `unit` places on, or before; unit 0 is the root's own host.
std::vector<Leg> legs_of(const Strand& strand, int32_t host) {
    const Home& home = strand.home;
    std::vector<Leg> legs;
    for (int32_t i = host == home.host ? 1 : 0; i < home.ranks; i++) {
        const int32_t local = home.at(i);
        if (host == home.host) {
            legs.push_back({home.rank(local), home.rank(local)});
            continue;
        }
        for (const int32_t block : blocks_through(home, host, local)) {
            legs.push_back({block, local == home.local ? block : home.rank(local)});
        }
    }
    return legs;
}

void gather_at_root(Strand& strand, Writer& lane) {
    const Places output = strand.blocks(Space::output);
    const auto unit = [&](int32_t number, bool waiting) {
        if (number < 0 || number >= strand.hosts()) {
            return;
        }
        for (const Leg& leg : legs_of(strand, strand.host_at(-number))) {
            if (waiting) {
                lane.wait(leg.next, output.at(leg.block, 0), strand.strand);
            } else {
                lane.grant(leg.next, output.at(leg.block, 0), strand.strand);
            }
        }
    };
    for (int32_t i = 0; i < units_ahead; i++) {
        unit(i, false);
    }
    lane.copy(output.at(strand.shape.root, 0), {Space::input, strand.strand, -1}, strand.strand);
    for (int32_t i = 0; i < strand.hosts(); i++) {
        unit(i, true);
        unit(i + units_ahead, false);
    }
}

void scatter_at_root(Strand& strand, Writer& lane) {
    const Places input = strand.blocks(Space::input);
    for (int32_t i = 1; i <= strand.hosts(); i++) {
        for (const Leg& leg : legs_of(strand, strand.host_at(i))) {
            lane.put(leg.next, input.at(leg.block, 0), strand.strand);
        }
    }
    lane.copy({Space::output, strand.strand, -1}, input.at(strand.shape.root, 0), strand.strand);
}

// One rank's part in all_to_all between hosts: unit i speaks to the host i places on, and hears
// from the one i places before.
class Turns {
  public:
    Turns(Strand& strand, Writer& lane, Exchange& exchange)
        : strand_(strand), home_(strand.home), lane_(lane), exchange_(exchange) {}

    void run();

  private:
    void send(int32_t host);
    // The blocks that come from a host, in the order of its sender.
    template <class Each>
    void each_from(int32_t host, Each each) const;
    void grant(int32_t unit);
    void wait(int32_t unit);

    Strand& strand_;
    const Home& home_;
    Writer& lane_;
    Exchange& exchange_;
    bool fetched_ = false;
};

void Turns::send(int32_t host) {
    for (int32_t port = 0; port < home_.ports; port++) {
        exchange_.fetch();
        const int32_t to = home_.cluster.rank_at(host, port * home_.ranks + home_.local);
        for (int32_t i = 0; i < home_.ranks && to >= 0; i++) {
            const Operand source =
                i == 0 ? strand_.blocks(Space::input).at(to, 0) : exchange_.slot(home_.at(-i));
            lane_.put(to, source, strand_.strand);
        }
        if (fetched_) {
            exchange_.used();  // of the unit before: its puts have had the time of this one
        }
        fetched_ = true;
    }
}

template <class Each>
void Turns::each_from(int32_t host, Each each) const {
    const int32_t ranks = home_.cluster.ranks_on(host);
    const int32_t sender = home_.local % ranks;
    for (int32_t i = 0; i < ranks; i++) {
        each(home_.cluster.rank_at(host, sender),
             strand_.blocks(Space::output)
                 .at(home_.cluster.rank_at(host, (sender - i + ranks) % ranks), 0));
    }
}

void Turns::grant(int32_t unit) {
    if (unit < strand_.hosts()) {
        each_from(strand_.host_at(-unit), [&](int32_t from, const Operand& place) {
            lane_.grant(from, place, strand_.strand);
        });
    }
}

void Turns::wait(int32_t unit) {
    if (unit > 0) {
        each_from(strand_.host_at(-unit), [&](int32_t from, const Operand& place) {
            lane_.wait(from, place, strand_.strand);
        });
    }
}

void Turns::run() {
    exchange_.start();
    for (int32_t unit = 1; unit <= units_ahead; unit++) {
        grant(unit);
    }
    for (int32_t unit = 1; unit < strand_.hosts(); unit++) {
        send(strand_.host_at(unit));
        wait(unit - 1);
        grant(unit + units_ahead);
    }
    wait(strand_.hosts() - 1);
    exchange_.used();
}

}  // namespace

void hier_gather(Strand& strand) {
    const Home& home = strand.home;
    Writer lane = strand.lane(6);
    if (strand.is_root()) {
        gather_at_root(strand, lane);
    } else {
        const bool at_root = home.host == strand.root_host();
        lane.put(
            at_root ? strand.shape.root : home.cluster.rail_rank(strand.root_host(), home.local),
            {Space::input, strand.strand, -1}, strand.strand);
        std::vector<Hand> hands;
        for (int32_t i = 1; i < strand.hosts() && at_root; i++) {
            for (const int32_t block : blocks_through(home, strand.host_at(-i), home.local)) {
                hands.push_back({block, strand.shape.root});
            }
        }
        relay(lane, hands, strand.strand);
    }
    strand.done(lane);
}

void hier_scatter(Strand& strand) {
    const Home& home = strand.home;
    Writer lane = strand.lane(6);
    if (strand.is_root()) {
        scatter_at_root(strand, lane);
    } else {
        const bool at_root = home.host == strand.root_host();
        std::vector<Hand> hands;
        for (int32_t i = 1; i < strand.hosts() && at_root; i++) {
            for (const int32_t block : blocks_through(home, strand.host_at(i), home.local)) {
                hands.push_back({strand.shape.root, block});
            }
        }
        relay(lane, hands, strand.strand);
        const int32_t from =
            at_root ? strand.shape.root : home.cluster.rail_rank(strand.root_host(), home.local);
        lane.grant(from, {Space::output, strand.strand, -1}, strand.strand);
        lane.wait(from, {Space::output, strand.strand, -1}, strand.strand);
    }
    strand.done(lane);
}

void hier_all_to_all(Strand& strand) {
    const Home& home = strand.home;
    const Places input = strand.blocks(Space::input), output = strand.blocks(Space::output);
    const uint32_t chunk = strand.strand;
    Writer lane = strand.lane(8);
    for (int32_t i = 1; i < home.ranks; i++) {
        const int32_t from = home.rank(home.at(-i));
        lane.grant(from, output.at(from, 0), chunk);
    }
    for (int32_t i = 1; i < home.ranks; i++) {
        const int32_t to = home.rank(home.at(i));
        lane.put(to, input.at(to, 0), chunk);
    }
    lane.copy(output.at(strand.plan.rank, 0), input.at(strand.plan.rank, 0), chunk);
    for (int32_t i = 1; i < home.ranks; i++) {
        const int32_t from = home.rank(home.at(-i));
        lane.wait(from, output.at(from, 0), chunk);
    }
    Exchange::Config config;
    for (int32_t i = 1; i < strand.hosts(); i++) {
        config.order.push_back(strand.host_at(i));
    }
    config.input = input;
    config.by_rank = true;
    config.ahead = 1;
    config.sets = 3;
    Exchange exchange(lane, home, std::move(config));
    Turns(strand, lane, exchange).run();
    strand.done(lane);
}

}  // namespace weft::plan
