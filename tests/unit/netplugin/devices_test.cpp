// What NCCL is told of rails, and which may be merged.
#include "src/netplugin/devices.h"

#include <stdlib.h>

#include <filesystem>

#include "tests/catch.h"

namespace weft::netplugin {
namespace {

// A /sys of its own.
struct Sysfs {
    Sysfs() {
        char name[] = "/tmp/weft-sysfs-XXXXXX";
        REQUIRE(mkdtemp(name) != nullptr);
        root = name;
        std::filesystem::create_directories(root + "/devices/pci0000:10/0000:10:1b.0");
        std::filesystem::create_directories(root + "/bus/pci/devices");
        std::filesystem::create_directory_symlink("../../../devices/pci0000:10/0000:10:1b.0",
                                                  root + "/bus/pci/devices/0000:10:1b.0");
        std::filesystem::create_directories(root + "/devices/virtual/net/lo");
        std::filesystem::create_directories(root + "/class/net");
        std::filesystem::create_directory_symlink("../../devices/virtual/net/lo",
                                                  root + "/class/net/lo");
    }
    ~Sysfs() { std::filesystem::remove_all(root); }
    Sysfs(const Sysfs&) = delete;
    Sysfs& operator=(const Sysfs&) = delete;
    std::string root;
};

std::vector<RailInfo> efa_rails(int count) {
    std::vector<RailInfo> rails;
    for (int i = 0; i < count; i++) {
        rails.push_back({"rdmap" + std::to_string(16 + i) + "s27",
                         "0000:" + std::to_string(10 + i) + ":1b.0", "", 100'000});
    }
    return rails;
}

std::string refusal(Devices& devices, const std::vector<int>& of, int most = 4) {
    const auto made = devices.merge(of, most);
    REQUIRE_FALSE(made.ok());
    return made.error().what;
}

TEST_CASE("net plugin: a device is its rail, with its place in /sys and its speed") {
    const Sysfs sysfs;
    const Devices devices(efa_rails(2), sysfs.root);
    CHECK(devices.physical_count() == 2);
    const Device& first = *devices.get(0).value();
    const Device& second = *devices.get(1).value();
    CHECK(std::string(first.name_kept) == "rdmap16s27");
    CHECK(std::string(first.path_kept) == sysfs.root + "/devices/pci0000:10/0000:10:1b.0");
    CHECK(second.path_kept == nullptr);
    CHECK(first.speed_mbps == 100'000);
    CHECK(first.guid != second.guid);
    CHECK(first.guid == Devices(efa_rails(1), sysfs.root).get(0).value()->guid);
    CHECK(first.rails == std::vector<uint32_t>{0});
    CHECK(second.physical == std::vector<int>{1});
    for (const int index : {-1, 2}) {
        const auto none = devices.get(index);
        REQUIRE_FALSE(none.ok());
        CHECK_THAT(none.error().what,
                   Catch::Contains("device " + std::to_string(index) + ": there are 2"));
    }
}

TEST_CASE("net plugin: an interface without a NIC has no place, and a speed all the same") {
    const Sysfs sysfs;
    const Devices devices({{"127.0.0.1", "", "lo", 0}, {"10.0.0.1", "", "gone", 2500}}, sysfs.root);
    CHECK(devices.get(0).value()->path_kept == nullptr);
    CHECK(devices.get(0).value()->speed_mbps == speed_unknown_mbps);
    CHECK(devices.get(1).value()->speed_mbps == 2500);
}

TEST_CASE("net plugin: merged devices ride the rails of their parts, the same ones once") {
    Devices devices(efa_rails(4), "/none");
    const int made = devices.merge(std::vector<int>{2, 0}, 4).value();
    CHECK(made == 4);
    const Device& merged = *devices.get(made).value();
    CHECK(std::string(merged.name_kept) == "rdmap18s27+rdmap16s27");
    CHECK(merged.rails == std::vector<uint32_t>{0, 2});
    CHECK(merged.physical == std::vector<int>{2, 0});
    CHECK(merged.speed_mbps == 200'000);
    CHECK(merged.path_kept == nullptr);
    CHECK(devices.merge(std::vector<int>{2, 0}, 8).value() == 4);
    CHECK(devices.merge(std::vector<int>{1}, 8).value() == 5);
    CHECK(devices.physical_count() == 4);
    CHECK(devices.get(5).ok());
}

TEST_CASE("net plugin: what cannot be merged is refused in one line") {
    Devices devices(efa_rails(5), "/none");
    CHECK_THAT(refusal(devices, {0, 0}), Catch::Contains("NIC 0, which is named twice"));
    CHECK_THAT(refusal(devices, {0, 5}), Catch::Contains("NIC 5, which is none of the 5"));
    CHECK_THAT(refusal(devices, {-1}), Catch::Contains("NIC -1"));
    CHECK_THAT(refusal(devices, {}), Catch::Contains("of 0 NICs: 1 to 4"));
    CHECK_THAT(refusal(devices, {0, 1, 2, 3, 4}), Catch::Contains("of 5 NICs: 1 to 4"));
    CHECK(devices.merge(std::vector<int>{0, 1, 2, 3, 4}, 8).ok());
    // One that was merged is no part of another.
    CHECK_FALSE(devices.merge(std::vector<int>{5, 0}, 4).ok());
}

}  // namespace
}  // namespace weft::netplugin
