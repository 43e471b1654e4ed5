// Inside src/sim: ports and the flows through them.
//
// A flow is a message, or one piece of it, on its way from a sending to a receiving port. Large
// flows are sent in quanta, in the order of Turns; the head of each quantum reaches the receiving
// port one latency later and passes it first come, first served, cut through: where nothing else is
// under way, n bytes take latency + n * G. Flows of many senders thus share a receiving port by
// quanta, and a port is never idle while it has work. What waits for a receiving port waits in the
// network and does not hold up its sender's other flows. Small flows (up to a packet) wait for each
// other only; the time they take is added to the large flow they slip into.
// Thread rule: a value owned by one run.
#pragma once

#include <cstdint>
#include <vector>

#include "src/sim/events.h"
#include "src/sim/network.h"
#include "src/sim/simulate.h"

namespace weft::sim {

struct Flow {
    uint32_t message = 0;
    uint32_t from = 0, to = 0;  // ports
    uint32_t next = 0;          // in its sending port's turn
    uint64_t bytes = 0;         // on the wire
    uint64_t unsent = 0, unheard = 0;
    Picoseconds latency = 0;
    double slower = 1;  // across rails
    bool fair = false;  // takes turns with the others by quanta
};

class Wires {
  public:
    Wires(const Network& network, bool folded, EventQueue& queue);

    // Ports of a simulated rank: inside its host, or the NIC of a rail of its host.
    uint32_t intra_port(uint32_t rank) const { return nic_count_ + rank; }
    uint32_t nic_port(uint32_t rank, int32_t rail) const {
        return rank / ranks_per_host_ * rail_count_ + static_cast<uint32_t>(rail);
    }
    struct Cargo {
        uint32_t message = 0;
        uint64_t bytes = 0;
        uint64_t payload = 0;  // of the bytes, counts as data
        bool crosses = false;  // goes from one rail to another
        bool load = false;     // loads of many readers interleave whatever the order of puts
        Picoseconds late = 0;
    };
    void send(uint32_t from, uint32_t to, const Cargo& cargo, Picoseconds now);
    void on_sent(uint32_t port, Picoseconds now);
    void on_head(uint32_t flow, Picoseconds now);
    // Gives the flow back and returns its message.
    uint32_t on_arrived(uint32_t flow);
    Picoseconds latency(uint32_t port) const { return ports_[port].latency; }
    double rate(uint32_t port) const { return 1 / ports_[port].out.ps_per_byte; }

    uint32_t nic_count() const { return nic_count_; }
    NicReport report(uint32_t port) const;

  private:
    struct Side {
        double ps_per_byte = 0;
        Picoseconds gap = 0;
        Picoseconds busy = 0;
        Picoseconds small_free = 0;  // small flows are through
        Picoseconds large_free = 0;  // receiving: large ones are
        Traffic traffic;
    };
    struct Ports {
        Side out, in;
        Picoseconds latency = 0;
        uint32_t first = 0, last = 0;  // flows + 1 that wait for their turn
        uint32_t current = 0;          // flow + 1 that will want another turn
        bool sending = false;
        Picoseconds slipped = 0;  // small flows since the quantum began
    };
    void enqueue(Ports& port, uint32_t flow);
    void quantum_start(uint32_t port, Picoseconds now);
    uint64_t quantum(uint64_t left) const {
        return quantum_bytes_ == 0 || left < quantum_bytes_ ? left : quantum_bytes_;
    }
    void small_start(uint32_t flow, Picoseconds now);
    bool is_small(const Flow& flow) const { return flow.bytes <= packet_bytes_; }
    static Picoseconds hold(const Side& side, const Flow& flow, uint64_t bytes, bool opens);

    EventQueue& queue_;
    std::vector<Ports> ports_;
    std::vector<Flow> flows_;
    std::vector<uint32_t> free_;
    uint32_t nic_count_ = 0, rail_count_ = 0, ranks_per_host_ = 1;
    uint64_t quantum_bytes_ = 0, packet_bytes_ = 0;
    Turns turns_ = Turns::posted;
    double cross_slower_ = 1;
};

inline Picoseconds ps(double ns) {
    return static_cast<Picoseconds>(ns * 1000 + 0.5);
}

}  // namespace weft::sim
