#include "transports/fabric/handle.h"

#include <cstring>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/base/sha256.h"
#include "transports/fabric/message.h"

namespace weft::fabric {

namespace {

// magic (4), version (1), rails (1), port (8), then a length and the bytes of each rail's endpoint
// name; zeros; the beginning of the SHA-256 of all that (8).
constexpr std::string_view handle_magic = "WFTH";
constexpr uint8_t handle_version = 1;
constexpr size_t check_bytes = 8;
constexpr size_t checked_bytes = meeting_handle_used - check_bytes;
constexpr size_t features_max = 1024;

std::string_view check_of(const Digest& digest) {
    return digest_view(digest).substr(0, check_bytes);
}

Error not_ours(const char* why) {
    return make_error(
        Code::invalid_argument, Scope::call,
        format("the handle to connect to %s: the peer must load the same Weft as this "
               "process, and hand its 128 bytes over unchanged",
               why));
}

Result<PortAddress> body_parse(ByteReader in) {
    PortAddress handle;
    const uint8_t count = TRY(in.u8());
    handle.port = TRY(in.u64());
    for (uint8_t i = 0; i < count; ++i) {
        const uint8_t bytes = TRY(in.u8());
        const std::string_view name = TRY(in.raw(bytes));
        handle.rails.emplace_back(name);
    }
    return handle;
}

bool name_good(const std::string& name) {
    return !name.empty() && name.size() <= rail_name_max;
}

Result<Ask> ask_read(ByteReader in) {
    Ask ask;
    ask.port = TRY(in.u64());
    ask.group = TRY(in.u64());
    ask.endpoint = TRY(in.text(rail_name_max));
    ask.features = TRY(in.text(features_max));
    ask.address = TRY(in.text(wire_address_bytes_max));
    TRY(in.end());
    return ask;
}

}  // namespace

MeetingHandle handle_encode(const PortAddress& handle) {
    std::string names;
    uint8_t count = 0;
    constexpr size_t room = checked_bytes - handle_magic.size() - 2 - sizeof handle.port;
    static_assert(room > rail_name_max);
    for (const std::string& name : handle.rails) {
        ASSERT(name_good(name));
        if (names.size() + 1 + name.size() > room) {
            break;
        }
        names.append(1, static_cast<char>(name.size())).append(name);
        ++count;
    }
    ByteWriter out;
    out.raw(handle_magic).u8(handle_version).u8(count).u64(handle.port).raw(names);
    std::string text = out.take();
    text.resize(checked_bytes);
    const Digest digest = sha256(text);
    text += check_of(digest);
    MeetingHandle bytes{};
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
}

Result<PortAddress> handle_parse(const MeetingHandle& bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), meeting_handle_used);
    if (!text.starts_with(handle_magic)) {
        return not_ours("is not one of Weft's fabric transport");
    }
    const auto version = static_cast<uint8_t>(text[handle_magic.size()]);
    if (version != handle_version) {
        return not_ours(
            format("is of version %u, this is version %u", version, handle_version).c_str());
    }
    const Digest digest = sha256(text.substr(0, checked_bytes));
    if (check_of(digest) != text.substr(checked_bytes)) {
        return not_ours("has been changed on its way");
    }
    auto handle = body_parse(
        ByteReader(text.substr(handle_magic.size() + 1, checked_bytes - handle_magic.size() - 1)));
    bool good = handle.ok() && !handle.value().rails.empty() && handle.value().port != 0;
    for (size_t i = 0; good && i < handle.value().rails.size(); ++i) {
        good = name_good(handle.value().rails[i]);
    }
    if (!good) {
        return not_ours("names no endpoint");
    }
    return handle;
}

std::string ask_encode(const Ask& ask) {
    return ByteWriter()
        .u64(ask.port)
        .u64(ask.group)
        .text(ask.endpoint)
        .text(ask.features)
        .text(ask.address)
        .take();
}

std::optional<Ask> ask_parse(std::string_view text) {
    auto ask = ask_read(ByteReader(text));
    if (!ask.ok() || !name_good(ask.value().endpoint) || ask.value().port == 0) {
        return std::nullopt;
    }
    return std::move(ask).value();
}

}  // namespace weft::fabric
