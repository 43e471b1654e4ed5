// What this process holds of the machine at one moment, as the kernel counts it. Reentrant. Failure
// rule: an Error where /proc cannot be read.
#pragma once

#include <cstdint>
#include <string>

#include "src/base/result.h"

namespace weft::netcheck {

struct Usage {
    uint64_t resident_kib = 0;
    uint64_t pinned_kib = 0;  // locked, or registered with a device that pins
    uint64_t descriptors = 0;
};
Result<Usage> usage_now();

std::string usage_pack(const Usage& usage);
Result<Usage> usage_unpack(const std::string& text);

}  // namespace weft::netcheck
