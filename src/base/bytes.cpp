#include "src/base/bytes.h"

#include "src/base/log.h"

namespace weft {

ByteWriter& ByteWriter::number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) {
        bytes_.push_back(static_cast<char>(value >> (8 * i)));
    }
    return *this;
}

ByteWriter& ByteWriter::raw(std::string_view bytes) {
    bytes_.append(bytes);
    return *this;
}

ByteWriter& ByteWriter::raw(std::span<const uint8_t> bytes) {
    return raw(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

ByteWriter& ByteWriter::text(std::string_view bytes) {
    ASSERT(bytes.size() <= UINT32_MAX);
    return u32(static_cast<uint32_t>(bytes.size())).raw(bytes);
}

Result<std::string_view> ByteReader::raw(size_t bytes) {
    if (bytes > rest_.size()) {
        return make_error(
            Code::remote, Scope::peer,
            format("message cut short: %zu bytes wanted, %zu left", bytes, rest_.size()));
    }
    const std::string_view piece = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return piece;
}

Result<uint64_t> ByteReader::number(int bytes) {
    const std::string_view piece = TRY(raw(static_cast<size_t>(bytes)));
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; --i) {
        value = value << 8 | static_cast<uint8_t>(piece[static_cast<size_t>(i)]);
    }
    return value;
}

Result<uint8_t> ByteReader::u8() {
    return static_cast<uint8_t>(TRY(number(1)));
}
Result<uint16_t> ByteReader::u16() {
    return static_cast<uint16_t>(TRY(number(2)));
}
Result<uint32_t> ByteReader::u32() {
    return static_cast<uint32_t>(TRY(number(4)));
}
Result<uint64_t> ByteReader::u64() {
    return number(8);
}
Result<int32_t> ByteReader::i32() {
    return static_cast<int32_t>(TRY(u32()));
}
Result<int64_t> ByteReader::i64() {
    return static_cast<int64_t>(TRY(u64()));
}

Result<uint32_t> ByteReader::count(uint32_t limit) {
    const uint32_t value = TRY(u32());
    if (value > limit) {
        return make_error(
            Code::remote, Scope::peer,
            format("message names a length of %u, at most %u is allowed", value, limit));
    }
    return value;
}

Result<std::string_view> ByteReader::text(size_t limit) {
    const size_t cap = limit < UINT32_MAX ? limit : UINT32_MAX;
    return raw(TRY(count(static_cast<uint32_t>(cap))));
}

Result<void> ByteReader::end() const {
    if (rest_.empty()) {
        return {};
    }
    return make_error(Code::remote, Scope::peer,
                      format("message has %zu bytes too many", rest_.size()));
}

}  // namespace weft
