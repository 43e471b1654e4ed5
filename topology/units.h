// Rates and latencies as people write them: "12.5GB/s", "100Gbit/s", "20us". Exact: what is printed
// parses back to the same number. Pure. Thread rule: reentrant. Failure rule: what is accepted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "src/base/result.h"

namespace weft::topology {

inline constexpr int64_t rate_max = 1'000'000'000'000'000;    // bytes per second
inline constexpr int64_t latency_max_ns = 1'000'000'000'000;  // a quarter of an hour

// Bytes per second from B/s, KB/s, MB/s, GB/s, TB/s (powers of 1000) or kbit/s, Mbit/s, Gbit/s.
Result<int64_t> rate_parse(std::string_view text);
std::string rate_text(int64_t bytes_per_s);  // "unknown" for 0

// For people: four digits, "15.75GB/s".
std::string rate_rounded(int64_t bytes_per_s);

// Nanoseconds from ns, us, ms, s.
Result<int64_t> latency_parse(std::string_view text);
std::string latency_text(int64_t ns);  // "unknown" for 0

// A whole number without sign, base 10.
Result<int64_t> count_parse(std::string_view text, int64_t least, int64_t most);

}  // namespace weft::topology
