// Ranks on several hosts, as many on each, and what a part of a call is for one of them: stages,
// each of which waits for some words, moves and sums, and tells others. The ranks of a host have
// boards (board_layout.h); between hosts, ranks of equal place in their hosts exchange messages
// through memory of their own that no other rank reads, *far* memory: for every slot of a board two
// halves, one for what goes out and one for what comes in. It is the host's, or for what is large
// the device's, where NICs reach that. Thread rule: values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "src/comm/board_cut.h"
#include "src/exec/engine.h"

namespace weft {

struct HostsShape {
    int32_t host = 0, local = 0;  // of this rank
    int32_t hosts = 1, locals = 1;
    std::vector<int32_t> ranks;  // by host, then by place in it

    int32_t rank_at(int32_t at_host, int32_t at_local) const {
        return ranks[static_cast<size_t>(at_host * locals + at_local)];
    }
};

struct HostsSizes {
    uint32_t slots = 1;
    uint64_t slot_bytes = 0;  // a multiple of 64; of each half of far memory, too
    uint64_t half_bytes = 0;  // of a region for one receiver of the host: BoardShape::half_bytes
    // From this share of an all_reduce on, hosts exchange twice, each summing up a part, rather
    // than send each other all. At least 64 bytes for every pair of hosts.
    uint64_t twice_from = 256 << 10;
    uint64_t device_from = UINT64_MAX;  // messages of so many bytes go by far memory of the device
    uint64_t line_max = 32;  // hosts that exchange with each other directly (hosts_grid.h)
};

enum class HostsWhere : uint8_t { user, slot, far, device_far };

struct HostsPlace {
    HostsWhere where = HostsWhere::user;
    int32_t local = 0;  // slot: whose
    uint64_t at = 0;    // user: address; else from the beginning of the part's slot
    bool operator==(const HostsPlace&) const = default;
};

struct HostsMove {
    HostsPlace to, from;
    uint64_t width = 0, rows = 1;
    uint64_t to_pitch = 0, from_pitch = 0;
};

struct HostsSum {
    HostsPlace to;
    std::vector<HostsPlace> from;
    uint64_t bytes = 0;
    bool whole = false;  // of all ranks: an average of integers is divided now
};

// Between hosts, from or into far memory.
struct HostsMessage {
    int32_t peer = 0;  // rank
    bool is_send = false;
    bool on_device = false;
    uint64_t at = 0;  // from the beginning of the slot's far memory
    uint64_t bytes = 0;
    uint64_t of = 0;  // bytes of the caller's message, if it is of one
};

// In this order; what is empty is not done.
struct HostsStage {
    bool exchanged = false;  // waits for what the part has asked for
    bool left = false;       // waits until all have left the slot...
    bool arrived = false;    // ...or all have laid open their parts, whose cards are compared...
    bool reduced = false;    // ...or their shares, likewise
    std::vector<HostsSum> sums;
    std::vector<HostsMove> moves;
    bool scaled = false;  // moves multiply by this rank's factor
    enum class Tell : uint8_t { none, arrived, reduced, left };
    Tell tell = Tell::none;  // with a card, but for left
    std::vector<HostsMessage> ask;
    std::vector<BoardMessage> sends, receives;  // of callers, within the host; peers by place
};

struct HostsPart {
    std::optional<Call> call;  // a collective's, whole, as it was called
    uint32_t slot = 0;
    bool alone = false;  // nothing else may be under way
    std::vector<HostsStage> stages;
};

}  // namespace weft
