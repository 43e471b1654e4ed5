#include "src/bootstrap/unique_id.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "src/bootstrap/address.h"
#include "tests/catch.h"

using namespace weft;

namespace {

UniqueId example(size_t v4, size_t v6) {
    UniqueId id;
    id.process_nonce = 0x1122334455667788;
    id.secret = std::string(32, 's');
    for (size_t i = 0; i < v4 + v6; ++i) {
        id.addresses.push_back(
            address_parse(i < v4 ? "10.0.0.1" : "fd00::1", static_cast<uint16_t>(1000 + i))
                .value());
    }
    return id;
}

}  // namespace

TEST_CASE("ids travel in 128 bytes", "[bootstrap][unique_id]") {
    for (const auto& [v4, v6] : {std::pair{0, 0}, {1, 0}, {1, 1}, {3, 2}, {0, 4}, {20, 0}}) {
        const UniqueId id = example(static_cast<size_t>(v4), static_cast<size_t>(v6));
        const UniqueIdBytes bytes = unique_id_encode(id);
        CHECK(unique_id_foreign(bytes).empty());
        const auto back = unique_id_decode(bytes);
        REQUIRE(back.ok());
        CHECK(back.value().process_nonce == id.process_nonce);
        CHECK(back.value().secret == id.secret);
        CHECK(!back.value().by_comm_id);
        CHECK(back.value().addresses.size() <= id.addresses.size());
        if (!id.addresses.empty()) {
            // What did not fit is left out, but never the last one.
            CHECK(back.value().addresses.back() == id.addresses.back());
            CHECK(back.value().addresses.size() >= std::min<size_t>(id.addresses.size(), 3));
        }
    }
}

TEST_CASE("foreign ids are named", "[bootstrap][unique_id]") {
    UniqueIdBytes id{};
    CHECK(unique_id_foreign(id).find("all zeros") != std::string::npos);
    for (size_t i = 0; i < 8; ++i) {
        id[i] = static_cast<uint8_t>(0x11 * i + 3);
    }
    id[8] = 10;  // AF_INET6
    id[20] = 1;
    CHECK(unique_id_foreign(id).find("NCCL") != std::string::npos);
    id[127] = 1;
    CHECK(unique_id_foreign(id).find("no unique id") != std::string::npos);
    UniqueIdBytes own = unique_id_encode(example(1, 0));
    own[8] = 2;
    CHECK(unique_id_foreign(own).find("another version") != std::string::npos);
    own = unique_id_encode(example(1, 0));
    own[30] ^= 1;
    CHECK(unique_id_foreign(own).find("damaged") != std::string::npos);
    CHECK(!unique_id_decode(own).ok());
}

TEST_CASE("no bytes make the id parser misbehave", "[bootstrap][unique_id]") {
    std::mt19937_64 random(3);
    for (int i = 0; i < 20000; ++i) {
        UniqueIdBytes id = unique_id_encode(example(2, 1));
        for (uint64_t edits = 1 + random() % 6; edits > 0; --edits) {
            id[random() % id.size()] = static_cast<uint8_t>(random());
        }
        const auto back = unique_id_decode(id);
        CHECK((back.ok() || !back.error().what.empty()));
    }
}

TEST_CASE("realms differ by secret, not by how often they are made", "[bootstrap][unique_id]") {
    const std::string a(32, 'a');
    CHECK(realm_of_secret(a).id == realm_of_secret(a).id);
    CHECK(realm_of_secret(a).id != realm_of_secret(std::string(32, 'b')).id);
    CHECK(realm_of_comm_id("a").id == realm_of_comm_id("b").id);
    CHECK(realm_of_comm_id("a").secret != realm_of_comm_id("b").secret);
}

TEST_CASE("the secret comes from a private file or the environment", "[bootstrap][unique_id]") {
    Settings settings;
    CHECK(comm_id_secret(settings).value().empty());
    settings.secret = "from environment";
    CHECK(comm_id_secret(settings).value() == "from environment");
    const std::string path = "/tmp/weft-secret-" + std::to_string(getpid());
    std::ofstream(path) << "from file\n";
    settings.secret_file = path;
    chmod(path.c_str(), 0640);
    const auto open = comm_id_secret(settings);
    REQUIRE(!open.ok());
    CHECK(open.error().what.find("chmod 600 " + path) != std::string::npos);
    chmod(path.c_str(), 0400);
    CHECK(comm_id_secret(settings).value() == "from file");
    unlink(path.c_str());
    CHECK(!comm_id_secret(settings).ok());
}

TEST_CASE("the host key says which machine, or what it is told", "[bootstrap][unique_id]") {
    Settings settings;
    CHECK(host_key(settings) == host_key(settings));
    CHECK(host_key(settings).size() > 36);
    settings.host_id = "rack 7";
    CHECK(host_key(settings) == "rack 7");
}
