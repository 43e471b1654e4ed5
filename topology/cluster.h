// The cluster graph that planning works with: hosts, their ranks and rails, what the levels cost.
// The same bytes on every rank, so its hash may be compared. Pure values. Thread rule: reentrant.
// Failure rule: one line; what was decoded is Code::remote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "src/base/sha256.h"

namespace weft::topology {

inline constexpr int32_t hosts_max = 65536;
inline constexpr int32_t host_ranks_max = 1024;
inline constexpr int32_t host_rails_max = 256;
inline constexpr int32_t ranks_max = 1 << 20;

// What one host brings: the ranks of the communicator that it holds, and how they reach others.
// Rates are bytes per second in one direction; a rate or latency of 0 is unknown.
struct Host {
    std::vector<std::vector<uint16_t>> rank_rails;  // by local rank: its rails, ascending
    std::vector<int64_t> rail_rates;                // by rail; its size is the number of rails
    int64_t local_rate = 0;  // one rank to the others of its host: NVLink, or shared memory
    int64_t local_latency_ns = 0;
    int64_t rail_latency_ns = 0;  // to another host
    bool operator==(const Host&) const = default;
    int32_t rank_count() const { return static_cast<int32_t>(rank_rails.size()); }
    int32_t rail_count() const { return static_cast<int32_t>(rail_rates.size()); }
};

// Hosts that follow each other and are alike.
struct Hosts {
    Host host;
    int32_t count = 1;
};

struct RankPlace {
    int32_t host = 0;
    int32_t local = 0;
    bool operator==(const RankPlace&) const = default;
};

struct Cluster {
    std::vector<Host> shapes;                      // all different, in the order of first use
    std::vector<int32_t> host_shape;               // by host
    std::vector<RankPlace> ranks;                  // by rank
    std::vector<std::vector<int32_t>> host_ranks;  // by host, then local rank: the rank
    bool operator==(const Cluster&) const = default;

    int32_t host_count() const { return static_cast<int32_t>(host_shape.size()); }
    int32_t rank_count() const { return static_cast<int32_t>(ranks.size()); }
    const Host& host(int32_t index) const {
        return shapes[static_cast<size_t>(host_shape[static_cast<size_t>(index)])];
    }
    const RankPlace& place(int32_t rank) const { return ranks[static_cast<size_t>(rank)]; }
    const std::vector<uint16_t>& rails(int32_t rank) const {
        return host(place(rank).host).rank_rails[static_cast<size_t>(place(rank).local)];
    }
    bool uniform() const { return shapes.size() == 1; }  // all hosts alike
};

// One host; every rank to its share of the rails in blocks, as rails.h says.
std::vector<std::vector<uint16_t>> rails_in_blocks(int32_t ranks, int32_t rails);

Result<void> host_check(const Host& host);

// Merges what the hosts said. Every local rank of every host is the place of exactly one rank.
Result<Cluster> cluster_of(const std::vector<Hosts>& hosts, std::vector<RankPlace> ranks);
Result<Cluster> cluster_in_blocks(const std::vector<Hosts>& hosts);  // rank 0 on host 0, and so on

// One host for the wire. Decoding accepts exactly what encoding makes.
std::string host_encode(const Host& host);
Result<Host> host_decode(std::string_view bytes);

Digest cluster_hash(const Cluster& cluster);

}  // namespace weft::topology
