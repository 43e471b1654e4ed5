#include "transports/fabric/efa_file.h"

#include <arpa/inet.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "src/base/log.h"

namespace weft::fabric {

namespace {

// struct efa_ep_addr and the name made of it, alike from 1.14 to 1.20 (prov/efa/src, efa_shm.c).
struct RawAddress {
    in6_addr gid;
    uint16_t qpn;
    uint16_t pad;
    uint32_t qkey;
    uint64_t next;
};
static_assert(sizeof(RawAddress) == 32);

}  // namespace

std::string efa_file_name(std::string_view endpoint_name, uid_t user) {
    RawAddress raw{};
    char gid[INET6_ADDRSTRLEN] = "";
    if (endpoint_name.size() != sizeof raw) {
        return {};
    }
    std::memcpy(&raw, endpoint_name.data(), sizeof raw);
    inet_ntop(AF_INET6, &raw.gid, gid, sizeof gid);
    return format("%s_%04x_%08x_%04x", gid, raw.qpn, raw.qkey, user);
}

void efa_file_remove(std::string_view endpoint_name) {
    const std::string name = efa_file_name(endpoint_name, getuid());
    if (!name.empty()) {
        shm_unlink(("/" + name).c_str());
    }
}

}  // namespace weft::fabric
