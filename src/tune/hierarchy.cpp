// Two levels. Between hosts, each rank exchanges its blocks directly with the ranks of its own kind
// (same local rank, so never across rails); inside, each rank serves its k-1 neighbours. H hosts, k
// ranks each, blocks of b bytes: H-1 puts between hosts, H(k-1) inside. Gathering goes outside
// first, reducing inside first, so that no NIC carries a byte twice.
#include <algorithm>

#include "src/base/log.h"
#include "src/tune/cost.h"

namespace weft::tune {

namespace {

struct Stage {
    double first_ns = 0;    // from the first post to the first arrival at a reader
    double spacing_ns = 0;  // between a sender's messages
    double reduce_ns = 0;   // one block, one more source
    double grant_ns = 0;
    double latency_ns = 0;

    Stage(const Level& level, double b) {
        const double bytes = b * level.ns_per_byte;
        first_ns = level.post_ns + level.latency_ns + bytes + level.completion_ns;
        spacing_ns = std::max({level.post_ns, level.gap_ns, bytes});
        reduce_ns = b * level.reduce_ns_per_byte;
        grant_ns = level.post_ns + level.latency_ns + level.control_bytes * level.ns_per_byte +
                   level.completion_ns;
        latency_ns = level.latency_ns;
    }
};

class Both {
  public:
    Both(const Hierarchy& machine, double b, Overlap overlap)
        : inter_(machine.inter, b),
          intra_(machine.intra, b),
          hosts_(machine.hosts),
          neighbours_(machine.ranks_per_host - 1),
          overlap_(overlap) {}

    double gather() const {
        if (hosts_ == 1) {
            return intra_.grant_ns + inside(1) + intra_.latency_ns;
        }
        const double first = inter_.grant_ns + inter_.first_ns;
        const double last = first + (hosts_ - 2) * inter_.spacing_ns;
        if (neighbours_ == 0) {
            return last + inter_.latency_ns;
        }
        const double end = overlap_ == Overlap::staged
                               ? last + inside(hosts_)
                               // Forwarded as they come: bound by the last block to come, or by the
                               // work that was there since the first, or since the start.
                               : std::max({last + inside(1), first + inside(hosts_ - 1),
                                           intra_.grant_ns + inside(hosts_)});
        return std::max(end + intra_.latency_ns, last + inter_.latency_ns);
    }

    double reduce() const {
        const double slow_inside = std::max(intra_.spacing_ns, intra_.reduce_ns);
        const double block = intra_.first_ns + (neighbours_ - 1) * slow_inside + intra_.reduce_ns;
        if (hosts_ == 1) {
            return intra_.grant_ns + block;
        }
        const double work = (hosts_ - 1) * neighbours_ * slow_inside;
        const double inside_first = neighbours_ == 0 ? inter_.grant_ns : intra_.grant_ns + block;
        const double slow = std::max(inter_.spacing_ns, inter_.reduce_ns);
        const double across = inter_.first_ns + inter_.reduce_ns;
        if (overlap_ == Overlap::staged) {
            return inside_first + work + across + (hosts_ - 2) * slow;
        }
        return inside_first + across + std::max(work, (hosts_ - 2) * slow);
    }

  private:
    // So many blocks to every neighbour.
    double inside(double blocks) const {
        return intra_.first_ns + (blocks * neighbours_ - 1) * intra_.spacing_ns;
    }

    Stage inter_, intra_;
    double hosts_, neighbours_;
    Overlap overlap_;
};

}  // namespace

Result<double> cost_hierarchical_ns(const Hierarchy& machine, Coll coll, double block_bytes,
                                    Overlap overlap) {
    if (machine.hosts < 1 || machine.ranks_per_host < 1 ||
        machine.hosts * machine.ranks_per_host < 2 || !(block_bytes >= 0)) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("hierarchy of %d hosts with %d ranks: expected two ranks or more",
                                 machine.hosts, machine.ranks_per_host));
    }
    const double slice = block_bytes / machine.hosts / machine.ranks_per_host;
    if (coll == Coll::all_gather) {
        return Both(machine, block_bytes, overlap).gather();
    }
    if (coll == Coll::reduce_scatter) {
        return Both(machine, block_bytes, overlap).reduce();
    }
    if (coll == Coll::all_reduce) {
        const Both both(machine, slice, overlap);
        return both.reduce() + both.gather();
    }
    return make_error(Code::unsupported, Scope::call,
                      format("no closed form for a hierarchical %s", weft::to_string(coll)));
}

}  // namespace weft::tune
