// What a NIC has done, for tests to assert. Thread rule: written under the node's lock, read by
// anybody. Never fails.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::efa {

struct Counters {
    using Value = std::atomic<uint64_t>;
    Value sends{0};
    Value writes{0};
    Value writes_imm{0};
    Value reads{0};
    Value receives{0};      // completed receives
    Value packets{0};       // with payload or a read request, as sent; no acks
    Value packet_bytes{0};  // payload of them
    Value retransmits{0};
    Value duplicates{0};  // packets of which something was placed twice
    Value torn{0};        // packets placed in shuffled pieces
    Value reorders{0};    // packets that left before one of a lower number
    Value rnrs{0};
    Value drops{0};  // packets lost by a fault, or not deliverable
    Value stale_writes{0};
    Value errors{0};  // completions with a status that is not ok
    Value cq_overruns{0};
    Value backpressure{0};  // a receiver's ring was full
};

inline void count(Counters::Value& counter, uint64_t by = 1) {
    counter.fetch_add(by, std::memory_order_relaxed);
}

// One object with "host", "process", "seed" and "nics", an array with an object for each NIC.
struct CountersOf {
    std::string nic;
    const Counters* values = nullptr;
};
std::string counters_json(uint32_t host, uint32_t process, uint64_t seed,
                          const std::vector<CountersOf>& nics);

}  // namespace weft::efa
