// The address handles of one rail: remote endpoints, inserted into the rail's address vector once
// however many wires use them, and taken out of it again when handles are scarce.
//
// A NIC keeps a handle for every remote *NIC* (EFA: 1,024, device attribute max_ah); libfabric
// shares one between the endpoints of a remote NIC, which it knows by the leading bytes of their
// addresses (EFA: the 16 bytes of the GID). So handles are counted by these bytes. When the limit
// is reached, the NIC that was used longest ago gives its handle up, if nothing is under way to any
// of its endpoints, none has anything left to put here and none was used for a while; its endpoints
// get an address back on next use.
//
// Thread rule: the rail's lock. Lifetime: address vector before this, this before endpoints'
// users. Failure rule: an Error that says the limit, what is in use and what to do.
#pragma once

#include <rdma/fabric.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft::fabric {

struct RemoteEndpoint {
    std::string name;                    // what fi_getname said there
    fi_addr_t address = FI_ADDR_UNSPEC;  // unspecified: given up while idle
    uint32_t users = 0;
    uint32_t under_way = 0;  // transmissions to it
    // Where one stream leads to it: how far it was written at most, and is known to be read there.
    // The stream may be older than this, so at first nothing is known: more than any segment.
    uint64_t stream_written = 65536, stream_read = 0;
    // Wires here that granted it something which it has not put yet; any thread.
    std::atomic<uint32_t> granted{0};
    Nanos used = 0;          // last sent to or heard from
    bool lost_told = false;  // a loss of a control message has been warned of
    // Of control messages and probes, under the rail's lock:
    Nanos reached = 0;         // when a control message last came there, 0: never
    std::string trouble;       // why the last that failed since did, empty: none
    bool absent = false;       // and its NIC says that there is no such endpoint
    uint32_t probes_lost = 0;  // in a row
};

struct AddressLimits {
    size_t nics_max = 0;   // handles, 0: no limit
    size_t nic_bytes = 0;  // leading bytes of an address that name its NIC, 0: all
    Nanos idle = 0;        // unused for so long, it may be given up
};
// max_ah of the EFA device attributes; the GID is the first 16 bytes of an EFA address.
inline constexpr AddressLimits efa_address_limits = {1024, 16, 2 * nanos_per_s};

class Addresses {
  public:
    using Insert = std::function<Result<fi_addr_t>(const std::string& name)>;
    using Remove = std::function<void(fi_addr_t)>;
    Addresses(AddressLimits limits, Insert insert, Remove remove)
        : limits_(limits), insert_(std::move(insert)), remove_(std::move(remove)) {}

    // Counted by name; the pointer is good until the last release.
    Result<RemoteEndpoint*> acquire(const std::string& name, Nanos now);
    // True when it was the last user: the endpoint is gone.
    bool release(RemoteEndpoint* endpoint);
    // Its address, inserted again if it had been given up.
    Result<fi_addr_t> use(RemoteEndpoint& endpoint, Nanos now);
    // The address vector is a new one: all are inserted again on next use.
    void vector_renewed();
    size_t nics() const { return nics_.size(); }

  private:
    std::string nic_of(const std::string& name) const;
    Result<void> room_make(Nanos now);
    bool idle(const std::string& nic, Nanos now, Nanos* used) const;
    void give_up(const std::string& nic);
    void forget(RemoteEndpoint& endpoint);

    const AddressLimits limits_;
    const Insert insert_;
    const Remove remove_;
    std::map<std::string, std::unique_ptr<RemoteEndpoint>> endpoints_;  // sorted: a NIC's together
    std::map<std::string, size_t> nics_;  // with a handle, and how many endpoints share it
};

}  // namespace weft::fabric
