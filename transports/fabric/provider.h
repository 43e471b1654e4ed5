// Which provider and which rails: from options and the machine to one fi_info per rail. Rails of IP
// providers are chosen by source address (domain-name hints are ignored by tcp;ofi_rxm, net,
// sockets and udp;ofi_rxd: every rail would land on the last interface); of the others by domain.
// Thread rule: reentrant.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "transports/fabric/library.h"
#include "transports/hubs.h"

namespace weft::fabric {

// How a provider departs from the common rules; everything else is read from its fi_info.
struct ProviderTraits {
    std::string_view name;
    bool by_source_address;  // rails are chosen by FI_SOURCE
    bool wait_fd;            // FI_WAIT_FD works and stays quiet when idle (measured)
    bool real_network;
    bool in_order;                 // one stream per pair of endpoints
    bool immediate_apart = false;  // only a small write carries it, see rail_write.cpp
};
ProviderTraits provider_traits(std::string_view provider);

struct InfoDelete {
    const Library* library = nullptr;
    void operator()(fi_info* info) const { library->free_info(info); }
};
using InfoPtr = std::unique_ptr<fi_info, InfoDelete>;

struct RailChoice {
    std::string name;  // source address or domain, as a human names the rail
    InfoPtr info;
};

// One interface of this machine as seen by the choice; pure, so that it can be tested.
struct Interface {
    std::string name;
    std::string address;  // numeric
    bool up = false;
    bool loopback = false;
    bool link_local = false;
    bool ipv6 = false;
    bool operator==(const Interface&) const = default;
};
std::vector<Interface> interfaces_list();

// Source addresses for `wanted` (addresses or interface names; empty: one per usable interface, the
// loopback if there is none).
Result<std::vector<std::string>> sources_choose(const std::vector<Interface>& interfaces,
                                                const std::vector<std::string>& wanted);

bool is_efa_direct(const fi_info& info);

// The provider: as asked, else EFA's efa-direct or efa, else tcp;ofi_rxm where the host has no EFA
// device. An EFA device that cannot be used is an error that says why, unless TCP may replace it,
// which is warned of. At most rails_max rails.
// `concern`: what the user should hear of though it goes on; null: nobody listens.
Result<std::vector<RailChoice>> rails_choose(const Library& library, const FabricOptions& options,
                                             std::string* concern = nullptr);

}  // namespace weft::fabric
