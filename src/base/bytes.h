// The one way bytes go on a wire: little endian, lengths in front, every read checked. Thread
// rule: values. Failure rule: a reader never looks past its end; what does not fit is an Error
// with Code::remote (whoever sent it is at fault).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "src/base/result.h"

namespace weft {

class ByteWriter {
  public:
    ByteWriter& u8(uint8_t value) { return number(value, 1); }
    ByteWriter& u16(uint16_t value) { return number(value, 2); }
    ByteWriter& u32(uint32_t value) { return number(value, 4); }
    ByteWriter& u64(uint64_t value) { return number(value, 8); }
    ByteWriter& i32(int32_t value) { return number(static_cast<uint32_t>(value), 4); }
    ByteWriter& i64(int64_t value) { return number(static_cast<uint64_t>(value), 8); }
    ByteWriter& raw(std::string_view bytes);          // no length
    ByteWriter& raw(std::span<const uint8_t> bytes);  // no length
    ByteWriter& text(std::string_view bytes);         // u32 length, then the bytes
    const std::string& view() const { return bytes_; }
    std::string take() { return std::move(bytes_); }

  private:
    ByteWriter& number(uint64_t value, int bytes);
    std::string bytes_;
};

// Borrows the bytes it reads.
class ByteReader {
  public:
    explicit ByteReader(std::string_view bytes) : rest_(bytes) {}
    explicit ByteReader(std::span<const uint8_t> bytes)
        : rest_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

    Result<uint8_t> u8();
    Result<uint16_t> u16();
    Result<uint32_t> u32();
    Result<uint64_t> u64();
    Result<int32_t> i32();
    Result<int64_t> i64();
    Result<std::string_view> raw(size_t bytes);
    Result<std::string_view> text(size_t limit);  // what text() wrote, at most `limit` bytes
    Result<uint32_t> count(uint32_t limit);       // a u32 that must not exceed `limit`
    Result<void> end() const;                     // an error if anything is left
    size_t left() const { return rest_.size(); }

  private:
    Result<uint64_t> number(int bytes);
    std::string_view rest_;
};

}  // namespace weft
