#include "transports/fabric/provider.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "transports/fabric/message.h"

namespace weft::fabric {

namespace {

constexpr const char* fallback_provider = "tcp;ofi_rxm";

// `net` has FI_WAIT_FD but its descriptor is always readable; shm and udp;ofi_rxd have none; efa
// has one from libfabric 2.3 on only.
constexpr ProviderTraits known_providers[] = {
    {"tcp;ofi_rxm", true, true, true, true},   {"sockets", true, true, true, true},
    {"net", true, false, true, true},          {"udp;ofi_rxd", true, false, true, true},
    {"shm", false, false, false, true},        {"efa", false, false, true, false},
    {"efa-direct", false, false, true, false},
};

InfoPtr hints_make(const Library& library, const std::string& provider) {
    InfoPtr hints(library.dup_info(nullptr), InfoDelete{&library});
    if (!hints) {
        return hints;
    }
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = FI_EP_RDM;
    // A local completion may only mean "in the socket buffer"; without this flag a provider cannot
    // say that the target has the bytes. It is asked per write, see rail.cpp.
    hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    hints->domain_attr->mr_mode =
        FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
    hints->domain_attr->cq_data_size = sizeof(uint32_t);
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->fabric_attr->prov_name = strdup(provider.c_str());
    return hints;
}

// All fi_info of a provider, restricted to a source address if one is given; empty if none.
std::vector<InfoPtr> infos_get(const Library& library, const std::string& provider,
                               const char* source) {
    std::vector<InfoPtr> infos;
    InfoPtr hints = hints_make(library, provider);
    fi_info* list = nullptr;
    uint64_t flags = source != nullptr ? FI_SOURCE | FI_NUMERICHOST : 0;
    if (!hints ||
        library.get_info(library.api_version, source, nullptr, flags, hints.get(), &list) != 0) {
        return infos;
    }
    InfoPtr owner(list, InfoDelete{&library});
    for (fi_info* info = list; info != nullptr; info = info->next) {
        if (info->domain_attr->cq_data_size >= sizeof(uint32_t)) {
            infos.emplace_back(library.dup_info(info), InfoDelete{&library});
            infos.back()->tx_attr->op_flags = 0;
        }
    }
    return infos;
}

bool link_local(const sockaddr* address) {
    if (address->sa_family == AF_INET) {
        uint32_t host = ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr);
        return (host & 0xffff0000u) == 0xa9fe0000u;  // 169.254/16
    }
    return IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

std::string numeric(const sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = "";
    const void* bytes =
        address->sa_family == AF_INET
            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr)
            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
    inet_ntop(address->sa_family, bytes, text, sizeof text);
    return text;
}

bool is_address(const std::string& text) {
    in6_addr bytes;
    return inet_pton(AF_INET, text.c_str(), &bytes) == 1 ||
           inet_pton(AF_INET6, text.c_str(), &bytes) == 1;
}

// An interface's best address: IPv4 before IPv6, never link-local.
const Interface* best_of(const std::vector<Interface>& interfaces, const std::string& name) {
    const Interface* best = nullptr;
    for (const Interface& interface : interfaces) {
        bool usable = interface.name == name && interface.up && !interface.link_local;
        if (usable && (best == nullptr || (best->ipv6 && !interface.ipv6))) {
            best = &interface;
        }
    }
    return best;
}

std::vector<std::string> names_of(const std::vector<Interface>& interfaces, bool loopback) {
    std::vector<std::string> names;
    for (const Interface& interface : interfaces) {
        if (interface.loopback == loopback && best_of(interfaces, interface.name) != nullptr &&
            std::find(names.begin(), names.end(), interface.name) == names.end()) {
            names.push_back(interface.name);
        }
    }
    return names;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text.append(text.empty() ? "" : ", ").append(name);
    }
    return text.empty() ? "none" : text;
}

Error provider_missing(const Library& library, const std::string& provider,
                       const std::string& detail) {
    return make_error(
        Code::unsupported, Scope::process,
        format("libfabric provider %s%s is not usable with %s (%u.%u): check WEFT_PROVIDER and "
               "WEFT_RAILS, `fi_info -p '%s'` lists what there is",
               provider.c_str(), detail.c_str(), library.path.c_str(), FI_MAJOR(library.version()),
               FI_MINOR(library.version()), provider.c_str()));
}

