// Calls of a device communicator cut into parts for boards: what a rank lays open in a slot of its
// own, and what it then takes out of the slots of all. All ranks cut alike, for how follows from
// the call, the number of ranks and the sizes alone; so does the slot, whatever a group holds
// beside the call, for ranks may group otherwise. Pure. Thread rule: thread-bound. Failure rule:
// none; the calls were checked.
//
// A collective's part i lies in slot i modulo their number. A part of all_reduce that is large is
// reduced by shares: rank p sums up the p-th share of all slots into its own slot, whence all copy.
// On memory of windows (board_direct.h) a call is one part, which uses the words and the card of
// slot 0 alone; offsets are then those of the peers' buffers.
// A message goes through a region of the sender's board that only this receiver reads: its part i
// through half i modulo 2.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/comm/board_direct.h"
#include "src/comm/calls_way.h"
#include "src/comm/slot_rows.h"
#include "src/exec/engine.h"

namespace weft {

struct BoardShape {
    int32_t rank = 0;
    int32_t rank_count = 1;
    uint32_t slots = 1;
    uint64_t slot_bytes = 0;
    uint64_t half_bytes = 0;  // of a region for one receiver
    static constexpr uint32_t halves = 2;
};

// Out of the slot of rank `from`; direct, out of its output if others read that, else its input.
struct BoardCopy {
    int32_t from = 0;
    SlotRows rows;
};

struct BoardReduce {
    uint64_t at = 0;     // in every rank's slot; direct, input
    uint64_t bytes = 0;  // 0: this rank reduces nothing
    uint64_t to = 0;     // address; 0: into its own slot, in the same place
};

// Between buffers of this rank, before others read its output.
struct BoardOwnCopy {
    uint64_t to = 0, from = 0;  // addresses
    uint64_t bytes = 0;
};

// A part of a message: sent, from the user's buffer to the half; received, out of it.
struct BoardMessage {
    int32_t peer = 0;
    uint64_t of = 0;  // bytes of the message
    uint32_t half = 0;
    SlotRows rows;  // of width 0: nothing to copy
};

struct BoardPart {
    bool alone = false;  // a round: messages of the one before may lie where its own go
    // A collective's.
    std::optional<Call> call;  // whole, as it was called
    uint32_t slot = 0;
    BoardDirect direct;
    std::vector<SlotRows> in;
    std::vector<BoardOwnCopy> own;
    BoardReduce reduce;
    bool by_shares = false;  // on every rank or none: copies come after all have reduced
    // Direct, the last step is to wait until all have left.
    uint32_t outs() const { return (by_shares ? 2 : 1) + (direct ? 1 : 0); }
    std::vector<BoardCopy> out;
    // A round of messages: of each peer and direction the next part.
    std::vector<BoardMessage> sends, receives;
};

// The next part of a message; every part but the last fills its half.
BoardMessage board_message(MessageWay& way, uint64_t half_bytes);

class BoardCut {
  public:
    BoardCut(BoardShape shape, const std::vector<Call>& calls, WindowFind windows = {});
    // Of each collective, then of all messages.
    std::optional<BoardPart> next();

  private:
    BoardPart collective_part(const Call& call);
    void reads_add(const Call& call, uint64_t count, BoardPart& part) const;
    void reduce_add(const Call& call, uint64_t count, BoardPart& part) const;
    void make_direct(BoardPart& part) const;

    const BoardShape shape_;
    const WindowFind windows_;
    CallsWay way_;
    BoardDirect direct_;  // how the collective goes whose parts are next
};

}  // namespace weft
