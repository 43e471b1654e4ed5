// How the entries of a rail's completion queue are shared out so that it cannot overflow: EFA loses
// completions when it does, and says nothing.
//
//   entries = transmits + receives + writes
//
//   transmits  our own operations under way, one completion each: the rail has no more of them
//   receives   posted receive buffers. A message of a peer (eager slot, hello, grant, credit,
//              acknowledgement, fence, probe) completes with one of them, or waits at its sender
//              while there is none. Where writes use up receives too, these wait in the same way.
//   writes     pieces that peers may put: those of all open grants of the process. A sender puts a
//              piece on whichever rail is free, so every rail has room for all of them.
//
// A piece is counted from before its grant is sent until its completion has been read, so what
// peers can have under way towards a rail never exceeds `writes`, however late a rank is and
// whoever sleeps. Half of them is kept for grants of one piece, so that an operation with many
// peers does not wait behind large ones; `piece` sizes grow instead.
//
// Thread-safe. Failure rule: a reservation of 0 means "not now", as when a link has no token left.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::fabric {

// Bounded by what the providers here offer (256 to 2,048): more in flight gains nothing (4 x 1 MiB
// fills tcp loopback).
inline constexpr size_t transmits_max = 512;
// Where every write of a peer uses up a receive: enough that the NIC seldom has to ask again.
inline constexpr size_t receives_max = 1024;
inline constexpr size_t queue_entries_default = 8192;

struct QueueShare {
    uint32_t entries = 0, transmits = 0, receives = 0, writes = 0;
};

// `entries` of 0: the default; `transmit_size` and `receive_size` are the provider's limits. A
// small queue is given out by quarters, and the rest to writes.
constexpr QueueShare queue_share(size_t entries, size_t transmit_size, size_t receive_size) {
    const size_t all = std::max<size_t>(entries != 0 ? entries : queue_entries_default, 8);
    const size_t transmits = std::min({transmits_max, transmit_size, all / 4});
    const size_t receives = std::min({receives_max, receive_size, all / 4});
    return {static_cast<uint32_t>(all), static_cast<uint32_t>(transmits),
            static_cast<uint32_t>(receives), static_cast<uint32_t>(all - transmits - receives)};
}
static_assert(queue_share(0, 4096, 32768).writes == 8192 - 512 - 1024);

class PieceCredits {
  public:
    // Before the first reservation.
    void open(uint32_t writes) {
        left_.store(writes);
        kept_ = writes / 2;
    }
    // `wanted` or fewer, 0: none are left.
    uint32_t reserve(uint32_t wanted) {
        uint32_t left = left_.load();
        uint32_t got = 0;
        do {
            const uint32_t plenty = left > kept_ ? left - kept_ : 0;
            got = std::min({wanted, std::max(plenty, 1u), left});
        } while (!left_.compare_exchange_weak(left, left - got));
        return got;
    }
    void give_back(uint32_t count) { left_.fetch_add(count); }
    uint32_t left() const { return left_.load(); }

  private:
    std::atomic<uint32_t> left_{0};
    uint32_t kept_ = 0;
};

}  // namespace weft::fabric
