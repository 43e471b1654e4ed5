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

#include "transports/fabric/efa_devices.h"
#include "transports/fabric/environment.h"
#include "transports/fabric/lock_limit.h"
#include "transports/fabric/message.h"

namespace weft::fabric {

namespace {

constexpr const char* fallback_provider = "tcp;ofi_rxm";

// `net` has FI_WAIT_FD but its descriptor is always readable; shm and udp;ofi_rxd have none; efa
// has one from libfabric 2.3 on only.
constexpr ProviderTraits known_providers[] = {
    {"tcp;ofi_rxm", true, true, true, true, true},
    {"sockets", true, true, true, true},
    {"net", true, false, true, true},
    {"udp;ofi_rxd", true, false, true, true},
    {"shm", false, false, false, true},
    {"efa", false, false, true, false},
    {"efa-direct", false, false, true, false},
};

struct Ask {
    std::string provider;
    const char* source = nullptr;
    bool device_memory = false;
    bool receive_per_write = false;  // a peer's write may use up a receive buffer of ours
};

InfoPtr hints_make(const Library& library, const Ask& ask) {
    InfoPtr hints(library.dup_info(nullptr), InfoDelete{&library});
    if (!hints) {
        return hints;
    }
    hints->caps = FI_MSG | FI_RMA | (ask.device_memory ? FI_HMEM : 0);
    // Before 1.21 this is how EFA is told not to send over shared memory of its own to peers of the
    // same NIC: Weft has its own. From then on an option says it (features.cpp).
    if (ask.provider == "efa" && library.version() < FI_VERSION(1, 21)) {
        hints->caps |= FI_REMOTE_COMM;
    }
    hints->mode = FI_CONTEXT | FI_CONTEXT2 | (ask.receive_per_write ? FI_RX_CQ_DATA : 0);
    hints->ep_attr->type = FI_EP_RDM;
    // A local completion may only mean "in the socket buffer"; without this flag a provider cannot
    // say that the target has the bytes. It is asked per write, see rail.cpp.
    hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
                                  FI_MR_ENDPOINT | (ask.device_memory ? FI_MR_HMEM : 0);
    hints->domain_attr->cq_data_size = sizeof(uint32_t);
    hints->domain_attr->threading = FI_THREAD_SAFE;
    hints->fabric_attr->prov_name = strdup(ask.provider.c_str());
    return hints;
}

// All fi_info of a provider, restricted to a source address if one is given; empty if none, with
// libfabric's error.
std::vector<InfoPtr> infos_get(const Library& library, const Ask& ask, int* error = nullptr) {
    std::vector<InfoPtr> infos;
    InfoPtr hints = hints_make(library, ask);
    fi_info* list = nullptr;
    uint64_t flags = ask.source != nullptr ? FI_SOURCE | FI_NUMERICHOST : 0;
    const int rc = hints ? library.get_info(library.api_version, ask.source, nullptr, flags,
                                            hints.get(), &list)
                         : -FI_ENOMEM;
    if (rc != 0) {
        if (ask.device_memory) {
            Ask without = ask;
            without.device_memory = false;
            return infos_get(library, without, error);
        }
        if (error != nullptr) {
            *error = -rc;
        }
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
                                                const FabricOptions& options) {
    std::vector<RailChoice> rails;
    for (const std::string& source : TRY(sources_choose(interfaces_list(), options.rails))) {
        std::vector<InfoPtr> infos = infos_get(library, {provider, source.c_str()});
        if (infos.empty()) {
            return provider_missing(library, provider, " at source address " + source);
        }
        rails.push_back({source, std::move(infos.front())});
    }
    return rails;
}

// EFA's domains end in what kind of endpoint they have, which nobody need write.
bool names_domain(const std::string& wanted, const std::string& domain) {
    return wanted == domain || wanted + "-rdm" == domain;
}

Result<std::vector<RailChoice>> rails_by_domain(const Library& library, const std::string& provider,
                                                std::vector<InfoPtr> infos,
                                                const std::vector<std::string>& wanted) {
    std::vector<RailChoice> rails;
    std::vector<std::string> domains;
    for (InfoPtr& info : infos) {
        std::string domain = info->domain_attr->name;
        if (std::find(domains.begin(), domains.end(), domain) != domains.end()) {
            continue;
        }
        domains.push_back(domain);
        if (wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&](const auto& name) {
                return names_domain(name, domain);
            })) {
            rails.push_back({domain, std::move(info)});
        }
    }
    if (!rails.empty()) {
        return rails;
    }
    if (!wanted.empty() && !domains.empty()) {
        return make_error(
            Code::invalid_argument, Scope::process,
            format("WEFT_RAILS=%s names no rail of %s: there are %s", joined(wanted).c_str(),
                   provider.c_str(), joined(domains).c_str()));
    }
    return provider_missing(library, provider, "");
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

namespace {

std::vector<InfoPtr> infos_of(std::vector<InfoPtr> infos, bool direct) {
    std::erase_if(infos, [&](const InfoPtr& info) { return is_efa_direct(*info) != direct; });
    return infos;
}

// efa-direct hands a write to the NIC as it is; efa puts a protocol of its own between, in which a
// write may be emulated. Where writes always use up receive buffers, efa-direct is only offered to
// those who say they can live with that; who says so always gets it so.
std::vector<InfoPtr> efa_infos(const Library& library, std::string_view fabric,
                               const FabricOptions& options, int& error) {
    // Only EFA's: other providers that offer FI_HMEM copy with the CPU, which may wait for kernels.
    Ask ask{"efa", nullptr, options.device_memory};
    std::vector<InfoPtr> all = infos_get(library, ask, &error);
    if (fabric == "efa") {
        return infos_of(std::move(all), false);
    }
    const bool offered = std::any_of(all.begin(), all.end(),
                                     [](const InfoPtr& info) { return is_efa_direct(*info); });
    ask.receive_per_write = true;
    std::vector<InfoPtr> direct =
        infos_of(offered ? std::move(all) : infos_get(library, ask), true);
    if (!direct.empty() || fabric == "efa-direct") {
        return direct;
    }
    return infos_of(std::move(all), false);
}

bool asks_efa(const std::string& provider) {
    return provider == "efa" || provider == "efa-direct";
}

// libfabric 2 reads EFA's variables on any host, older ones only where there is a device.
Result<void> environment_prepare(const Library& library, const Environment& environment,
                                 const std::vector<EfaDevice>& devices, const std::string& asked) {
    const char* named = environment("FI_PROVIDER");
    const bool efa_may_run = !devices.empty() || asks_efa(asked) || named != nullptr;
    if (efa_may_run || library.version() >= FI_VERSION(2, 0)) {
        TRY(environment_check(environment, library.version(), efa_reads));
    }
    if (efa_may_run) {
        fork_prepare(environment);
    }
    return {};
}

Error efa_absent(const Library& library, const std::string& asked) {
    const uint32_t version = library.version();
    if (asked == "efa-direct" && !infos_get(library, {"efa"}).empty()) {
        return make_error(
            Code::unsupported, Scope::process,
            format("WEFT_PROVIDER=efa-direct: libfabric %u.%u (%s) offers efa here, not "
                   "efa-direct, which needs libfabric 2 and a NIC that reads and writes: unset it",
                   FI_MAJOR(version), FI_MINOR(version), library.path.c_str()));
    }
    return make_error(
        Code::unsupported, Scope::process,
        format("WEFT_PROVIDER=%s: this host has no EFA device (PCI vendor 1d0f) and "
               "libfabric %u.%u (%s) offers none: unset it",
               asked.c_str(), FI_MAJOR(version), FI_MINOR(version), library.path.c_str()));
}

// The infos of EFA; none where TCP is to be used.
Result<std::vector<InfoPtr>> efa_choose(const Library& library, const FabricOptions& options,
                                        std::string* concern) {
    const Environment environment = environment_own();
    const std::vector<EfaDevice> devices = efa_devices(sysfs_root(environment));
    TRY(environment_prepare(library, environment, devices, options.provider));
    if (!options.provider.empty() && !asks_efa(options.provider)) {
        return std::vector<InfoPtr>();
    }
    int error = FI_ENODATA;
    std::vector<InfoPtr> infos = efa_infos(library, options.provider, options, error);
    if (!infos.empty()) {
        return infos;
    }
    const bool hidden = !devices.empty() && infos_get(library, {"efa"}).empty();
    if (!hidden && asks_efa(options.provider)) {
        return efa_absent(library, options.provider);
    }
    if (hidden) {
        Error why = efa_unusable(library, devices, environment, error);
        if (!options.allow_tcp || !options.provider.empty()) {
            return why;
        }
        if (concern != nullptr) {
            *concern = why.what + ": it is set, and TCP is used";
        }
    }
    return infos;
}

}  // namespace

bool is_efa_direct(const fi_info& info) {
    return std::string_view(info.fabric_attr->name) == "efa-direct";
}

Result<std::vector<RailChoice>> rails_choose(const Library& library, const FabricOptions& options,
                                             std::string* concern) {
    std::vector<InfoPtr> efa = TRY(efa_choose(library, options, concern));
    std::string provider = !efa.empty()               ? "efa"
                           : options.provider.empty() ? fallback_provider
                                                      : options.provider;
    if (efa.empty() && !provider_traits(provider).by_source_address) {
        efa = infos_get(library, {provider});
    }
    auto rails = TRY(provider_traits(provider).by_source_address
                         ? rails_by_source(library, provider, options)
                         : rails_by_domain(library, provider, std::move(efa), options.rails));
    if (rails.size() > rails_max) {
        LOG(info, net, "%zu rails found, the first %zu are used", rails.size(), rails_max);
        rails.resize(rails_max);
    }
    if (provider == "efa" && environment_own()("SYSFS_PATH") == nullptr) {
        const fi_info& info = *rails.front().info;
        const uint64_t need =
            lock_need(rails.size(), is_efa_direct(info), (info.mode & FI_RX_CQ_DATA) != 0);
        TRY(lock_check(lock_limit(), need, options.memory_bytes));
    }
    return rails;
}

}  // namespace weft::fabric
