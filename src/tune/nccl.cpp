#include "src/tune/nccl.h"

#include <algorithm>
#include <cmath>

#include "src/base/log.h"

namespace weft::tune {

namespace {

// Of NCCL 2.30's tuning of PAT.
constexpr double pat_fan_out = 3.5;
constexpr double pat_rank_us = 2.8;
constexpr double pat_rate = 0.75;

double ranks_of(const NcclAsk& ask) {
    return static_cast<double>(ask.hosts) * ask.ranks_per_host;
}

double all_reduce_us(const NcclConstants& constants, const NcclAsk& ask) {
    const double block = ask.bytes / ranks_of(ask);
    // Two hosts make one edge: nothing is sent through a host, and the tree always wins.
    if (ask.hosts == 2) {
        return nccl_tree_us(constants, ask, false);
    }
    if (ask.hosts > 2 && block <= constants.buffer_bytes) {
        return std::min(nccl_tree_us(constants, ask, true), nccl_ring_us(constants, ask));
    }
    return block <= constants.ring_from_bytes ? nccl_tree_us(constants, ask, false)
                                              : nccl_ring_us(constants, ask);
}

}  // namespace

double nccl_ring_us(const NcclConstants& constants, const NcclAsk& ask) {
    const double ranks = ranks_of(ask);
    const double block = ask.bytes / ranks;
    const double moved = block / constants.ring_bytes_per_us;
    if (ask.coll == Coll::all_reduce) {
        return 2 * (ranks - 1) * (constants.hop_all_reduce_us + moved);
    }
    const double credit = block > constants.buffer_bytes ? constants.network_us : 0;
    return (ranks - 1) * (constants.hop_all_gather_us + moved + credit);
}

// Up and down: the chain of a host, then the tree over hosts. With more than two hosts the two
// trees make every host send and receive the vector twice.
double nccl_tree_us(const NcclConstants& constants, const NcclAsk& ask, bool low_latency) {
    const double depth = ask.ranks_per_host - 1 + std::ceil(std::log2(ask.hosts));
    const double through = ask.hosts > 2 ? 2 : 1;
    const double moved = low_latency ? ask.bytes / constants.tree_ll_bytes_per_us
                                     : through * ask.bytes / constants.tree_bytes_per_us;
    return 2 * depth * constants.network_us + moved;
}

double nccl_pat_us(const NcclConstants& constants, const NcclAsk& ask) {
    const double ranks = ranks_of(ask);
    return std::log2(ask.hosts) * constants.network_us / pat_fan_out + pat_rank_us * ranks +
           (ranks - 1) / ranks * ask.bytes / (pat_rate * constants.ring_bytes_per_us);
}

Result<double> nccl_us(const NcclConstants& constants, const NcclAsk& ask) {
    if (ask.hosts < 2 || ask.ranks_per_host < 1 || !(ask.bytes >= 0)) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("NCCL on %d hosts of %d ranks: the model knows two hosts or more",
                                 ask.hosts, ask.ranks_per_host));
    }
    switch (ask.coll) {
        case Coll::all_gather:
        case Coll::reduce_scatter:
            return ask.ranks_per_host == 1
                       ? std::min(nccl_pat_us(constants, ask), nccl_ring_us(constants, ask))
                       : nccl_ring_us(constants, ask);
        case Coll::all_reduce:
            return all_reduce_us(constants, ask);
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    return make_error(Code::unsupported, Scope::call,
                      format("no model of NCCL's %s", to_string(ask.coll)));
}

}  // namespace weft::tune
