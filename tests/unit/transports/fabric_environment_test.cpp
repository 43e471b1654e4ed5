#include "transports/fabric/environment.h"

#include <rdma/fabric.h>

#include <map>

#include "tests/catch.h"

namespace weft::fabric {
namespace {

using Set = std::map<std::string, std::string>;

Environment environment_of(const Set& set) {
    return [set](const char* name) {
        const auto found = set.find(name);
        return found == set.end() ? nullptr : found->second.c_str();
    };
}

// The line of a refusal, empty where there is none.
std::string refused(const Set& set, uint32_t version, NicReads reads = NicReads::yes) {
    // Kept, for the function hands out pointers into it.
    static Environment environment;
    environment = environment_of(set);
    const auto checked = environment_check(environment, version, [&] { return reads; });
    return checked.ok() ? "" : checked.error().what;
}

constexpr uint32_t old = FI_VERSION(1, 17), middle = FI_VERSION(1, 18), recent = FI_VERSION(2, 4);

TEST_CASE("environment: variables that end the process are named before they do") {
    struct Case {
        const char *name, *value;
        bool old, middle, recent;
    };
    for (const Case& one : std::initializer_list<Case>{
             {"FI_EFA_SHM_MAX_MEDIUM_SIZE", "4096", true, true, false},
             {"FI_EFA_MTU_SIZE", "8192", false, true, true},
             {"FI_EFA_TX_IOV_LIMIT", "2", false, false, true},
             {"FI_EFA_RX_IOV_LIMIT", "", false, false, true},
             {"FI_EFA_TX_MIN_CREDITS", "0", true, true, true},
             {"FI_EFA_TX_MIN_CREDITS", "32", false, false, false},
             {"FI_EFA_IFACE", "", false, false, true},
             {"FI_EFA_IFACE", "all", false, false, false},
             {"FI_EFA_USE_DEVICE_RDMA", "maybe", true, true, true},
             {"FI_EFA_USE_DEVICE_RDMA", "Off", false, false, false},
             {"FI_EFA_TX_SIZE", "0", false, false, false},
         }) {
        INFO(one.name << "=" << one.value);
        const Set set{{one.name, one.value}};
        CHECK(refused(set, old).empty() == !one.old);
        CHECK(refused(set, middle).empty() == !one.middle);
        CHECK(refused(set, recent).empty() == !one.recent);
        const std::string line = refused(set, recent);
        if (!line.empty()) {
            CHECK_THAT(line, Catch::Contains(one.name) && Catch::Contains("unset") &&
                                 Catch::Contains("2.4"));
        }
    }
}

TEST_CASE("environment: device reads are asked for only where the NIC reads") {
    for (const char* on : {"1", "true", "YES", "on"}) {
        const Set set{{"FI_EFA_USE_DEVICE_RDMA", on}};
        CHECK(refused(set, recent, NicReads::yes).empty());
        CHECK(refused(set, recent, NicReads::unknown).empty());
        CHECK_THAT(refused(set, recent, NicReads::no), Catch::Contains("cannot read"));
    }
    CHECK(refused({{"FI_EFA_USE_DEVICE_RDMA", "0"}}, recent, NicReads::no).empty());
    // Asking opens the device, so it is not done for nothing.
    bool asked = false;
    REQUIRE(environment_check(environment_of({}), recent, [&] {
                asked = true;
                return NicReads::no;
            }).ok());
    CHECK_FALSE(asked);
}

TEST_CASE("environment: what leaves efa out is named") {
    CHECK(efa_excluded(environment_of({})).empty());
    for (const char* kept : {"efa", "EFA", "tcp,efa", "^tcp", ""}) {
        CHECK(efa_excluded(environment_of({{"FI_PROVIDER", kept}})).empty());
    }
    for (const char* out : {"tcp", "^efa", "^tcp,EFA", "efa2"}) {
        CHECK_THAT(efa_excluded(environment_of({{"FI_PROVIDER", out}})),
                   Catch::Contains(std::string("FI_PROVIDER=") + out));
    }
    CHECK(efa_excluded(environment_of({{"FI_EFA_IFACE", "all"}})).empty());
    CHECK_THAT(efa_excluded(environment_of({{"FI_EFA_IFACE", "rdmap9"}})),
               Catch::Contains("FI_EFA_IFACE=rdmap9"));
}

TEST_CASE("environment: fork safety is asked for only where it is needed") {
    const Environment none = environment_of({});
    CHECK(fork_policy(none, ForkStatus::unneeded, "4.14.1") == Fork::safe);
    CHECK(fork_policy(none, ForkStatus::unknown, "5.13.0-aws") == Fork::safe);
    CHECK(fork_policy(none, ForkStatus::unknown, "6.1.0") == Fork::safe);
    CHECK(fork_policy(none, ForkStatus::unknown, "5.10.9") == Fork::must_ask);
    CHECK(fork_policy(none, ForkStatus::unknown, "what") == Fork::must_ask);
    // rdma-core knows better than the number: distributions move patches.
    CHECK(fork_policy(none, ForkStatus::disabled, "5.15.0") == Fork::must_ask);
    CHECK(fork_policy(none, ForkStatus::enabled, "5.15.0") == Fork::must_ask);
    for (const char* name : {"FI_EFA_FORK_SAFE", "RDMAV_FORK_SAFE", "IBV_FORK_SAFE"}) {
        CHECK(fork_policy(environment_of({{name, "1"}}), ForkStatus::disabled, "5.4.0") ==
              Fork::asked);
    }
}

}  // namespace
}  // namespace weft::fabric
