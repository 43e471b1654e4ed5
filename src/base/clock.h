// Time as an argument. Only roots (engine, service thread, tests) read the clock; everything below
// is told `now`.
#pragma once

#include <cstdint>

namespace weft {

using Nanos = int64_t;  // monotonic nanoseconds
inline constexpr Nanos nanos_per_ms = 1'000'000;
inline constexpr Nanos nanos_per_s = 1'000'000'000;

Nanos clock_now();  // CLOCK_MONOTONIC

}  // namespace weft