Result<std::vector<RailChoice>> rails_by_source(const Library& library, const std::string& provider,
                                                const std::vector<std::string>& wanted) {
    std::vector<RailChoice> rails;
    for (const std::string& source : TRY(sources_choose(interfaces_list(), wanted))) {
        std::vector<InfoPtr> infos = infos_get(library, provider, source.c_str());
        if (infos.empty()) {
            return provider_missing(library, provider, " at source address " + source);
        }
        rails.push_back({source, std::move(infos.front())});
    }
    return rails;
}

Result<std::vector<RailChoice>> rails_by_domain(const Library& library, const std::string& provider,
                                                const std::vector<std::string>& wanted) {
    std::vector<RailChoice> rails;
    std::set<std::string> seen;
    for (InfoPtr& info : infos_get(library, provider, nullptr)) {
        std::string domain = info->domain_attr->name;
        bool asked =
            wanted.empty() || std::find(wanted.begin(), wanted.end(), domain) != wanted.end();
        if (asked && seen.insert(domain).second) {
            rails.push_back({domain, std::move(info)});
        }
    }
    if (rails.empty()) {
        return provider_missing(library, provider,
                                wanted.empty() ? "" : " on rails " + joined(wanted));
    }
    return rails;
}

}  // namespace

ProviderTraits provider_traits(std::string_view provider) {
    for (const ProviderTraits& traits : known_providers) {
        if (traits.name == provider) {
            return traits;
        }
    }
    return {provider, true, false, true, true};
}

std::vector<Interface> interfaces_list() {
    std::vector<Interface> interfaces;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) {
        return interfaces;
    }
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        const sockaddr* address = entry->ifa_addr;
        if (address == nullptr ||
            (address->sa_family != AF_INET && address->sa_family != AF_INET6)) {
            continue;
        }
        interfaces.push_back({entry->ifa_name, numeric(address), (entry->ifa_flags & IFF_UP) != 0,
                              (entry->ifa_flags & IFF_LOOPBACK) != 0, link_local(address),
                              address->sa_family == AF_INET6});
    }
    freeifaddrs(list);
    return interfaces;
}

Result<std::vector<std::string>> sources_choose(const std::vector<Interface>& interfaces,
                                                const std::vector<std::string>& wanted) {
    std::vector<std::string> names = wanted;
    if (names.empty()) {
        names = names_of(interfaces, false);
    }
    if (names.empty()) {
        names = names_of(interfaces, true);
    }
    std::vector<std::string> sources;
    for (const std::string& name : names) {
        const Interface* interface = is_address(name) ? nullptr : best_of(interfaces, name);
        if (interface == nullptr && !is_address(name)) {
            return make_error(Code::invalid_argument, Scope::process,
                              format("rail %s is neither an address nor an interface that is up "
                                     "with an address: WEFT_RAILS may name %s, %s",
                                     name.c_str(), joined(names_of(interfaces, false)).c_str(),
                                     joined(names_of(interfaces, true)).c_str()));
        }
        sources.push_back(interface != nullptr ? interface->address : name);
    }
    if (sources.empty()) {
        return make_error(Code::system, Scope::process,
                          "no network interface is up, not even the loopback: `ip link set lo up`");
    }
    return sources;
}

Result<std::vector<RailChoice>> rails_choose(const Library& library, const FabricOptions& options) {
    std::string provider = options.provider;
    if (provider.empty()) {
        provider = infos_get(library, "efa", nullptr).empty() ? fallback_provider : "efa";
    }
    auto rails = TRY(provider_traits(provider).by_source_address
                         ? rails_by_source(library, provider, options.rails)
                         : rails_by_domain(library, provider, options.rails));
    if (rails.size() > rails_max) {
        LOG(info, net, "%zu rails found, the first %zu are used", rails.size(), rails_max);
        rails.resize(rails_max);
    }
    return rails;
}

}  // namespace weft::fabric
