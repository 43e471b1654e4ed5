// Chance as a function: the same seed, sender, receiver and packet always decide the same, whoever
// asks, in whatever order. Pure. Thread rule: reentrant. Never fails.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "tools/efa_device/core/packet.h"

namespace weft::efa {

enum class Purpose : uint64_t { delay = 1, duplicate, arrives_twice, pieces, loss };

// The finalizer of splitmix64 (Steele, Lea, Flood, OOPSLA 2014), chained over the words.
constexpr uint64_t mixed(std::initializer_list<uint64_t> words) {
    uint64_t state = 0;
    for (const uint64_t word : words) {
        state = (state ^ word) + 0x9e3779b97f4a7c15;
        state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
        state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
        state ^= state >> 31;
    }
    return state;
}

// The epoch is left out: it differs between runs.
inline uint64_t decide(uint64_t seed, Purpose purpose, const PacketHeader& packet) {
    const uint64_t sender = uint64_t{gid_host(packet.source)} << 32 |
                            uint64_t{gid_nic(packet.source)} << 16 | packet.source_qpn;
    const uint64_t receiver = uint64_t{gid_host(packet.target)} << 32 |
                              uint64_t{gid_nic(packet.target)} << 16 | packet.target_qpn;
    const uint64_t what = static_cast<uint64_t>(packet.kind) << 8 | packet.attempt;
    return mixed({seed, static_cast<uint64_t>(purpose), sender, receiver, packet.message,
                  packet.packet, what});
}

inline constexpr uint32_t certain_ppm = 1'000'000;

inline bool happens(uint64_t decision, uint32_t ppm) {
    return decision % certain_ppm < ppm;
}

}  // namespace weft::efa
