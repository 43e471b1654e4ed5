// Messages of one group in lanes that do not wait for each other: of a rank that sends to one peer
// what it does not take yet, and receives from another, neither may keep the other back, whatever
// the peers' order of calls. Who is sent to, and who is received from, is a lane each, as far as
// there are lanes; what is left shares them, sends with sends. A group whose messages all fit a
// part each is one round, in which nothing waits before all is on its way: one lane will do. How
// messages are cut does not depend on this, so ranks need not agree on it. Collectives, in which
// they do agree, go before all lanes, or what one rank has before a collective another might have
// behind it. Pure. Thread rule: values. Failure rule: none; the calls were checked.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "src/exec/engine.h"

namespace weft {

struct MessageLanes {
    std::vector<Call> before;              // collectives
    std::vector<std::vector<Call>> lanes;  // none: there are no messages
};

// `most`: lanes, at least 1; `part_bytes`: of a message with this peer, the largest part.
MessageLanes message_lanes(const std::vector<Call>& calls, int32_t rank, size_t most,
                           const std::function<uint64_t(int32_t peer)>& part_bytes);

}  // namespace weft
