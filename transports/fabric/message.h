// What two fabric wires say to each other: the address a wire publishes and the header of every
// message between endpoints. Pure; wire input is checked. Hosts are little endian (x86-64, arm64).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"

namespace weft::fabric {

inline constexpr size_t rails_max = 32;       // per wire; p5 has so many NICs a host
inline constexpr size_t ref_words_fixed = 2;  // of a RemoteRef, before the keys
inline constexpr size_t rail_name_max = 64;   // bytes of one endpoint address
inline constexpr size_t hello_bytes_max = 192;
inline constexpr size_t value_bytes_max = 8192 + 256;  // below the 8,928 bytes of one EFA packet

enum class MessageKind : uint8_t {
    hello = 1,  // warms a rail up and carries the Hello
    hello_ack,  // the sender of the hello is known here
    value,      // a put by value
    value_ack,  // the value with this word has arrived
    fence,      // asks the peer to finish what it has posted
    fence_ack,  // nothing the peer posted before is under way any more
    probe,      // says nothing: that it could be sent is what counts
    moved,      // a rail of the sender's has a new endpoint: Moved
    moved_ack,  // the new endpoint with this word is known, and this came to it
    lost,       // the sender cannot go on with the receiver: why, as text
    meet,       // between ports, not wires: the word is a MeetKind (handle.h)
};

struct MessageHeader {
    MessageKind kind = MessageKind::hello;
    uint8_t rail = 0;   // it was sent on, counted among those of the two wires
    uint8_t flags = 0;  // of values and fences, see below
    uint8_t zero = 0;
    uint32_t from_rank = 0;
    uint64_t to_wire = 0;  // uid of the receiving wire; a message for another one is dropped
    uint32_t imm = 0;
    uint32_t bytes = 0;  // of the body
    uint64_t word = 0;   // sequence of acknowledgements and fences
};
static_assert(sizeof(MessageHeader) == 32);
inline constexpr uint8_t value_wants_ack = 1;
inline constexpr uint8_t value_for_memory = 2;  // a put of no bytes to memory, not by value
inline constexpr uint8_t fence_hard = 1;        // give up rails where something is still under way
inline constexpr uint8_t fence_last = 2;        // and put nothing more
inline constexpr uint64_t fence_every = UINT64_MAX;  // acknowledged by a wire that goes
inline constexpr size_t message_bytes_max = sizeof(MessageHeader) + value_bytes_max;

// The header at the start of `bytes` if it is whole and agrees with their number.
std::optional<MessageHeader> message_parse(const std::byte* data, size_t bytes);

// What a peer says in words, fit for a line: cut, and nothing but printable characters.
inline constexpr size_t text_shown_max = 600;
std::string printable(std::string_view text);

struct Hello {
    uint64_t group = 0;
    uint64_t process = 0;  // uid of the sender's endpoint
    std::string_view blob;
};
std::string hello_encode(const Hello& hello);
std::optional<Hello> hello_parse(std::string_view text);

// The word says which rail, and which of its incarnations.
struct Moved {
    uint8_t rail = 0;
    uint32_t incarnation = 0;
    std::string_view endpoint;
};
uint64_t moved_word(const Moved& moved);
std::optional<Moved> moved_parse(uint64_t word, std::string_view endpoint);

struct WireAddress {
    uint64_t process = 0;            // uid of the process endpoint
    uint64_t wire = 0;               // uid of the wire
    std::vector<std::string> rails;  // fi_getname of each, in rail order
    bool operator==(const WireAddress&) const = default;
};
std::string address_encode(const WireAddress& address);
Result<WireAddress> address_parse(std::string_view text);

}  // namespace weft::fabric
