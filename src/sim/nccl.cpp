#include "src/sim/nccl.h"

#include <algorithm>
#include <cmath>

namespace weft::sim {

using plan::NcclAlgo;

namespace {

constexpr double tree_chunks_of_buffer = 16;  // 512 KiB of 8 MiB: NCCL_P2P_NET_CHUNKSIZE
constexpr uint64_t quantum_bytes = 256 << 10;
constexpr uint64_t tree_tiles_max = 64;  // more only repeat what a full pipeline does

double ranks_of(const Network& network) {
    return static_cast<double>(network.rank_count());
}

// The NICs of a rank as one, because NCCL's plugin stripes every message over them; where ranks
// share NICs, these stay as they are.
std::vector<Port> rails_joined(const Network& network, double share, double latency_ns) {
    const auto ranks = static_cast<size_t>(network.ranks_per_host);
    const bool join = network.rails.size() % ranks == 0;
    std::vector<Port> rails(join && !network.rails.empty() ? ranks : network.rails.size());
    for (Port& rail : rails) {
        rail.bytes_per_ns = 0;
        rail.latency_ns = latency_ns;
    }
    for (size_t i = 0; i < network.rails.size(); i++) {
        const size_t at = i * rails.size() / network.rails.size();
        rails[at].bytes_per_ns += network.rails[i].bytes_per_ns * share;
    }
    return rails;
}

// Protocols are in the constants, so nothing else costs: no posts, no copies, no headers to speak
// of. NCCL's channels advance together, hence fair turns; it aligns its rails itself.
Network nccl_network(const Network& network, const NcclConstants& constants, double share,
                     double extra_hop_us) {
    Network made;
    made.hosts = network.hosts;
    made.ranks_per_host = network.ranks_per_host;
    made.rails = rails_joined(network, share, (constants.network_us + extra_hop_us) * 1000);
    made.intra.bytes_per_ns = network.intra.bytes_per_ns;
    made.intra.latency_ns = (constants.nvlink_hop_us + extra_hop_us) * 1000;
    made.turns = Turns::fair;
    made.quantum_bytes = quantum_bytes;
    made.header_bytes = 1;
    made.control_bytes = 1;
    return made;
}

Result<NcclTime> run(const Network& network, const Network& as_nccl, const NcclCall& call,
                     NcclAlgo algo, uint64_t tile_bytes, uint64_t events_max) {
    const plan::NcclPlan of{algo, call.coll, network.hosts, network.ranks_per_host};
    Job job;
    job.shape = TRY(plan::nccl_shape(of));
    const bool blocks = call.coll != Coll::all_reduce;
    job.count = blocks ? call.bytes / static_cast<uint64_t>(network.rank_count()) : call.bytes;
    job.tile_bytes = tile_bytes;
    job.eager = true;  // through buffers of the receiver
    Options options;
    options.events_max = events_max > 0 ? events_max : options.events_max;
    const Report report = TRY(simulate(
        as_nccl, job, [&](int32_t rank) { return plan::nccl_part(of, rank); }, options));
    NcclTime done;
    done.algo = algo;
    done.time_ns = report.time_ns;
    done.folding = report.folding;
    for (const NicReport& nic : report.nics) {
        const uint64_t most = std::max(nic.sent.payload_bytes, nic.received.payload_bytes);
        done.bytes_per_nic = std::max<uint64_t>(done.bytes_per_nic,
                                                most * as_nccl.rails.size() / network.rails.size());
    }
    return done;
}

Result<NcclTime> tree(const Network& network, const NcclCall& call, const NcclConstants& constants,
                      uint64_t events_max) {
    const uint64_t lane = call.bytes / static_cast<uint64_t>(2 * network.ranks_per_host);
    const auto chunk = static_cast<uint64_t>(constants.buffer_bytes / tree_chunks_of_buffer);
    const Network as_nccl = nccl_network(network, constants, constants.tree_share, 0);
    return run(network, as_nccl, call, NcclAlgo::tree, std::max(chunk, lane / tree_tiles_max),
               events_max);
}

Result<NcclTime> around(const Network& network, const NcclCall& call, NcclAlgo algo,
                        const NcclConstants& constants, uint64_t events_max) {
    const double block = static_cast<double>(call.bytes) / ranks_of(network);
    const bool waits = call.coll != Coll::all_reduce && block > constants.buffer_bytes;
    Network as_nccl =
        nccl_network(network, constants, constants.ring_share, waits ? constants.credit_us : 0);
    as_nccl.intra.bytes_per_ns =
        std::min(as_nccl.intra.bytes_per_ns, constants.ring_nvlink_bytes_per_us / 1000);
    return run(network, as_nccl, call, algo, 0, events_max);
}

}  // namespace

std::vector<NcclAlgo> nccl_algos(const Network& network, Coll coll) {
    std::vector<NcclAlgo> algos;
    for (const NcclAlgo algo : {NcclAlgo::ring, NcclAlgo::tree, NcclAlgo::pat}) {
        const plan::NcclPlan of{algo, coll, network.hosts, network.ranks_per_host};
        if (plan::nccl_shape(of).ok()) {
            algos.push_back(algo);
        }
    }
    return algos;
}

Result<NcclTime> nccl_simulate(const Network& network, const NcclCall& call, NcclAlgo algo,
                               const NcclConstants& constants, uint64_t events_max) {
    return algo == NcclAlgo::tree ? tree(network, call, constants, events_max)
                                  : around(network, call, algo, constants, events_max);
}

double nccl_tree_least_ns(const Network& network, const NcclCall& call,
                          const NcclConstants& constants) {
    const double levels = std::ceil(std::log2(std::max(network.hosts, 2)));
    const double hops_us =
        (network.ranks_per_host - 1) * constants.nvlink_hop_us + levels * constants.network_us;
    double rate = 0;
    for (const Port& rail : network.rails) {
        rate += rail.bytes_per_ns * constants.tree_share;
    }
    const double through = network.hosts > 2 ? 2 : 1;
    return 2 * hops_us * 1000 + through * static_cast<double>(call.bytes) / rate;
}

Result<NcclTime> nccl_tuned(const Network& network, const NcclCall& call,
                            const NcclConstants& constants) {
    const NcclTime by_ring = TRY(around(network, call, NcclAlgo::ring, constants, 0));
    const double block = static_cast<double>(call.bytes) / ranks_of(network);
    if (call.coll != Coll::all_reduce ||
        (network.hosts > 2 && block >= constants.ring_from_bytes)) {
        return by_ring;
    }
    const NcclTime by_tree = TRY(tree(network, call, constants, 0));
    // Two hosts make one edge of a tree; blocks that do not fit the buffer leave the ring.
    const bool always_tree = network.hosts == 2 || block > constants.buffer_bytes;
    return always_tree || by_tree.time_ns < by_ring.time_ns ? by_tree : by_ring;
}

}  // namespace weft::sim
