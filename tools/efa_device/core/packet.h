// What travels between software NICs. Numbers are the device's: 8,928-byte packets and the status
// codes of efa_io_defs.h in rdma-core's EFA provider. Values; no failure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weft::efa {

inline constexpr uint32_t packet_payload_max = 8928;
inline constexpr uint64_t rdma_bytes_max = uint64_t{1} << 30;
inline constexpr uint32_t grh_bytes = 40;      // in front of what a UD receive gets
inline constexpr uint32_t placed_bytes = 128;  // what is placed at once
inline constexpr uint16_t ah_unknown = 0xffff;

using Gid = std::array<uint8_t, 16>;

// A GID says host and NIC; a queue pair number says process and queue pair. So a packet finds its
// way by its addresses alone.
Gid gid_make(uint32_t host, uint32_t nic);
uint32_t gid_host(const Gid& gid);
uint32_t gid_nic(const Gid& gid);  // 0xffff: not an address of ours
constexpr uint32_t qpn_make(uint32_t process, uint32_t index) {
    return (process + 1) << 8 | index;
}
constexpr uint32_t qpn_process(uint32_t qpn) {
    return (qpn >> 8) - 1;
}
inline constexpr uint32_t process_max = 254;  // numbers have 16 bits; 0 to 0xff are nobody's
inline constexpr uint32_t qp_per_process_max = 256;

enum class Status : uint8_t {
    ok = 0,
    flushed = 1,
    unsupported_op = 3,
    invalid_ah = 4,
    invalid_lkey = 5,
    local_bad_length = 6,
    bad_address = 7,
    remote_abort = 8,
    bad_dest_qpn = 9,
    rnr = 10,
    remote_bad_length = 11,
    bad_status = 12,
    unresponsive = 13,  // was heard before
    unknown_peer = 14,  // the receiver has no address handle of the sender's NIC
    unreachable = 15,   // was never heard
};

enum class PacketKind : uint8_t { send, write, read_request, read_response, ack };

enum PacketFlag : uint8_t {
    flag_immediate = 1,
    flag_unreliable = 2,    // UD: nobody answers
    flag_place_twice = 4,   // some 128-byte pieces are placed a second time
    flag_place_pieces = 8,  // in shuffled pieces
    flag_stale = 16,        // a copy that a fault kept back: placed, never counted or answered
};

struct PacketHeader {
    PacketKind kind = PacketKind::send;
    uint8_t flags = 0;
    Status status = Status::ok;  // of an ack
    uint8_t attempt = 0;
    uint32_t payload_bytes = 0;
    Gid source{};
    Gid target{};
    uint32_t source_qpn = 0;
    uint32_t target_qpn = 0;
    uint32_t qkey = 0;
    uint32_t immediate = 0;
    uint64_t epoch = 0;    // tells queue pairs apart that had the same number one after the other
    uint64_t message = 0;  // of the sending queue pair, from 0
    uint32_t packet = 0;   // of the message
    uint32_t rkey = 0;
    uint64_t message_bytes = 0;
    uint64_t remote_address = 0;  // of the message's first byte
    uint64_t decision = 0;        // what chance decided, for the receiver's part of it
    uint64_t rnr_try = 0;         // how often the receiver was not ready, as far as the sender knew
};
static_assert(sizeof(PacketHeader) == 112);

constexpr uint32_t packet_count(uint64_t bytes) {
    return bytes == 0
               ? 1
               : static_cast<uint32_t>((bytes + packet_payload_max - 1) / packet_payload_max);
}
constexpr uint64_t packet_offset(uint32_t packet) {
    return uint64_t{packet} * packet_payload_max;
}
constexpr uint32_t packet_bytes(uint64_t message_bytes, uint32_t packet) {
    const uint64_t left = message_bytes - packet_offset(packet);
    return static_cast<uint32_t>(left < packet_payload_max ? left : packet_payload_max);
}

}  // namespace weft::efa
