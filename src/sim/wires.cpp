#include "src/sim/wires.h"

#include <algorithm>

namespace weft::sim {

Wires::Wires(const Network& network, bool folded, EventQueue& queue)
    : queue_(queue),
      rail_count_(static_cast<uint32_t>(network.rails.size())),
      ranks_per_host_(static_cast<uint32_t>(network.ranks_per_host)),
      quantum_bytes_(network.quantum_bytes),
      packet_bytes_(network.packet_bytes),
      turns_(network.turns),
      cross_slower_(1 / network.cross_rail_rate) {
    const uint32_t hosts = folded ? 1 : static_cast<uint32_t>(network.hosts);
    nic_count_ = hosts * rail_count_;
    ports_.resize(nic_count_ + hosts * ranks_per_host_);
    for (uint32_t i = 0; i < ports_.size(); i++) {
        const bool nic = i < nic_count_;
        const Port& port = nic ? network.rails[i % rail_count_] : network.intra;
        double rate = port.bytes_per_ns;
        for (const RailFault& fault : network.faults) {
            const uint32_t at =
                static_cast<uint32_t>(fault.host) * rail_count_ + static_cast<uint32_t>(fault.rail);
            rate *= nic && at == i ? fault.rate : 1;
        }
        ports_[i].latency = ps(port.latency_ns);
        ports_[i].out.ps_per_byte = ports_[i].in.ps_per_byte = 1000 / rate;
        ports_[i].out.gap = ports_[i].in.gap = ps(port.gap_ns);
    }
}

// The gap counts once per flow, with its first quantum.
Picoseconds Wires::hold(const Side& side, const Flow& flow, uint64_t bytes, bool opens) {
    const double time = static_cast<double>(bytes) * side.ps_per_byte * flow.slower;
    const auto whole = static_cast<Picoseconds>(time + 0.5);
    return opens ? std::max(whole, side.gap) : whole;
}

void Wires::send(uint32_t from, uint32_t to, const Cargo& cargo, Picoseconds now) {
    if (free_.empty()) {
        free_.push_back(static_cast<uint32_t>(flows_.size()));
        flows_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    Flow& flow = flows_[index];
    flow = Flow{};
    flow.message = cargo.message;
    flow.from = from;
    flow.to = to;
    flow.bytes = flow.unsent = flow.unheard = cargo.bytes;
    flow.latency = ports_[from].latency + cargo.late;
    flow.slower = cargo.crosses ? cross_slower_ : 1;
    flow.fair = cargo.load || turns_ == Turns::fair;
    Ports& port = ports_[from];
    for (Traffic* traffic : {&port.out.traffic, &ports_[to].in.traffic}) {
        traffic->payload_bytes += cargo.payload;
        (cargo.payload > 0 ? traffic->data_messages : traffic->other_messages)++;
    }
    if (is_small(flows_[index])) {
        small_start(index, now);
        return;
    }
    enqueue(port, index);
    if (!port.sending) {
        // Small flows posted before go first.
        port.slipped = std::max<Picoseconds>(0, port.out.small_free - now);
        quantum_start(from, now);
    }
}

void Wires::small_start(uint32_t index, Picoseconds now) {
    Flow& flow = flows_[index];
    Ports& port = ports_[flow.from];
    const Picoseconds held = hold(port.out, flow, flow.bytes, true);
    const Picoseconds begin = std::max(now, port.out.small_free);
    port.out.small_free = begin + held;
    port.out.busy += held;
    port.slipped += held;
    queue_.push(begin + flow.latency, EventKind::head, index);
}

void Wires::enqueue(Ports& port, uint32_t flow) {
    flows_[flow].next = 0;
    if (port.first == 0) {
        port.first = flow + 1;
    } else {
        flows_[port.last - 1].next = flow + 1;
    }
    port.last = flow + 1;
}

// After its last quantum a flow is the receiving port's: it may be gone before the gap is over.
void Wires::quantum_start(uint32_t at, Picoseconds now) {
    Ports& port = ports_[at];
    const uint32_t index = port.first - 1;
    Flow& flow = flows_[index];
    port.first = flow.next;
    const uint64_t bytes = quantum(flow.unsent);
    const Picoseconds held = hold(port.out, flow, bytes, flow.unsent == flow.bytes);
    const Picoseconds begin = now + port.slipped;
    port.slipped = 0;
    flow.unsent -= bytes;
    port.current = flow.unsent > 0 ? index + 1 : 0;
    port.sending = true;
    port.out.busy += held;
    queue_.push(begin + flow.latency, EventKind::head, index);
    queue_.push(begin + held, EventKind::sent, at);
}

void Wires::on_sent(uint32_t at, Picoseconds now) {
    Ports& port = ports_[at];
    if (port.current != 0 && !flows_[port.current - 1].fair) {
        flows_[port.current - 1].next = port.first;
        port.first = port.current;
        port.last = flows_[port.current - 1].next == 0 ? port.current : port.last;
    } else if (port.current != 0) {
        enqueue(port, port.current - 1);
    }
    port.sending = port.first != 0;
    if (port.sending) {
        quantum_start(at, now);
    }
}

// A receiving port faster than the sending one is free for others between the bytes.
void Wires::on_head(uint32_t index, Picoseconds now) {
    Flow& flow = flows_[index];
    Side& side = ports_[flow.to].in;
    const bool small = is_small(flow);
    const uint64_t bytes = small ? flow.bytes : quantum(flow.unheard);
    const Picoseconds held = hold(side, flow, bytes, flow.unheard == flow.bytes);
    const Picoseconds sending = hold(ports_[flow.from].out, flow, bytes, false);
    Picoseconds& free = small ? side.small_free : side.large_free;
    const Picoseconds begin = std::max(now, free);
    free = begin + held;
    side.busy += held;
    if (small && side.large_free > begin) {
        side.large_free += held;
    }
    flow.unheard -= bytes;
    if (flow.unheard == 0) {
        // The gap keeps the port from the next message, not this one from its reader.
        const Picoseconds passing = hold(side, flow, bytes, false);
        queue_.push(std::max(begin + passing, now + sending), EventKind::arrived, index);
    }
}

uint32_t Wires::on_arrived(uint32_t flow) {
    free_.push_back(flow);
    return flows_[flow].message;
}

NicReport Wires::report(uint32_t port) const {
    const Ports& at = ports_[port];
    NicReport report{at.out.traffic, at.in.traffic};
    report.sent.busy_ns = static_cast<double>(at.out.busy) / 1000;
    report.received.busy_ns = static_cast<double>(at.in.busy) / 1000;
    return report;
}

}  // namespace weft::sim
