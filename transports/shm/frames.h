// What hubs say to each other, as bytes. Thread rule: reentrant. Failure rule: every field is
// checked; what does not parse is an Error.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/bytes.h"
#include "src/base/result.h"

namespace weft::shm {

inline constexpr size_t hello_bytes_max = 192;

enum class FrameType : uint8_t {
    greet = 1,       // the dialler's name
    offer = 2,       // a wire offers itself to a wire (3 descriptors)
    closed = 3,      // a wire is gone, for a wire
    want = 4,        // send me that range of library memory
    range = 5,       // here it is (1 descriptor), or there is none
    range_gone = 6,  // it was freed
};

// A wire of the sender and a wire of the receiver.
struct Ends {
    uint64_t from = 0, to = 0;
};

struct OfferFrame {
    Ends ends;
    uint64_t group = 0;
    uint32_t rank_count = 0;
    uint32_t block = 0;  // the receiver's in the offered segment: its name there
    uint64_t probe = 0;  // where the sender's nonce is in its memory
    std::array<uint8_t, 16> nonce{};
    std::string hello;
};

struct RangeFrame {
    uint64_t id = 0;
    uint64_t base = 0;
    uint64_t bytes = 0;  // 0: no such range
};

std::string frame_greet(std::string_view name);
std::string frame_offer(const OfferFrame& offer);
std::string frame_closed(Ends ends);
std::string frame_want(uint64_t id);
std::string frame_range(const RangeFrame& range);
std::string frame_range_gone(uint64_t id);

// After the type.
Result<std::string> greet_read(ByteReader& body);
Result<OfferFrame> offer_read(ByteReader& body);
Result<Ends> closed_read(ByteReader& body);
Result<uint64_t> id_read(ByteReader& body);  // want, range_gone
Result<RangeFrame> range_read(ByteReader& body);

// "shm:<hub>:<wire>"
struct ShmAddress {
    std::string hub;
    uint64_t wire = 0;
};
std::string address_write(const ShmAddress& address);
Result<ShmAddress> address_read(std::string_view text);

}  // namespace weft::shm
