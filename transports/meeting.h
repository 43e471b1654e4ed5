// How two wires meet where there is no control plane: one side listens and gives out a handle of
// 128 bytes, the other calls with it, and both get a wire whose only peer is the other. What is
// needed beyond the handle is exchanged over the transport itself.
//
// Thread rule: a listener or a call is thread-bound; several of one hub may be used at once.
// Lifetime: hub before listeners, calls and wires; a wire outlives the listener it came from.
// Failure rule: never blocks; asked again and again, it answers nothing (not yet), the wire, or
// one Error, after which it is over.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"
#include "transports/doorbell.h"
#include "transports/wire.h"

namespace weft {

inline constexpr size_t meeting_handle_bytes = 128;
// From here on the bytes are the holder's: neither written nor read by a transport.
inline constexpr size_t meeting_handle_used = 120;
using MeetingHandle = std::array<std::byte, meeting_handle_bytes>;

struct MeetConfig {
    Doorbell* doorbell = nullptr;  // of the wire, as in WireConfig
    std::vector<uint32_t> rails;   // as in WireConfig
    // Of a call: without a sign of the listener's process for so long, it is over; 0: never. A
    // listener that is there may take its time.
    Nanos patience = 0;
    bool shares_memory = false;  // as in WireConfig
};

// A wire of two ranks that knows where its peer is: connect(peer, address, hello) comes next.
struct Met {
    std::unique_ptr<Wire> wire;
    uint32_t peer = 0;
    std::string address;
    std::string name;  // of the peer, for logs: where its first rail is
};

class Listener {
  public:
    virtual ~Listener() = default;
    virtual const MeetingHandle& handle() const = 0;
    // The next caller, in order of their calls. Callers that cannot be met are told why, and
    // passed over. The doorbell is the wire's.
    virtual Result<std::optional<Met>> accept(Doorbell* doorbell) = 0;
};

class PeerCall {
  public:
    virtual ~PeerCall() = default;
    virtual Result<std::optional<Met>> advance(Nanos now) = 0;
};

}  // namespace weft
