#include "tools/efa_device/core/packet.h"

namespace weft::efa {

// fe80::HOST:efa0:NIC, all in network order: a link-local address, as the device's are.
Gid gid_make(uint32_t host, uint32_t nic) {
    Gid gid{};
    gid[0] = 0xfe;
    gid[1] = 0x80;
    for (size_t i = 0; i < 4; ++i) {
        gid[8 + i] = static_cast<uint8_t>(host >> (24 - 8 * i));
    }
    gid[12] = 0xef;
    gid[13] = 0xa0;
    gid[14] = static_cast<uint8_t>((nic + 1) >> 8);
    gid[15] = static_cast<uint8_t>(nic + 1);
    return gid;
}

uint32_t gid_host(const Gid& gid) {
    return uint32_t{gid[8]} << 24 | uint32_t{gid[9]} << 16 | uint32_t{gid[10]} << 8 | gid[11];
}

// An address that is none of ours has NIC 0xffff, which no host has.
uint32_t gid_nic(const Gid& gid) {
    const uint32_t number = uint32_t{gid[14]} << 8 | gid[15];
    const bool ours = gid[0] == 0xfe && gid[1] == 0x80 && gid[12] == 0xef && gid[13] == 0xa0;
    return ours && number != 0 ? number - 1 : 0xffff;
}

}  // namespace weft::efa
