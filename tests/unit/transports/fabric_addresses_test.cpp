// Address handles of a rail: counted by remote NIC, given up when idle, refused in one line.
#include <set>

#include "tests/catch.h"
#include "transports/fabric/addresses.h"

namespace weft::fabric {
namespace {

// An address vector that remembers what is in it.
struct Vector {
    std::set<fi_addr_t> inside;
    fi_addr_t next = 1;
    size_t inserted = 0;
    Addresses addresses;
    explicit Vector(AddressLimits limits)
        : addresses(
              limits,
              [this](const std::string&) -> Result<fi_addr_t> {
                  inserted++;
                  inside.insert(next);
                  return next++;
              },
              [this](fi_addr_t address) { REQUIRE(inside.erase(address) == 1); }) {}
    RemoteEndpoint* acquire(const std::string& name, Nanos now) {
        return addresses.acquire(name, now).value();
    }
};

std::string endpoint(int nic, int queue) {
    return "gid-of-the-nic-" + std::string(1, static_cast<char>('a' + nic)) + std::to_string(queue);
}

constexpr AddressLimits two = {2, 16, 10};

TEST_CASE("addresses: one insertion for all users of an endpoint") {
    Vector vector({});
    RemoteEndpoint* first = vector.acquire(endpoint(0, 1), 0);
    CHECK(vector.acquire(endpoint(0, 1), 0) == first);
    CHECK(vector.inserted == 1);
    CHECK_FALSE(vector.addresses.release(first));
    CHECK(vector.inside.size() == 1);
    CHECK(vector.addresses.release(first));
    CHECK(vector.inside.empty());
    CHECK(vector.addresses.nics() == 0);
}

TEST_CASE("addresses: endpoints of one NIC share its handle") {
    Vector vector(two);
    for (int queue = 0; queue < 5; queue++) {
        vector.acquire(endpoint(0, queue), 0);
    }
    vector.acquire(endpoint(1, 0), 0);
    CHECK(vector.addresses.nics() == 2);
    CHECK(vector.inside.size() == 6);
}

TEST_CASE("addresses: the NIC idle longest gives its handle up and gets it back on use") {
    Vector vector(two);
    RemoteEndpoint* old = vector.acquire(endpoint(0, 0), 0);
    RemoteEndpoint* same_nic = vector.acquire(endpoint(0, 1), 1);
    RemoteEndpoint* younger = vector.acquire(endpoint(1, 0), 5);
    RemoteEndpoint* third = vector.acquire(endpoint(2, 0), 20);
    CHECK(old->address == FI_ADDR_UNSPEC);
    CHECK(same_nic->address == FI_ADDR_UNSPEC);
    CHECK(younger->address != FI_ADDR_UNSPEC);
    CHECK(vector.addresses.nics() == 2);
    // Back again: now the younger one goes, and the third stays.
    REQUIRE(vector.addresses.use(*old, 21).ok());
    CHECK(old->address != FI_ADDR_UNSPEC);
    CHECK(younger->address == FI_ADDR_UNSPEC);
    CHECK(third->address != FI_ADDR_UNSPEC);
    CHECK(vector.addresses.release(younger));
    CHECK(vector.addresses.release(old));
    CHECK(vector.addresses.release(same_nic));
    CHECK(vector.addresses.release(third));
    CHECK(vector.inside.empty());
}

TEST_CASE("addresses: what is under way or was used lately keeps its handle") {
    Vector vector(two);
    RemoteEndpoint* busy = vector.acquire(endpoint(0, 0), 0);
    RemoteEndpoint* late = vector.acquire(endpoint(1, 0), 0);
    RemoteEndpoint* late_too = vector.acquire(endpoint(1, 1), 0);
    busy->under_way = 1;
    late_too->used = 95;
    const auto refused = vector.addresses.acquire(endpoint(2, 0), 100);
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().what, Catch::Contains("all 2 address handles") &&
                                         Catch::Contains("one for each remote NIC") &&
                                         Catch::Contains("NCCL_ALGO=hier"));
    CHECK(vector.addresses.nics() == 2);
    busy->under_way = 0;
    busy->granted = 1;
    CHECK_FALSE(vector.addresses.acquire(endpoint(2, 0), 100).ok());
    busy->granted = 0;
    CHECK(vector.addresses.acquire(endpoint(2, 0), 100).ok());
    CHECK(busy->address == FI_ADDR_UNSPEC);
    CHECK(late->address != FI_ADDR_UNSPEC);
}

TEST_CASE("addresses: a new vector has none of them, and takes each on its next use") {
    Vector vector(two);
    RemoteEndpoint* first = vector.acquire(endpoint(0, 0), 0);
    RemoteEndpoint* second = vector.acquire(endpoint(1, 0), 0);
    second->under_way = 1;
    vector.inside.clear();
    vector.addresses.vector_renewed();
    CHECK(vector.addresses.nics() == 0);
    CHECK(first->address == FI_ADDR_UNSPEC);
    CHECK(second->address == FI_ADDR_UNSPEC);
    REQUIRE(vector.addresses.use(*second, 1).ok());
    CHECK(vector.inserted == 3);
    CHECK(vector.inside.count(second->address) == 1);
    CHECK_FALSE(vector.addresses.release(vector.acquire(endpoint(1, 0), 1)));
    CHECK(vector.addresses.release(first));  // nothing to take out
    CHECK(vector.addresses.nics() == 1);
}

}  // namespace
}  // namespace weft::fabric
