#include "transports/fabric/efa_devices.h"

#include <rdma/fi_errno.h>

#include <map>

#include "tests/unit/transports/fake_machine.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;
using test::pci_add;
using test::TempFolder;

Environment environment_of(const std::map<std::string, std::string>& set) {
    return [set](const char* name) {
        const auto found = set.find(name);
        return found == set.end() ? nullptr : found->second.c_str();
    };
}

TEST_CASE("efa devices: found by vendor and device or by the driver, and by nothing else") {
    const TempFolder sys, dev;
    pci_add(sys, "0000:00:05.0", "0x1d0f", "0xec20");  // ENA, of the same vendor
    pci_add(sys, "0000:10:00.0", "0x15b3", "0x1021", "uverbs0");
    pci_add(sys, "0000:20:1b.0", "0x1d0f", "0xefa3", "uverbs1");
    pci_add(sys, "0000:20:1c.0", "0x1d0f", "0x9999");
    sys.link("bus/pci/devices/0000:20:1c.0/driver", "../../drivers/efa");
    dev.write("infiniband/uverbs1", "");
    const std::vector<EfaDevice> expected = {
        {"0000:20:1b.0", "rdmap0s1", dev.path / "infiniband/uverbs1", 0},
        {"0000:20:1c.0", "", "", 0}};
    CHECK(efa_devices(sys.path, dev.path) == expected);
    CHECK(efa_devices(dev.path, dev.path).empty());
    CHECK(efa_devices("/nowhere").empty());
}

TEST_CASE("efa devices: sysfs is where rdma-core takes it to be") {
    CHECK(sysfs_root(environment_of({})) == "/sys");
    CHECK(sysfs_root(environment_of({{"SYSFS_PATH", "/somewhere"}})) == "/somewhere");
}

// The line for one device of which the kernel says this, with a libfabric that has these providers.
std::string refusal(const EfaDevice& device, const std::vector<std::string>& providers,
                    const std::map<std::string, std::string>& set = {}) {
    FakeFabric fake;
    fake.world.providers = providers;
    return efa_unusable(fake.library, {device}, environment_of(set), FI_ENODATA).what;
}

TEST_CASE("efa devices: each reason is told with its fix") {
    const EfaDevice good{"0000:00:06.0", "rdmap0s6", "/dev/infiniband/uverbs0", 0};
    const EfaDevice driverless{"0000:00:06.0", "", "", 0};
    EfaDevice hidden = good, forbidden = good;
    hidden.refused = ENOENT;
    forbidden.refused = EACCES;
    struct Case {
        std::string line;
        std::vector<const char*> words;
    };
    const std::vector<Case> cases = {
        {refusal(driverless, {"efa"}), {"PCI 0000:00:06.0", "modprobe efa"}},
        {refusal(hidden, {"efa"}), {"/dev/infiniband/uverbs0 does not exist", "container"}},
        {refusal(forbidden, {"efa"}),
         {"no permission to open /dev/infiniband/uverbs0", "Permission denied", "group or mode"}},
        {refusal(good, {"tcp"}),
         {"libfabric 2.4", FAKE_LIBFABRIC_PATH, "has no efa provider", "EFA installer",
          "WEFT_LIBFABRIC"}},
        {refusal(hidden, {"tcp"}),
         {"/dev/infiniband/uverbs0 does not exist", "also, libfabric 2.4", "has no efa provider"}},
        {refusal(good, {"efa"}), {"offers no endpoint on it", "No data available", "fi_info -p"}},
        {refusal(good, {"tcp"}, {{"FI_PROVIDER", "tcp"}}),
         {"FI_PROVIDER=tcp leaves efa out", "unset it"}},
        {refusal(good, {"efa"}, {{"FI_EFA_IFACE", "rdmap9"}}), {"FI_EFA_IFACE=rdmap9"}},
    };
    for (const Case& one : cases) {
        INFO(one.line);
        CHECK_THAT(one.line, Catch::StartsWith("EFA device ") &&
                                 Catch::Contains("cannot be used: ") &&
                                 Catch::Contains("WEFT_ALLOW_TCP=1"));
        CHECK(one.line.find('\n') == std::string::npos);
        for (const char* word : one.words) {
            CHECK_THAT(one.line, Catch::Contains(word));
        }
    }
    // A provider that a variable leaves out is not missing.
    CHECK(cases[6].line.find("has no efa provider") == std::string::npos);
    FakeFabric fake;
    CHECK_THAT(efa_unusable(fake.library, {good, good}, environment_of({}), FI_ENODATA).what,
               Catch::StartsWith("2 EFA devices (rdmap0s6 and others) cannot be used"));
}

TEST_CASE("efa devices: a node without permission is seen before libfabric fails on it") {
    const TempFolder sys, dev;
    pci_add(sys, "0000:00:06.0", "0x1d0f", "0xefa1", "uverbs0");
    dev.write("infiniband/uverbs0", "");
    std::filesystem::permissions(dev.path / "infiniband/uverbs0", std::filesystem::perms(0444));
    const std::string seen = test::as_nobody([&] {
        const auto devices = efa_devices(sys.path, dev.path);
        return devices.size() == 1 ? std::to_string(devices[0].refused) : "not found";
    });
    CHECK(seen == std::to_string(EACCES));
}

}  // namespace
}  // namespace weft::fabric
