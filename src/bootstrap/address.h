// Addresses as text and on the wire, and which interfaces of this machine to use. Thread rule:
// pure, reentrant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/base/bytes.h"
#include "src/bootstrap/net.h"

namespace weft {

std::string to_string(const NetAddress& address);  // "10.0.0.1:80", "[fd00::1]:80"
Result<NetAddress> address_parse(std::string_view ip, uint16_t port);  // a literal, no name

// The three forms of NCCL_COMM_ID; `host` is a literal without brackets, or a name.
struct HostPort {
    std::string host;
    uint16_t port = 0;
};
Result<HostPort> host_port_parse(std::string_view text);

void address_write(ByteWriter& out, const NetAddress& address);
Result<NetAddress> address_read(ByteReader& in);

// The addresses to listen on and to offer, best first, at most `most`. Without a list of names:
// every interface that is up, loopback last, never link-local, never docker's bridges. `names` is
// NCCL_SOCKET_IFNAME, `family` NCCL_SOCKET_FAMILY. An error names what there is.
Result<std::vector<NetAddress>> interfaces_choose(const std::vector<NetInterface>& found,
                                                  std::string_view names, std::string_view family,
                                                  size_t most);

}  // namespace weft
