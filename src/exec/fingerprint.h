// The arguments of a call, packed exactly: what every message carries and every receiver compares.
// Thread rule: values.
#pragma once

#include <cstdint>
#include <string>

#include "src/base/log.h"
#include "src/base/types.h"

namespace weft {

struct Args {
    uint64_t packed = 0;  // count 48 | coll 4 | type 4 | op 4 | on device 1 | 3 spare
    uint32_t root = 0;
    bool operator==(const Args&) const = default;
};

inline constexpr uint64_t args_on_device = 1ull << 60;

// A pair is matched by bytes: both sides state uint8 elements.
constexpr Args args_pack(Coll coll, uint64_t count, DataType type, RedOp op, int32_t root) {
    Args args;
    args.packed = (count & ((1ull << 48) - 1)) | static_cast<uint64_t>(coll) << 48 |
                  static_cast<uint64_t>(type) << 52 | static_cast<uint64_t>(op) << 56;
    args.root = static_cast<uint32_t>(root);
    return args;
}

inline std::string args_text(const Args& args) {
    const auto coll = static_cast<Coll>(args.packed >> 48 & 0xf);
    const auto type = static_cast<DataType>(args.packed >> 52 & 0xf);
    const auto op = static_cast<RedOp>(args.packed >> 56 & 0xf);
    const auto count = static_cast<unsigned long long>(args.packed & ((1ull << 48) - 1));
    if (coll == Coll::send_recv) {
        return format("%s of %llu bytes%s", to_string(coll), count,
                      (args.packed & args_on_device) != 0 ? " of GPUs' memory by their NICs" : "");
    }
    return format("%s count %llu type %s op %s root %u", to_string(coll), count, to_string(type),
                  to_string(op), args.root);
}

}  // namespace weft
