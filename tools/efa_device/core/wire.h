// What carries packets between processes. Lossless: what was taken arrives; loss is the scheduler's
// business. Thread rule: called under the node's lock. Failure rule: back-pressure and absence are
// values, not errors.
#pragma once

#include <span>

#include "tools/efa_device/core/packet.h"

namespace weft::efa {

enum class Pushed : uint8_t { yes, full, absent };

struct Bytes {
    const void* data = nullptr;
    uint32_t length = 0;
};

struct Arrived {
    const PacketHeader* header = nullptr;
    const std::byte* payload = nullptr;
};

class Wire {
  public:
    virtual ~Wire() = default;
    // Copies the packet to where process `qpn_process(target_qpn)` of host `gid_host(target)` is.
    virtual Pushed push(const PacketHeader& packet, std::span<const Bytes> payload) = 0;
    // False once that process is known to have ended, or if there never was one.
    virtual bool alive(uint32_t host, uint32_t process) = 0;
    // The next packet for this process, borrowed until pop(); header nullptr: none.
    virtual Arrived front() = 0;
    virtual void pop() = 0;
    // Everything that was pushed has been taken by whom it was for, as far as they live.
    virtual bool drained() = 0;
};

}  // namespace weft::efa
