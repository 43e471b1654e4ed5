#include "src/bootstrap/unique_id.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/base/sha256.h"
#include "src/bootstrap/address.h"

namespace weft {

namespace {

constexpr std::string_view magic = "WEFT-UID";
constexpr uint8_t version = 1;
constexpr size_t checksum_bytes = 8;
constexpr size_t body_bytes = std::tuple_size_v<UniqueIdBytes> - checksum_bytes;

std::string_view view(const UniqueIdBytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Digest checksum(std::string_view body) {
    return Sha256().update("weft unique id").update(body).finish();
}

// ncclBootstrapHandle: 8 bytes of magic, a sockaddr_in or sockaddr_in6, a few numbers, zeros.
bool looks_like_nccl(const UniqueIdBytes& bytes) {
    const unsigned family = bytes[8] | static_cast<unsigned>(bytes[9]) << 8;
    constexpr unsigned inet = 2;
    constexpr unsigned inet6 = 10;
    return (family == inet || family == inet6) &&
           std::all_of(bytes.begin() + 64, bytes.end(), [](uint8_t byte) { return byte == 0; });
}

}  // namespace

UniqueIdBytes unique_id_encode(const UniqueId& id) {
    ByteWriter out;
    out.raw(magic).u8(version).u8(id.by_comm_id ? 1 : 0).u64(id.process_nonce);
    out.raw(id.by_comm_id ? std::string(32, '\0') : id.secret);
    std::vector<NetAddress> chosen;
    size_t left = body_bytes - out.view().size() - 1;
    const auto bytes_of = [](const NetAddress& address) { return size_t{address.v6 ? 19U : 7U}; };
    if (!id.addresses.empty()) {
        left -= bytes_of(id.addresses.back());
        for (size_t i = 0; i + 1 < id.addresses.size(); ++i) {
            if (bytes_of(id.addresses[i]) <= left) {
                left -= bytes_of(id.addresses[i]);
                chosen.push_back(id.addresses[i]);
            }
        }
        chosen.push_back(id.addresses.back());
    }
    out.u8(static_cast<uint8_t>(chosen.size()));
    for (const NetAddress& address : chosen) {
        address_write(out, address);
    }
    std::string body = out.take();
    ASSERT(body.size() <= body_bytes);
    body.resize(body_bytes, '\0');
    const Digest sum = checksum(body);
    UniqueIdBytes bytes{};
    std::copy(body.begin(), body.end(), bytes.begin());
    std::copy_n(sum.begin(), checksum_bytes, bytes.begin() + body_bytes);
    return bytes;
}

std::string unique_id_foreign(const UniqueIdBytes& id) {
    if (std::all_of(id.begin(), id.end(), [](uint8_t byte) { return byte == 0; })) {
        return "an empty id (all zeros: it was never made, or never reached this rank)";
    }
    const std::string_view bytes = view(id);
    if (bytes.substr(0, magic.size()) != magic) {
        return looks_like_nccl(id) ? "an id of NCCL: this rank and the one that made the id have "
                                     "loaded different libraries"
                                   : "bytes that are no unique id";
    }
    if (id[magic.size()] != version) {
        return format("an id of another version of Weft (format %u, this one is %u)",
                      unsigned{id[magic.size()]}, unsigned{version});
    }
    const Digest sum = checksum(bytes.substr(0, body_bytes));
    if (bytes.substr(body_bytes) != digest_view(sum).substr(0, checksum_bytes)) {
        return "a damaged id of Weft";
    }
    return {};
}

Result<UniqueId> unique_id_decode(const UniqueIdBytes& bytes) {
    const std::string foreign = unique_id_foreign(bytes);
    if (!foreign.empty()) {
        return make_error(Code::invalid_argument, Scope::call, "the unique id is " + foreign);
    }
    ByteReader in(view(bytes).substr(magic.size() + 1, body_bytes - magic.size() - 1));
    UniqueId id;
    id.by_comm_id = TRY(in.u8()) != 0;
    id.process_nonce = TRY(in.u64());
    id.secret = TRY(in.raw(32));
    const uint8_t count = TRY(in.u8());
    for (uint8_t i = 0; i < count; ++i) {
        id.addresses.push_back(TRY(address_read(in)));
    }
    return id;
}

Realm realm_of_secret(const std::string& secret) {
    Realm realm;
    const Digest name = Sha256().update("weft realm").update(secret).finish();
    std::copy_n(name.begin(), realm.id.size(), realm.id.begin());
    realm.secret = secret;
    return realm;
}

Realm realm_of_comm_id(const std::string& secret) {
    Realm realm;
    const Digest name = sha256("weft comm id");
    std::copy_n(name.begin(), realm.id.size(), realm.id.begin());
    realm.secret = digest_view(hmac_sha256(secret, "weft comm id secret"));
    return realm;
}

Result<std::string> comm_id_secret(const Settings& settings) {
    if (settings.secret_file.empty()) {
        return settings.secret;
    }
    const std::string& path = settings.secret_file;
    struct stat facts {};
    if (stat(path.c_str(), &facts) != 0) {
        return make_error(
            Code::invalid_usage, Scope::process,
            format("WEFT_SECRET_FILE: cannot read %s: %s", path.c_str(), strerror(errno)), errno);
    }
    if ((facts.st_mode & 077) != 0) {
        return make_error(Code::invalid_usage, Scope::process,
                          format("WEFT_SECRET_FILE: others may read %s (mode %03o); run: chmod 600 "
                                 "%s",
                                 path.c_str(), unsigned{facts.st_mode} & 0777U, path.c_str()));
    }
    const std::string secret = trimmed(TRY(file_read(path, 4096)));
    if (secret.empty()) {
        return make_error(Code::invalid_usage, Scope::process,
                          format("WEFT_SECRET_FILE: %s is empty", path.c_str()));
    }
    return secret;
}

}  // namespace weft
