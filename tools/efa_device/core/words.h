// Words of the device's settings and fault scripts. Pure. Thread rule: reentrant. Failure rule: one
// line that says what was expected; the caller says where.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft::efa {

// "KEY=VALUE"; without '=' the value is empty.
std::pair<std::string_view, std::string_view> key_value(std::string_view word);

Result<int64_t> number_word(std::string_view value, int64_t least, int64_t most);
Result<Nanos> time_word(std::string_view value);       // 5us, 200ms, 2s
Result<int64_t> rate_word(std::string_view value);     // 250Mbit, 100Gbit/s, 12.5GB/s; 0: no limit
Result<uint32_t> chance_word(std::string_view value);  // 5%, 0.1%: in millionths
Error wrong(std::string what);

}  // namespace weft::efa
