// Inside src/tune: one draft on one scene. Thread rule: reentrant.
#pragma once

#include <algorithm>

#include "src/tune/price.h"

namespace weft::tune {

// Of one tile of one strand, in nanoseconds.
struct Work {
    double path = 0;    // from the first step to the last
    double first = 0;   // until the first position has come
    double lead = 0;    // what passes before and after the shared part is busy
    double step = 0;    // what one strand holds up another that goes the same way
    double period = 0;  // the same lane can take the next tile after this
    double port = 0, rail = 0, thread = 0;  // taken of what strands and tiles share
    Work& operator+=(const Work& then) {
        path += then.path;
        lead = std::max(lead, then.lead);
        step += then.step;
        port += then.port;
        rail += then.rail;
        thread += then.thread;
        return *this;
    }
};

double log2_up(double n);

class Pricer {
  public:
    Pricer(const Scene& scene, const Draft& draft);

    Work flat() const;
    Work hierarchy() const;  // price_hier.cpp

  private:
    bool is_rooted() const {
        return draft_.coll == Coll::broadcast || draft_.coll == Coll::reduce ||
               draft_.coll == Coll::gather || draft_.coll == Coll::scatter;
    }
    double header(const Level& level) const { return draft_.eager ? level.header_bytes : 0; }
    double reduce(double b) const { return b * scene_.inside.reduce_ns_per_byte; }
    double slot_copy(double b) const {
        return draft_.eager ? b * scene_.inside.copy_ns_per_byte : 0;
    }
    double tail(const Level& level) const { return draft_.eager ? 0 : level.latency_ns; }
    // `senders`: ranks of a host that use its rails at once.
    double share(double senders) const;
    double flight(const Level& level, double bytes, double senders) const;
    double hop(const Level& level, double bytes, double senders) const {
        return flight(level, bytes, senders) + level.completion_ns;
    }
    double spacing(const Level& level, double bytes, double senders) const;
    double control(const Level& level) const;
    double start(const Level& level, double grants) const;
    // Before the second half of an all_reduce: what the first half puts from, the second
    // overwrites.
    double regrant(const Level& level, double first_put) const;
    double handling(const Level& level) const;

    // `work`: what is done with a position before it goes on.
    Work ring_phase(const Level& level, double members, double b, double senders,
                    double work) const;
    Work halving_phase(const Level& level, double members, double b, double senders,
                       double work) const;
    Work mesh_phase(const Level& level, double members, double b, double senders,
                    double work) const;
    Work phase(plan::Algo algo, const Level& level, double members, double b, double senders,
               double work) const;
    Work lap(double b, double work) const;
    Work exchange(double b, double work, bool in_groups) const;
    Work flat_ring() const;
    Work flat_exchange(bool in_groups) const;
    Work flat_halving() const;
    Work flat_tree() const;  // price_tree.cpp, as are the next two
    Work rooted_direct() const;
    struct Ways {
        bool up, down;
    };
    Work tree_stage(plan::Algo algo, const Level& level, double members, double b, double senders,
                    Ways ways) const;

    double neighbours() const;
    double unit(double b) const;
    double spread(double b) const;
    Work hier_gather(double b) const;
    Work hier_scatter_sum(double b) const;
    Work hier_all_reduce(double b) const;
    Work hier_rooted(double b) const;
    Work hier_all_to_all(double b) const;
    Work hier_blocks(double b) const;

    Scene scene_;
    const Draft& draft_;
};

}  // namespace weft::tune
