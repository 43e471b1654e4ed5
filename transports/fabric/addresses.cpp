#include "transports/fabric/addresses.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft::fabric {

std::string Addresses::nic_of(const std::string& name) const {
    return limits_.nic_bytes == 0 ? name : name.substr(0, limits_.nic_bytes);
}

Result<RemoteEndpoint*> Addresses::acquire(const std::string& name, Nanos now) {
    auto& endpoint = endpoints_[name];
    if (endpoint == nullptr) {
        endpoint = std::make_unique<RemoteEndpoint>();
        endpoint->name = name;
    }
    endpoint->users++;
    const auto inserted = use(*endpoint, now);
    if (!inserted.ok()) {
        release(endpoint.get());
        return inserted.error();
    }
    return endpoint.get();
}

bool Addresses::release(RemoteEndpoint* endpoint) {
    if (--endpoint->users != 0) {
        return false;
    }
    forget(*endpoint);
    endpoints_.erase(endpoints_.find(endpoint->name));
    return true;
}

Result<fi_addr_t> Addresses::use(RemoteEndpoint& endpoint, Nanos now) {
    endpoint.used = now;
    if (endpoint.address != FI_ADDR_UNSPEC) {
        return endpoint.address;
    }
    const std::string nic = nic_of(endpoint.name);
    if (limits_.nics_max != 0 && nics_.size() >= limits_.nics_max && nics_.count(nic) == 0) {
        TRY(room_make(now));
    }
    endpoint.address = TRY(insert_(endpoint.name));
    nics_[nic]++;
    return endpoint.address;
}

void Addresses::forget(RemoteEndpoint& endpoint) {
    if (endpoint.address == FI_ADDR_UNSPEC) {
        return;
    }
    remove_(endpoint.address);
    endpoint.address = FI_ADDR_UNSPEC;
    const auto nic = nics_.find(nic_of(endpoint.name));
    if (--nic->second == 0) {
        nics_.erase(nic);
    }
}

void Addresses::vector_renewed() {
    for (auto& [name, endpoint] : endpoints_) {
        endpoint->address = FI_ADDR_UNSPEC;
    }
    nics_.clear();
}

// `used` becomes when the latest of its endpoints was used.
bool Addresses::idle(const std::string& nic, Nanos now, Nanos* used) const {
    *used = 0;
    for (auto at = endpoints_.lower_bound(nic); at != endpoints_.end() && nic_of(at->first) == nic;
         ++at) {
        const RemoteEndpoint& endpoint = *at->second;
        if (endpoint.under_way != 0 || endpoint.granted.load() != 0 ||
            now - endpoint.used < limits_.idle) {
            return false;
        }
        *used = std::max(*used, endpoint.used);
    }
    return true;
}

void Addresses::give_up(const std::string& nic) {
    for (auto at = endpoints_.lower_bound(nic); at != endpoints_.end() && nic_of(at->first) == nic;
         ++at) {
        forget(*at->second);
    }
}

Result<void> Addresses::room_make(Nanos now) {
    const std::string* oldest = nullptr;
    Nanos oldest_used = 0;
    for (const auto& [nic, count] : nics_) {
        Nanos used = 0;
        if (idle(nic, now, &used) && (oldest == nullptr || used < oldest_used)) {
            oldest = &nic;
            oldest_used = used;
        }
    }
    if (oldest == nullptr) {
        return make_error(
            Code::system, Scope::peer,
            format("all %zu address handles of this NIC are in use, one for each remote NIC, and "
                   "none was idle for %lld s: use more rails with fewer peers each, or plans with "
                   "fewer peers (NCCL_ALGO=hier)",
                   limits_.nics_max, static_cast<long long>(limits_.idle / nanos_per_s)));
    }
    give_up(std::string(*oldest));  // a copy: its entry goes
    return {};
}

}  // namespace weft::fabric
