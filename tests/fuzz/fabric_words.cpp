// What fabric wires hear from each other, as any bytes: refused, or understood in the one way that
// encoding has.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "transports/fabric/handle.h"
#include "transports/fabric/message.h"

using namespace weft;
using namespace weft::fabric;

namespace {

void same(bool alike) {
    if (!alike) {
        std::abort();
    }
}

void handle_check(std::string_view text) {
    MeetingHandle bytes{};
    std::memcpy(bytes.data(), text.data(), std::min(text.size(), bytes.size()));
    const auto handle = handle_parse(bytes);
    if (handle.ok()) {
        same(handle_parse(handle_encode(handle.value())).value() == handle.value());
    }
    // The check sum hides the rest from a fuzzer that cannot guess it: names of any kind, encoded.
    PortAddress named{1 + text.size(), {}};
    for (std::string_view rest = text; !rest.empty() && named.rails.size() < rails_max;) {
        const size_t bytes_of_name =
            std::min<size_t>(1 + static_cast<uint8_t>(rest[0]) % rail_name_max, rest.size());
        named.rails.emplace_back(rest.substr(0, bytes_of_name));
        rest.remove_prefix(bytes_of_name);
    }
    if (!named.rails.empty()) {
        const PortAddress back = handle_parse(handle_encode(named)).value();
        same(back.port == named.port && !back.rails.empty() &&
             std::equal(back.rails.begin(), back.rails.end(), named.rails.begin()));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    handle_check(text);
    if (const auto ask = ask_parse(text)) {
        same(ask_encode(*ask) == text);
    }
    if (const auto address = address_parse(text); address.ok()) {
        same(address_encode(address.value()) == text);
    }
    if (const auto hello = hello_parse(text)) {
        same(hello_encode(*hello) == text);
    }
    if (const auto header = message_parse(reinterpret_cast<const std::byte*>(data), size)) {
        same(header->bytes == size - sizeof *header);
        const char* body = text.data() + sizeof *header;
        if (const auto moved = moved_parse(header->word, {body, header->bytes})) {
            same(moved_word(*moved) == header->word);
        }
    }
    const std::string shown = printable(text);
    same(std::ranges::all_of(shown, [](char c) { return c >= ' ' && c <= '~'; }));
    return 0;
}
