// What a part of a collective is on one rank of several hosts (hosts_cut.h says why so). Pure.
// Thread rule: values. Failure rule: none; the call was checked.
#pragma once

#include "src/comm/hosts_part.h"

namespace weft {

// Elements, of each block, that a part may have.
uint64_t hosts_count_max(const Call& call, const HostsShape& shape, const HostsSizes& sizes);

// The part of `count` elements behind the first `done`.
std::vector<HostsStage> hosts_stages(const Call& call, const HostsShape& shape,
                                     const HostsSizes& sizes, uint64_t done, uint64_t count);

// A move behind the others, as further rows of the last one where their distances allow.
void hosts_move_add(std::vector<HostsMove>& moves, HostsPlace to, HostsPlace from, uint64_t width);

}  // namespace weft
