// A fault script: what goes wrong, on which NIC, and when. Items are separated by ';' or new lines,
// '#' begins a comment; an item is a name and KEY=VALUE words:
//
//   rail-down nic=1 [when]            nothing leaves or arrives
//   rail-up   nic=1 [when]            it does again
//   loss      nic=0 rate=5% [to=HOST] [from=HOST] [when]   one way: of what this NIC sends
//   slow      nic=0 rate=100Mbit [when]
//   die       [when]                  the process ends at once
//   stale     nic=0 delay=200ms [count=1]   packets of writes that a fault loses land later
//   mr-fail   pages=1000              registration fails beyond that many pages
//   qp-max count=N, ah-max count=N, cq-max count=N, sq-max count=N   less of them than the device
//
// [when]: at=TIME since the start, or after=PACKETS sent by the NIC; for=TIME ends it (not with
// 'after'). Every item takes host=H and process=P: only there.
// Pure. Thread rule: reentrant. Failure rule: one line: "faults:LINE:COLUMN: reason; what to do".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft::efa {

enum class FaultKind : uint8_t {
    rail_down,
    rail_up,
    loss,
    slow,
    die,
    stale,
    mr_fail,
    qp_max,
    ah_max,
    cq_max,
    sq_max,
};

struct Fault {
    FaultKind kind = FaultKind::rail_down;
    std::optional<uint32_t> host;
    std::optional<uint32_t> process;
    std::optional<uint32_t> nic;  // none: every one
    std::optional<uint32_t> from;
    std::optional<uint32_t> to;
    Nanos at = 0;
    Nanos lasts = -1;  // -1: for ever
    uint64_t after = 0;
    uint32_t rate_ppm = 0;  // loss
    int64_t rate = 0;       // slow: bytes per second
    Nanos delay = 0;
    uint64_t count = 0;
};

using Faults = std::vector<Fault>;

Result<Faults> faults_parse(std::string_view text);

// The part of a script that concerns one process, and the questions that a node asks it.
class FaultPlan {
  public:
    FaultPlan() = default;
    FaultPlan(const Faults& faults, uint32_t host, uint32_t process);

    // `age`: since the start of the node; `sent`: packets that the NIC has sent.
    struct Moment {
        Nanos age = 0;
        uint64_t sent = 0;
    };
    bool rail_down(uint32_t nic, Moment now) const;
    uint32_t loss_ppm(uint32_t nic, uint32_t to_host, Moment now) const;
    int64_t rate(uint32_t nic, int64_t configured, Moment now) const;
    bool dies(Moment now) const;  // `sent`: of all NICs
    const Fault* stale(uint32_t nic) const;
    // The least limit given, or `usual`.
    uint64_t limit(FaultKind kind, uint32_t nic, uint64_t usual) const;
    // When the next fault begins by the clock, for whoever sleeps until something happens.
    std::optional<Nanos> next(Nanos age) const;
    bool empty() const { return mine_.empty(); }

  private:
    Faults mine_;
};

}  // namespace weft::efa
