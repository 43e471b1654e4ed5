#include "transports/fabric/provider.h"

#include <rdma/fi_errno.h>
#include <sys/resource.h>

#include "src/base/log.h"
#include "tests/unit/transports/fake_machine.h"
#include "transports/fabric/efa_devices.h"
#include "transports/fabric/lock_limit.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;
using test::FakeInfo;
using test::pci_add;
using test::TempFolder;
using test::Variable;

const FakeInfo direct{}, plain{"efa", "efa"}, tcp{"tcp;ofi_rxm", "127.0.0.0/8", "lo"};
const FakeInfo direct_using_receives{"efa", "efa-direct", "rdmap0s6-rdm", 0, FI_RX_CQ_DATA};

// "efa-direct" as the fabric of all rails, or the line of the refusal.
std::string chosen(const FakeFabric& fake, const FabricOptions& options,
                   std::string* concern = nullptr) {
    auto rails = rails_choose(fake.library, options, concern);
    if (!rails.ok()) {
        return rails.error().what;
    }
    REQUIRE_FALSE(rails.value().empty());
    return rails.value().front().info->fabric_attr->name;
}

std::string chosen(const std::vector<FakeInfo>& offered, const std::string& asked) {
    FakeFabric fake;
    fake.world.infos = offered;
    FabricOptions options;
    options.provider = asked;
    return chosen(fake, options);
}

TEST_CASE("provider: efa-direct where it is offered, else efa") {
    CHECK(chosen({direct, plain}, "") == "efa-direct");
    CHECK(chosen({plain, direct}, "") == "efa-direct");
    CHECK(chosen({plain}, "") == "efa");
    CHECK(chosen({direct, plain}, "efa") == "efa");
    CHECK(chosen({direct, plain}, "efa-direct") == "efa-direct");
    CHECK(chosen({direct_using_receives, plain}, "") == "efa-direct");
    CHECK(chosen({direct_using_receives}, "efa-direct") == "efa-direct");
    CHECK(chosen({tcp}, "") == "127.0.0.0/8");
    CHECK(chosen({direct, tcp}, "tcp;ofi_rxm") == "127.0.0.0/8");
}

TEST_CASE("provider: what a rail needs is asked for, and what is unusable is passed over") {
    FakeInfo without_immediate = direct;
    without_immediate.cq_data = 0;
    CHECK(chosen({without_immediate, plain}, "") == "efa");
    FakeInfo odd = direct;
    odd.mr_mode = FI_MR_RMA_EVENT;
    CHECK(chosen({odd, plain}, "") == "efa");

    // GPU memory is dropped where it is refused.
    FakeFabric fake;
    FakeInfo gpu = direct;
    gpu.caps = FI_HMEM;
    gpu.mr_mode = FI_MR_HMEM;
    FabricOptions options;
    options.device_memory = true;
    fake.world.infos = {gpu};
    auto rails = rails_choose(fake.library, options);
    REQUIRE(rails.ok());
    CHECK((rails.value().front().info->caps & FI_HMEM) != 0);
    fake.world.infos = {direct};
    rails = rails_choose(fake.library, options);
    REQUIRE(rails.ok());
    CHECK((rails.value().front().info->caps & FI_HMEM) == 0);
}

TEST_CASE("provider: libfabric is asked in the newest version that both know") {
    for (auto [library, asked] : std::initializer_list<std::pair<uint32_t, uint32_t>>{
             {FI_VERSION(1, 17), FI_VERSION(1, 17)},
             {FI_VERSION(1, 18), FI_VERSION(1, 18)},
             {FI_VERSION(1, 20), FI_VERSION(1, 20)},
             {FI_VERSION(2, 6), FI_VERSION(1, 20)}}) {
        FakeFabric fake(library);
        fake.world.infos = {direct};
        CHECK(chosen(fake, {}) == "efa-direct");
        CHECK(fake.world.api_version == asked);
    }
}

TEST_CASE("provider: NICs of one host are rails, once each, as many as are wanted") {
    FakeFabric fake;
    for (const char* domain : {"rdmap0s6-rdm", "rdmap0s7-rdm", "rdmap0s6-rdm"}) {
        fake.world.infos.push_back({"efa", "efa-direct", domain});
    }
    auto rails = rails_choose(fake.library, {});
    REQUIRE(rails.ok());
    REQUIRE(rails.value().size() == 2);
    FabricOptions options;
    options.rails = {"rdmap0s7"};
    rails = rails_choose(fake.library, options);
    REQUIRE(rails.ok());
    REQUIRE(rails.value().size() == 1);
    CHECK(rails.value().front().name == "rdmap0s7-rdm");
    options.rails = {"eth0"};
    CHECK_THAT(chosen(fake, options), Catch::Contains("WEFT_RAILS=eth0 names no rail of efa") &&
                                          Catch::Contains("rdmap0s6-rdm, rdmap0s7-rdm"));
}

