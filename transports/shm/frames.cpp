#include "transports/shm/frames.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "src/base/log.h"
#include "transports/common/local_channel.h"

namespace weft::shm {

namespace {

constexpr uint32_t greet_magic = 0x57454654;
constexpr uint32_t greet_version = 1;

ByteWriter start(FrameType type) {
    ByteWriter writer;
    writer.u8(static_cast<uint8_t>(type));
    return writer;
}

std::string ends_write(FrameType type, Ends ends) {
    return start(type).u64(ends.from).u64(ends.to).take();
}

Result<Ends> ends_read(ByteReader& body) {
    Ends ends;
    ends.from = TRY(body.u64());
    ends.to = TRY(body.u64());
    return ends;
}

}  // namespace

std::string frame_greet(std::string_view name) {
    return start(FrameType::greet).u32(greet_magic).u32(greet_version).text(name).take();
}

std::string frame_offer(const OfferFrame& offer) {
    return start(FrameType::offer)
        .u64(offer.ends.from)
        .u64(offer.ends.to)
        .u64(offer.group)
        .u32(offer.rank_count)
        .u32(offer.block)
        .u64(offer.probe)
        .raw(std::span<const uint8_t>(offer.nonce))
        .text(offer.hello)
        .take();
}

std::string frame_closed(Ends ends) {
    return ends_write(FrameType::closed, ends);
}

std::string frame_want(uint64_t id) {
    return start(FrameType::want).u64(id).take();
}

std::string frame_range(const RangeFrame& range) {
    return start(FrameType::range).u64(range.id).u64(range.base).u64(range.bytes).take();
}

std::string frame_range_gone(uint64_t id) {
    return start(FrameType::range_gone).u64(id).take();
}

Result<std::string> greet_read(ByteReader& body) {
    const uint32_t magic = TRY(body.u32());
    const uint32_t version = TRY(body.u32());
    const std::string name(TRY(body.text(local::channel_name_bytes_max)));
    TRY(body.end());
    if (magic != greet_magic || version != greet_version || !local::channel_name_good(name)) {
        return make_error(
            Code::remote, Scope::peer,
            format("a greeting of another version (%u, ours is %u)", version, greet_version));
    }
    return name;
}

Result<OfferFrame> offer_read(ByteReader& body) {
    OfferFrame offer;
    offer.ends = TRY(ends_read(body));
    offer.group = TRY(body.u64());
    offer.rank_count = TRY(body.u32());
    offer.block = TRY(body.u32());
    offer.probe = TRY(body.u64());
    const std::string_view nonce = TRY(body.raw(offer.nonce.size()));
    std::copy(nonce.begin(), nonce.end(), offer.nonce.begin());
    offer.hello = TRY(body.text(hello_bytes_max));
    TRY(body.end());
    return offer;
}

Result<Ends> closed_read(ByteReader& body) {
    const Ends ends = TRY(ends_read(body));
    TRY(body.end());
    return ends;
}

Result<uint64_t> id_read(ByteReader& body) {
    const uint64_t id = TRY(body.u64());
    TRY(body.end());
    return id;
}

Result<RangeFrame> range_read(ByteReader& body) {
    RangeFrame range;
    range.id = TRY(body.u64());
    range.base = TRY(body.u64());
    range.bytes = TRY(body.u64());
    TRY(body.end());
    return range;
}

std::string address_write(const ShmAddress& address) {
    return "shm:" + address.hub + ":" + std::to_string(address.wire);
}

Result<ShmAddress> address_read(std::string_view text) {
    ShmAddress address;
    const size_t last = text.rfind(':');
    if (text.starts_with("shm:") && last > 4 && last != std::string_view::npos) {
        address.hub = text.substr(4, last - 4);
        const std::string_view number = text.substr(last + 1);
        const auto parsed =
            std::from_chars(number.data(), number.data() + number.size(), address.wire);
        if (parsed.ec == std::errc() && parsed.ptr == number.data() + number.size() &&
            local::channel_name_good(address.hub)) {
            return address;
        }
    }
    return make_error(Code::invalid_argument, Scope::peer,
                      format("\"%.*s\" is not the address of a shm wire",
                             static_cast<int>(std::min<size_t>(text.size(), 100)), text.data()));
}

}  // namespace weft::shm
