// Calls of a communicator of several hosts cut into parts: sums and copies within a host by boards,
// and between hosts messages, each of which carries only what the other host lacks. All ranks cut
// alike, for how follows from the call, the places of ranks and the sizes alone: of a collective,
// every rank has the same stages, which wait for and tell the same words. Pure. Thread rule:
// thread-bound. Failure rule: none; the calls were checked.
//
// In a collective a rank speaks, beyond its host, with the ranks of its place in the other hosts;
// so all NICs of a host work, each on its share. reduce_scatter sums within the host what is for
// each place, exchanges these sums and adds them up. all_reduce is that for shares, which the host
// then has on its boards; large ones are exchanged as sums of parts and once more when these are
// whole, so that no host receives more than it must. all_gather exchanges first, and then all read
// from boards. broadcast and reduce go by shares. Of many hosts these exchanges are of a grid's
// columns and rows, one after the other (hosts_grid.h). all_to_all, gather and scatter are messages
// of each rank to each, for nothing is saved. A collective's part i lies in slot i modulo their
// number, as in board_cut.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/comm/calls_way.h"
#include "src/comm/hosts_part.h"

namespace weft {

// Of a message with this rank, the largest part.
uint64_t hosts_message_bytes(const HostsShape& shape, const HostsSizes& sizes, int32_t peer);

class HostsCut {
  public:
    // The shape is borrowed.
    HostsCut(const HostsShape& shape, const HostsSizes& sizes, const std::vector<Call>& calls);
    // Of each collective, then of all messages.
    std::optional<HostsPart> next();

  private:
    HostsPart collective_part(const Call& call);
    HostsPart round();
    void local_messages(int32_t local, HostsPart& part);
    void far_messages(int32_t rank, uint64_t place, HostsPart& part);

    const HostsShape& shape_;
    const HostsSizes sizes_;
    CallsWay way_;
    uint32_t rounds_ = 0;
};

}  // namespace weft
