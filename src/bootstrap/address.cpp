#include "src/bootstrap/address.h"

#include <arpa/inet.h>
#include <strings.h>

#include <algorithm>
#include <charconv>

#include "src/base/log.h"

namespace weft {

std::string to_string(const NetAddress& address) {
    char text[INET6_ADDRSTRLEN] = "?";
    inet_ntop(address.v6 ? AF_INET6 : AF_INET, address.ip.data(), text, sizeof text);
    return format(address.v6 ? "[%s]:%u" : "%s:%u", text, unsigned{address.port});
}

Result<NetAddress> address_parse(std::string_view ip, uint16_t port) {
    NetAddress address;
    address.port = port;
    const std::string text(ip);
    if (inet_pton(AF_INET, text.c_str(), address.ip.data()) == 1) {
        return address;
    }
    address.v6 = true;
    if (inet_pton(AF_INET6, text.c_str(), address.ip.data()) == 1) {
        return address;
    }
    return make_error(Code::invalid_argument, Scope::call, "not an IP address: " + text);
}

Result<HostPort> host_port_parse(std::string_view text) {
    const auto refuse = [&](const char* why) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("'%.*s' is not an address: %s (accepted: ip:port, [ip6]:port, "
                   "host:port)",
                   static_cast<int>(std::min<size_t>(text.size(), 256)), text.data(), why));
    };
    const size_t colon = text.rfind(':');
    if (colon == text.npos) {
        return refuse("no port");
    }
    HostPort parsed;
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), parsed.port);
    if (failure != std::errc() || end != digits.data() + digits.size() || parsed.port == 0) {
        return refuse("the port must be 1 to 65535");
    }
    std::string_view host = text.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != host.npos) {
        return refuse("an IPv6 address needs brackets");
    }
    if (host.empty() || host.size() > 253) {
        return refuse("no host");
    }
    parsed.host = host;
    return parsed;
}

void address_write(ByteWriter& out, const NetAddress& address) {
    out.u8(address.v6 ? 6 : 4).u16(address.port);
    out.raw(std::span<const uint8_t>(address.ip).first(address.v6 ? 16 : 4));
}

Result<NetAddress> address_read(ByteReader& in) {
    NetAddress address;
    const uint8_t family = TRY(in.u8());
    if (family != 4 && family != 6) {
        return make_error(Code::remote, Scope::peer, "message has an address of unknown family");
    }
    address.v6 = family == 6;
    address.port = TRY(in.u16());
    const std::string_view ip = TRY(in.raw(address.v6 ? 16 : 4));
    std::copy(ip.begin(), ip.end(), address.ip.begin());
    return address;
}

namespace {

struct NameFilter {
    bool exact = false;
    bool exclude = false;
    std::vector<std::string> names;

    bool accepts(const std::string& name) const {
        const bool listed = std::any_of(names.begin(), names.end(), [&](const std::string& entry) {
            return exact ? name == entry : name.compare(0, entry.size(), entry) == 0;
        });
        return listed != exclude;
    }
};

NameFilter filter_parse(std::string_view list) {
    NameFilter filter;
    while (!list.empty() && (list.front() == '^' || list.front() == '=')) {
        filter.exclude = filter.exclude || list.front() == '^';
        filter.exact = filter.exact || list.front() == '=';
        list.remove_prefix(1);
    }
    while (!list.empty()) {
        const std::string_view name = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), name.size() + 1));
        if (!name.empty()) {
            filter.names.emplace_back(name);
        }
    }
    return filter;
}

bool is_link_local(const NetAddress& address) {
    if (address.v6) {
        return address.ip[0] == 0xfe && (address.ip[1] & 0xc0) == 0x80;
    }
    return address.ip[0] == 169 && address.ip[1] == 254;
}

// Bridges that container engines make: up, addressed, and the same on every host.
bool is_private_bridge(const std::string& name) {
    return name.compare(0, 6, "docker") == 0 || name.compare(0, 5, "virbr") == 0;
}

std::string interfaces_text(const std::vector<NetInterface>& found) {
    std::string text;
    for (const NetInterface& one : found) {
        const std::string address = to_string(one.address);
        text += format("%s%s (%s%s)", text.empty() ? "" : ", ", one.name.c_str(),
                       address.substr(0, address.rfind(':')).c_str(), one.up ? "" : ", down");
    }
    return text.empty() ? "none" : text;
}

bool usable(const NetInterface& one, const NameFilter& filter, std::string_view family) {
    const bool by_name = !filter.names.empty() && !filter.exclude;
    if (!one.up || (!filter.names.empty() && !filter.accepts(one.name))) {
        return false;
    }
    if (!family.empty() && one.address.v6 != (strcasecmp(family.data(), "AF_INET6") == 0)) {
        return false;
    }
    // fe80 addresses need a scope that means nothing elsewhere; 169.254 is taken only by name.
    if (is_link_local(one.address)) {
        return by_name && !one.address.v6;
    }
    return by_name || !is_private_bridge(one.name);
}

}  // namespace

Result<std::vector<NetAddress>> interfaces_choose(const std::vector<NetInterface>& found,
                                                  std::string_view names, std::string_view family,
                                                  size_t most) {
    const NameFilter filter = filter_parse(names);
    const std::string family_text(family);
    std::vector<const NetInterface*> chosen;
    for (const NetInterface& one : found) {
        if (usable(one, filter, family_text)) {
            chosen.push_back(&one);
        }
    }
    if (chosen.empty()) {
        const std::string given =
            names.empty() ? "" : " for NCCL_SOCKET_IFNAME=" + std::string(names);
        return make_error(Code::system, Scope::process,
                          format("no usable network interface%s%s%s; there are: %s", given.c_str(),
                                 family.empty() ? "" : " with NCCL_SOCKET_FAMILY=",
                                 family_text.c_str(), interfaces_text(found).c_str()));
    }
    std::stable_sort(chosen.begin(), chosen.end(), [](const auto* a, const auto* b) {
        return std::pair(a->loopback, a->address.v6) < std::pair(b->loopback, b->address.v6);
    });
    // The last one stays when the list is cut: it is loopback, which reaches one's own host always.
    if (chosen.size() > most) {
        chosen[most - 1] = chosen.back();
        chosen.resize(most);
    }
    std::vector<NetAddress> addresses;
    for (const NetInterface* one : chosen) {
        addresses.push_back(one->address);
    }
    return addresses;
}

}  // namespace weft
