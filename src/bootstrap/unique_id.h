// The 128 bytes that ncclGetUniqueId gives out: where the root is and the secret that proves
// membership. Thread rule: pure, reentrant.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "src/bootstrap/control.h"
#include "src/bootstrap/net.h"

namespace weft {

// A set of processes that share a secret: those that join with one unique id, and all groups
// derived from it. The id is public and only says which secret is meant.
using RealmId = std::array<uint8_t, 16>;
struct Realm {
    RealmId id{};
    std::string secret;  // 32 bytes
};

struct UniqueId {
    bool by_comm_id = false;     // made under NCCL_COMM_ID: nothing below counts
    uint64_t process_nonce = 0;  // the root's process
    std::string secret;          // 32 bytes
    std::vector<NetAddress> addresses;
};

// Offers as many addresses as fit, in order, and always the last one.
UniqueIdBytes unique_id_encode(const UniqueId& id);
Result<UniqueId> unique_id_decode(const UniqueIdBytes& bytes);  // names a foreign id in its error

Realm realm_of_secret(const std::string& secret);
// With NCCL_COMM_ID every process of the job is in this realm, whatever the address.
Realm realm_of_comm_id(const std::string& secret);

// The secret for NCCL_COMM_ID: WEFT_SECRET_FILE, which must be its owner's alone, else WEFT_SECRET,
// else empty.
Result<std::string> comm_id_secret(const Settings& settings);

}  // namespace weft
