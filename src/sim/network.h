// The network a plan is priced on, as plain numbers: hosts that are all alike, their ranks, their
// rails (NICs), and what a message costs on the way. LogGP's terms, per level: latency (L, here
// alpha), overhead (o: post and completion), gap (g: a port's time per message) and time per byte
// (G: 1 / bytes_per_ns). 1 byte per ns = 1 GB/s. Thread rule: values.
// Reference: Alexandrov, Ionescu, Schauser, Scheiman, "LogGP", SPAA 1995.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"

namespace weft::sim {

// One port of a NIC or of a rank's connection inside its host. Sending and receiving are separate
// ports of the same kind.
struct Port {
    double bytes_per_ns = 1;
    double latency_ns = 0;  // from the first byte leaving this port to its arrival at the other
    double gap_ns = 0;      // a message holds the port at least this long: 1 / message rate
};

// What the rank's thread (or its proxy) pays per message of a level.
struct Overhead {
    double post_ns = 0;        // handing one message, or one piece of it, to the port
    double completion_ns = 0;  // noticing an arrival, or the delivery of an own put
    // Where the poster itself copies (shared memory): its thread is busy that long, besides the
    // port.
    double post_ns_per_byte = 0;
};

// Who does a rank's work. thread: one thread posts, completes, copies and reduces. memory: lanes
// compute at once but share the rank's memory bandwidth. lane: each lane has all of it.
enum class Workers : uint8_t { thread, memory, lane };

struct Compute {
    double copy_bytes_per_ns = 0;    // of the destination; 0: free
    double reduce_bytes_per_ns = 0;  // per source beyond the first (1/gamma); 0: free
    double step_ns = 0;              // interpreting one step
    Workers workers = Workers::memory;
};

// How a sending port serves several large messages. posted: in the order they were posted, as one
// send queue of a NIC does. fair: a quantum of each in turn.
enum class Turns : uint8_t { posted, fair };

// A NIC that is not like the others of its rail.
struct RailFault {
    int32_t host = 0;
    int32_t rail = 0;
    double rate = 1;  // share of the rail's rate that is left, > 0
};

struct Network {
    int32_t hosts = 1;
    int32_t ranks_per_host = 1;  // rank = host * ranks_per_host + local rank
    std::vector<Port> rails;     // of every host; more than one host needs at least one
    Port intra;                  // of every rank: NVLink, or its share of shared memory
    Overhead intra_overhead, inter_overhead;
    Compute compute;

    // Between unlike local ranks a rail carries only this share of its rate.
    double cross_rail_rate = 1;
    // A put is cut over the rails of its rank, in parts no smaller than this.
    uint64_t stripe_bytes_min = 64 << 10;
    // Large messages are served this many bytes at a time; 0: whole.
    uint64_t quantum_bytes = 64 << 10;
    Turns turns = Turns::posted;
    // Messages up to a packet slip in between the packets of larger ones. EFA's is about 8 KiB.
    uint32_t packet_bytes = 8 << 10;
    uint32_t header_bytes = 32;   // of every message by value
    uint32_t control_bytes = 96;  // a grant or expose, header included
    std::vector<RailFault> faults;

    int32_t rank_count() const { return hosts * ranks_per_host; }
    int32_t host_of(int32_t rank) const { return rank / ranks_per_host; }
    int32_t local_of(int32_t rank) const { return rank % ranks_per_host; }
    // Rails [first, first + count) are nearest to this local rank. Fewer rails than ranks: shared.
    struct OwnRails {
        int32_t first = 0, count = 1;
    };
    OwnRails own_rails(int32_t local) const;
};

Result<void> network_check(const Network& network);

// The parts a put of `bytes` is cut into: at most one per own rail.
uint32_t pieces_of(const Network& network, uint64_t bytes, int32_t own_rails);

}  // namespace weft::sim
