#include "transports/fabric/message.h"

#include <algorithm>
#include <cstring>

namespace weft::fabric {

namespace {

constexpr uint32_t address_magic = 0x31414657;  // "WFA1"

template <class T>
void append(std::string& text, T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
bool take(std::string_view& text, T& value) {
    if (text.size() < sizeof value) {
        return false;
    }
    std::memcpy(&value, text.data(), sizeof value);
    text.remove_prefix(sizeof value);
    return true;
}

bool take_rail(std::string_view& text, std::string& name) {
    uint8_t bytes = 0;
    if (!take(text, bytes) || bytes == 0 || bytes > rail_name_max || bytes > text.size()) {
        return false;
    }
    name = text.substr(0, bytes);
    text.remove_prefix(bytes);
    return true;
}

}  // namespace

std::optional<MessageHeader> message_parse(const std::byte* data, size_t bytes) {
    MessageHeader header;
    if (bytes < sizeof header) {
        return std::nullopt;
    }
    std::memcpy(&header, data, sizeof header);
    if (header.kind < MessageKind::hello || header.kind > MessageKind::meet ||
        header.rail >= rails_max || header.bytes != bytes - sizeof header) {
        return std::nullopt;
    }
    return header;
}

std::string printable(std::string_view text) {
    std::string kept(text.substr(0, text_shown_max));
    std::replace_if(
        kept.begin(), kept.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return kept;
}

std::string hello_encode(const Hello& hello) {
    std::string text;
    append(text, hello.group);
    append(text, hello.process);
    text += hello.blob;
    return text;
}

std::optional<Hello> hello_parse(std::string_view text) {
    Hello hello;
    if (!take(text, hello.group) || !take(text, hello.process) || text.size() > hello_bytes_max) {
        return std::nullopt;
    }
    hello.blob = text;
    return hello;
}

uint64_t moved_word(const Moved& moved) {
    return uint64_t{moved.incarnation} << 8 | moved.rail;
}

std::optional<Moved> moved_parse(uint64_t word, std::string_view endpoint) {
    const Moved moved{static_cast<uint8_t>(word & 0xff), static_cast<uint32_t>(word >> 8),
                      endpoint};
    if (moved.rail >= rails_max || endpoint.empty() || endpoint.size() > rail_name_max ||
        word >> 40 != 0) {
        return std::nullopt;
    }
    return moved;
}

std::string address_encode(const WireAddress& address) {
    std::string text;
    append(text, address_magic);
    append(text, address.process);
    append(text, address.wire);
    append(text, static_cast<uint8_t>(address.rails.size()));
    for (const std::string& rail : address.rails) {
        append(text, static_cast<uint8_t>(rail.size()));
        text += rail;
    }
    return text;
}

Result<WireAddress> address_parse(std::string_view text) {
    WireAddress address;
    uint32_t magic = 0;
    uint8_t count = 0;
    bool good = take(text, magic) && magic == address_magic && take(text, address.process) &&
                take(text, address.wire) && take(text, count) && count > 0 && count <= rails_max;
    if (good) {
        address.rails.resize(count);
    }
    for (size_t i = 0; good && i < count; ++i) {
        good = take_rail(text, address.rails[i]);
    }
    if (!good || !text.empty()) {
        return make_error(Code::remote, Scope::peer,
                          "the peer's address is not one of a fabric wire of this version: run the "
                          "same build on every rank");
    }
    return address;
}

}  // namespace weft::fabric
