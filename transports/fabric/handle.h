// The handle of a listener, and what the two sides of a meeting say to each other. Pure; all of it
// comes from outside and is checked.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "transports/meeting.h"

namespace weft::fabric {

struct PortAddress {
    uint64_t port = 0;
    std::vector<std::string> rails;  // endpoint names of the first rails, in order; one at least
    bool operator==(const PortAddress&) const = default;
};
// As many rails as fit.
MeetingHandle handle_encode(const PortAddress& handle);
Result<PortAddress> handle_parse(const MeetingHandle& bytes);

// The word of a message of the kind `meet`.
enum class MeetKind : uint64_t {
    ask = 1,  // a caller would meet the listener of this port: Ask
    wait,     // it is there, and has not accepted yet
    answer,   // accepted: the address of the wire
    refuse,   // why it will not be, as text
    leave,    // the caller of this Ask has lost interest
};

struct Ask {
    uint64_t port = 0;     // of the caller, where it wants the answer
    uint64_t group = 0;    // of the two wires
    std::string endpoint;  // of the rail that the ask is sent on, as it is now
    std::string features;  // WireHub::features()
    std::string address;   // of the caller's wire
    bool operator==(const Ask&) const = default;
};
std::string ask_encode(const Ask& ask);
std::optional<Ask> ask_parse(std::string_view text);

}  // namespace weft::fabric
