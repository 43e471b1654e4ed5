#include "src/sim/from_cluster.h"

#include "src/base/log.h"

namespace weft::sim {

namespace {

Error bad(const std::string& what) {
    return make_error(Code::unsupported, Scope::call, "the simulator: " + what);
}

// Ranks of a host stand next to each other, in the order of hosts.
Result<void> blocks_check(const topology::Cluster& cluster) {
    if (!cluster.uniform()) {
        return bad(format("%zu kinds of hosts: it knows clusters whose hosts are all alike",
                          cluster.shapes.size()));
    }
    const int32_t each = cluster.host(0).rank_count();
    for (int32_t rank = 0; rank < cluster.rank_count(); rank++) {
        if (!(cluster.place(rank) == topology::RankPlace{rank / each, rank % each})) {
            return bad(format("rank %d is on host %d: it knows ranks numbered host by host only",
                              rank, cluster.place(rank).host));
        }
    }
    const topology::Host& host = cluster.host(0);
    if (host.rail_count() > 0 &&
        host.rank_rails != topology::rails_in_blocks(each, host.rail_count())) {
        return bad("its ranks do not have the rails in blocks: leave `map` out");
    }
    return {};
}

class Builder {
  public:
    Builder(const topology::Host& host, const Assumed& assumed) : host_(host), assumed_(assumed) {}

    ClusterNetwork run(int32_t hosts);

  private:
    double known(double value, double otherwise, const char* what, const char* unit);
    void rails_add();
    void assume(const char* what, double value, const char* unit) {
        made_.assumed.push_back(format("%s %g %s", what, value, unit));
    }

    const topology::Host& host_;
    const Assumed& assumed_;
    ClusterNetwork made_;
};

double Builder::known(double value, double otherwise, const char* what, const char* unit) {
    if (value > 0) {
        return value;
    }
    assume(what, otherwise, unit);
    return otherwise;
}

void Builder::rails_add() {
    const double latency = known(static_cast<double>(host_.rail_latency_ns) / 1000,
                                 assumed_.rail_latency_ns / 1000, "rail latency", "us") *
                           1000;
    bool all_known = true;
    for (const int64_t rate : host_.rail_rates) {
        all_known = all_known && rate > 0;
        const double known_rate = static_cast<double>(rate) / 1e9;
        made_.network.rails.push_back(
            {rate > 0 ? known_rate : assumed_.rail_bytes_per_ns, latency, 0});
    }
    if (!all_known) {
        assume("rail rate", assumed_.rail_bytes_per_ns, "GB/s");
    }
}

ClusterNetwork Builder::run(int32_t hosts) {
    Network& network = made_.network;
    network.hosts = hosts;
    network.ranks_per_host = host_.rank_count();
    if (hosts > 1) {
        rails_add();
        assume("post", assumed_.post_ns / 1000, "us");
        assume("completion", assumed_.completion_ns / 1000, "us");
    }
    network.intra.bytes_per_ns = known(static_cast<double>(host_.local_rate) / 1e9,
                                       assumed_.local_bytes_per_ns, "rate inside hosts", "GB/s");
    network.intra.latency_ns =
        known(static_cast<double>(host_.local_latency_ns) / 1000, assumed_.local_latency_ns / 1000,
              "latency inside hosts", "us") *
        1000;
    network.intra.gap_ns = assumed_.local_gap_ns;
    network.inter_overhead = {assumed_.post_ns, assumed_.completion_ns};
    network.compute.copy_bytes_per_ns = assumed_.copy_bytes_per_ns;
    network.compute.reduce_bytes_per_ns = assumed_.reduce_bytes_per_ns;
    network.cross_rail_rate = assumed_.cross_rail_rate;
    assume("message gap inside hosts", assumed_.local_gap_ns, "ns");
    assume("copies", assumed_.copy_bytes_per_ns, "GB/s");
    assume("reductions", assumed_.reduce_bytes_per_ns, "GB/s");
    return std::move(made_);
}

}  // namespace

Result<ClusterNetwork> network_of(const topology::Cluster& cluster, const Assumed& assumed) {
    TRY(blocks_check(cluster));
    const topology::Host& host = cluster.host(0);
    ClusterNetwork made = Builder(host, assumed).run(cluster.host_count());
    TRY(network_check(made.network));
    return made;
}

}  // namespace weft::sim
