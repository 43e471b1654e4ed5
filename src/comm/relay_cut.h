// Calls of a device communicator cut into parts that go through a slot of host memory: what is
// copied in before, what the host engine is asked for, what is copied out after. All ranks cut
// alike, for how follows from the call, the number of ranks and the size of a slot. Pure. Thread
// rule: thread-bound. Failure rule: none; the calls were checked.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/comm/calls_way.h"
#include "src/comm/slot_rows.h"
#include "src/exec/engine.h"

namespace weft {

struct RelayPart {
    std::vector<SlotRows> in, out;
    std::vector<Call> calls;  // buffers are offsets into the slot: see relay_place()
    uint32_t slot = 0;        // in turn, from the group's first part on
    static constexpr bool alone = false;
    static constexpr uint32_t outs() { return 1; }
};

struct RelayShape {
    int32_t rank = 0;
    int32_t rank_count = 1;
    uint64_t slot_bytes = 0;
    uint32_t slots = 1;
};

// The parts of one group's calls, in order: of each collective, then of all sends and receives,
// whose rounds take a part of each peer and direction.
class RelayCut {
  public:
    RelayCut(RelayShape shape, const std::vector<Call>& calls);
    std::optional<RelayPart> next();

  private:
    RelayPart collective_part(const Call& call);
    RelayPart round();
    void pair_part(uint64_t place, MessageWay& way, RelayPart& part);
    uint64_t room() const;

    const RelayShape shape_;
    CallsWay way_;
    uint32_t parts_ = 0;
};

// Of a message between two ranks, the largest part.
uint64_t relay_message_bytes(const RelayShape& shape);

// The calls of a part with its slot at `slot`.
std::vector<Call> relay_place(std::vector<Call> calls, char* slot);

}  // namespace weft