TEST_CASE("provider: one asked for that is not there is named, with what to do") {
    CHECK_THAT(chosen({plain}, "efa-direct"), Catch::Contains("WEFT_PROVIDER=efa-direct") &&
                                                  Catch::Contains("offers efa here") &&
                                                  Catch::Contains("unset it"));
    const TempFolder sys;  // of a host without EFA
    const Variable sysfs("SYSFS_PATH", sys.path);
    for (const char* asked : {"efa", "efa-direct"}) {
        CHECK_THAT(chosen({tcp}, asked), Catch::Contains(std::string("WEFT_PROVIDER=") + asked) &&
                                             Catch::Contains("no EFA device") &&
                                             Catch::Contains("unset it"));
    }
    CHECK_THAT(chosen({tcp}, "carrier_pigeon"),
               Catch::Contains("provider carrier_pigeon") && Catch::Contains("WEFT_PROVIDER"));
    CHECK_THAT(chosen({}, ""), Catch::Contains("tcp;ofi_rxm") && Catch::Contains("2.4"));
}

TEST_CASE("provider: EFA that is there and cannot be used is no reason for silence") {
    const TempFolder sys;
    pci_add(sys, "0000:00:06.0", "0x1d0f", "0xefa1", "uverbs4000");
    const Variable sysfs("SYSFS_PATH", sys.path);
    FakeFabric fake;
    fake.world.infos = {tcp};
    FabricOptions options;
    options.rails = {"127.0.0.1"};
    CHECK_THAT(chosen(fake, options), Catch::StartsWith("EFA device rdmap0s4000 cannot be used") &&
                                          Catch::Contains("WEFT_ALLOW_TCP=1"));
    options.provider = "efa";
    CHECK_THAT(chosen(fake, options), Catch::StartsWith("EFA device rdmap0s4000"));
    options.allow_tcp = true;  // not where EFA is asked for by name
    CHECK_THAT(chosen(fake, options), Catch::StartsWith("EFA device rdmap0s4000"));

    options.provider.clear();
    std::string concern;
    CHECK(chosen(fake, options, &concern) == "127.0.0.0/8");
    CHECK_THAT(concern, Catch::Contains("EFA device rdmap0s4000 cannot be used") &&
                            Catch::Contains("TCP is used"));
    options.allow_tcp = false;
    options.provider = "tcp;ofi_rxm";  // asked for by name
    CHECK(chosen(fake, options) == "127.0.0.0/8");
    // EFA that answers is used, whatever sysfs lacks.
    fake.world.infos = {tcp, plain};
    CHECK(chosen(fake, {}) == "efa");
}

TEST_CASE("provider: a variable that would end the process is found before libfabric reads it") {
    const Variable set("FI_EFA_MTU_SIZE", "8192");
    FakeFabric fake;
    fake.world.infos = {direct, tcp};
    CHECK_THAT(chosen(fake, {}), Catch::Contains("FI_EFA_MTU_SIZE=8192 would end the process"));
    CHECK(fake.world.getinfo_calls == 0);
}

TEST_CASE("provider: EFA with too little memory to lock is refused, with both numbers") {
    FakeFabric fake;
    fake.world.infos = {direct};
    const std::string line = test::as_nobody([&] {
        const rlimit small{64 << 10, 64 << 10};
        setrlimit(RLIMIT_MEMLOCK, &small);
        return chosen(fake, {});
    });
    CHECK_THAT(line, Catch::Contains("locked-memory limit is 64 KiB") && Catch::Contains("MiB") &&
                         Catch::Contains("ulimit -l unlimited"));
    // What a write of a peer uses up is registered too.
    CHECK(lock_need(2, true, true) > lock_need(2, true, false));
    CHECK(lock_need(2, false, false) > lock_need(2, true, false));
}

TEST_CASE("provider: less memory to lock than the budget is warned of") {
    const uint64_t need = lock_need(4, true, false);
    CHECK(lock_check({}, need, uint64_t{1} << 40).ok());
    CHECK(lock_check({false, need + 100}, need, 100).ok());
    log_warn("nothing yet");
    CHECK(lock_check({false, need}, need, uint64_t{4} << 30).ok());
    CHECK_THAT(log_last_error(), Catch::Contains("WEFT_MEMORY_BUDGET=4096"));
    CHECK_FALSE(lock_check({false, need - 1}, need, 0).ok());
}

}  // namespace
}  // namespace weft::fabric
