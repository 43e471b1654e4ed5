// Factories of the concrete transports. Only composition roots (src/comm, src/netplugin, tests)
// include this. A hub is what the wires of one process share; it outlives its wires.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/reactor.h"
#include "src/base/result.h"
#include "transports/doorbell.h"
#include "transports/meeting.h"
#include "transports/memory.h"
#include "transports/wire.h"

namespace weft {

struct WireConfig {
    uint64_t group = 0;  // same on all ranks of one communicator, different between communicators
    uint32_t rank = 0;   // this wire's own name towards its peers
    uint32_t rank_count = 1;
    Doorbell* doorbell = nullptr;  // borrowed for life: rung when something arrives
    std::vector<uint32_t> rails;   // of WireHub::rails_info(), ascending; empty: all there are
    // Registrations are shared with the other such wires of these rails, and with what is kept for
    // them: the end of this wire does not close its peer's access to memory that others hold.
    bool shares_memory = false;
};

// A NIC, or an interface, that wires may choose.
struct RailInfo {
    std::string name;            // as logs have it
    std::string address;         // PCI, of nics(); empty where the provider knows none
    std::string interface;       // of the operating system; empty where it has none
    uint64_t speed_mbps = 0;     // 0: unknown
    bool device_memory = false;  // memory of GPUs can be registered, and read back (Wire::flush)
    bool dmabuf = false;         // so can dma-bufs of it
};

// Memory that stays registered for wires that share theirs; counted where it overlaps. Its end
// takes the name back; what is in use of it then goes when it is let go.
class KeptMemory {
  public:
    virtual ~KeptMemory() = default;
};

class WireHub {
  public:
    virtual ~WireHub() = default;
    virtual Result<std::unique_ptr<Wire>> attach(const WireConfig& config) = 0;
    virtual std::string describe() const = 0;  // one INFO line: provider, rails, capabilities
    // PCI addresses of the NICs that wires may choose their rails from, in order. Empty: wires ride
    // all rails, for these are named by the user or no NICs that the provider knows.
    virtual std::vector<std::string> nics() const { return {}; }
    // What WireConfig::rails counts; known before any is open.
    virtual std::vector<RailInfo> rails_info() const { return {}; }
    // The largest put to one grant.
    virtual uint64_t grant_bytes_max() const { return 0; }
    // Registers the memory, of any kind, on the rails now, and names it as known until the answer
    // is destroyed (transports/memory.h), so that no wire of these rails registers it again.
    // Thread-safe.
    virtual Result<std::unique_ptr<KeptMemory>> keep(const MemoryRequest&,
                                                     const std::vector<uint32_t>&) {
        return make_error(Code::unsupported, Scope::call,
                          "memory is not registered for several wires over " + describe());
    }
    // What must be alike on all ranks that use the transport, as "name=value" lines.
    virtual std::string features() const { return ""; }
    // What the user should hear of once a job, known with the first wire; mostly empty.
    virtual std::string concern() const { return ""; }
    // For wires that have no control plane to meet by (transports/meeting.h). Not every transport
    // does it.
    virtual Result<std::unique_ptr<Listener>> listen(const MeetConfig&) { return cannot_meet(); }
    virtual Result<std::unique_ptr<PeerCall>> call(const MeetConfig&, const MeetingHandle&) {
        return cannot_meet();
    }
    // The process is about to end, on this thread: after return no other thread moves anything, for
    // the libraries below are taken down next.
    virtual void process_ends() {}

  private:
    Error cannot_meet() const {
        return make_error(Code::unsupported, Scope::call,
                          "no connections by handle over " + describe());
    }
};

// Peers in the same process (threads, or one thread with groups). Reactor unused.
std::unique_ptr<WireHub> loopback_hub_make();

// Peers on the same host: memfd rings exchanged over an abstract socket served by the reactor. No
// named files.
struct ShmOptions {
    bool cma = true;  // allow process_vm_readv (probed per pair all the same)
};
Result<std::unique_ptr<WireHub>> shm_hub_make(Reactor& reactor, const ShmOptions& options);

// libfabric RDM endpoints, loaded at run time.
// Bounds of a rail, for tests and unusual machines; 0 is what the provider is known to need.
struct FabricLimits {
    size_t queue_entries = 0;     // of each completion queue
    size_t address_handles = 0;   // remote NICs one NIC talks to at a time
    Nanos address_idle = 0;       // with address_handles: unused for so long, one may be given up
    uint64_t window_bytes = 0;    // of one memory registration
    uint64_t window_overlap = 0;  // with window_bytes: the largest grant
    // Whoever owns a wire always polls: no descriptor wakes anybody. A queue that could costs a
    // tenth of the latency of a small message on tcp;ofi_rxm (docs/MEASUREMENTS.md).
    bool no_sleepers = false;
};

struct FabricOptions {
    std::string library;  // path, empty: EFA's install folder, then the loader's
    // "tcp;ofi_rxm", "shm", ..., or one of EFA's fabrics, "efa-direct" or "efa". Empty: efa-direct,
    // else efa; tcp;ofi_rxm only where the host has no EFA device, or where it may replace them.
    std::string provider;
    std::vector<std::string>
        rails;               // source addresses or interface names, empty: one per usable interface
    bool allow_tcp = false;  // where EFA devices exist and cannot be used
    uint64_t memory_bytes = 0;  // most that will be registered for pools, 0: unknown
    uint64_t registered_bytes = uint64_t{32} << 30;  // most known memory that stays registered
    int64_t stage_bytes = -1;                        // of wires' Caps::stage_below; -1: by provider
    bool device_memory = false;  // ask for GPU memory (FI_HMEM), go on without where refused
    // A peer to which nothing gets through on a rail for so long has failed.
    Nanos reach_limit = 600 * nanos_per_s;
    FabricLimits limits;
};
Result<std::unique_ptr<WireHub>> fabric_hub_make(Reactor& reactor, const FabricOptions& options);

// Wraps any wire: seeded delays, reordering, duplicates, late stale writes, `again` storms,
// failure.
struct FaultSpec {
    uint64_t seed = 1;
    double delay = 0, reorder = 0, duplicate = 0, again = 0,
           stale = 0;  // probabilities per put or arrival
    int64_t delay_us_max = 500;
    int64_t fail_after_puts = -1;  // then on_failure for every peer
};
Result<FaultSpec> fault_parse(
    std::string_view text);  // "seed=7,delay=0.1,dup=0.05,..." one clear line on bad input
std::unique_ptr<Wire> fault_wrap(std::unique_ptr<Wire> inner, const FaultSpec& spec);

}  // namespace weft
