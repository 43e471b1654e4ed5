// What the settings say the device is.
#include "tools/efa_device/core/spec.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/efa_device/world.h"

using namespace weft;
using namespace weft::efa;
using namespace weft::efa::test;

namespace {

std::string refusal(const std::string& text) {
    const Result<Spec> spec = spec_parse(text);
    return spec.ok() ? "accepted" : spec.error().what;
}

std::string refusal(const SpecTexts& texts) {
    const Result<Spec> spec = spec_read(texts);
    return spec.ok() ? "accepted" : spec.error().what;
}

}  // namespace

TEST_CASE("without a word there is one NIC that can do everything") {
    const Spec spec = spec_parse("").value();
    REQUIRE(spec.nics.size() == 1);
    CHECK(spec.nics[0].name == "rdmap16s27");
    CHECK(topology::to_string(spec.nics[0].address) == "0000:10:1b.0");
    CHECK(spec.nics[0].rate == 0);
    CHECK(spec.caps == caps_all);
    CHECK_FALSE(spec.torn);
}

TEST_CASE("words say what the device is") {
    const Spec spec =
        spec_parse(
            "rate=250Mbit,nics=4,caps=read+rnr-retry,seed=7,reorder=300us,torn,pages=9,delay=0us,"
            "duplicate=0.5%,unresponsive=2s,part=efa1")
            .value();
    REQUIRE(spec.nics.size() == 4);
    CHECK(spec.nics[3].rate == 31'250'000);
    CHECK(spec.nics[3].part == 0xefa1);
    CHECK(spec.nics[0].address < spec.nics[3].address);
    CHECK(spec.caps == (caps_read | caps_rnr_retry));
    CHECK(spec.delay == 0);
    CHECK(spec.seed == 7);
    CHECK(spec.reorder == 300 * us);
    CHECK(spec.torn);
    CHECK(spec.limits.pages == 9);
    CHECK(spec.duplicate_ppm == 5000);
    CHECK(spec.unresponsive == 2 * nanos_per_s);
}

TEST_CASE("an instance type says how many NICs there are, how fast, and what they can do") {
    const Spec p5 = spec_parse("profile=p5.48xlarge").value();
    REQUIRE(p5.nics.size() == 32);
    CHECK(p5.nics[0].rate == 12'500'000'000);
    CHECK(p5.nics[0].part == 0xefa1);
    CHECK((p5.caps & caps_write) != 0);
    const Spec p4 = spec_parse("profile=p4d.24xlarge,rate=0").value();
    REQUIRE(p4.nics.size() == 4);
    CHECK(p4.nics[0].rate == 0);
    CHECK((p4.caps & (caps_write | caps_read)) == caps_read);
    CHECK(
        refusal("profile=p5.48xlrge") ==
        "WEFT_EFA_DEVICE: word 'profile=p5.48xlrge': profile 'p5.48xlrge' is unknown; the nearest "
        "one is p5.48xlarge");
}

TEST_CASE("a topology file says where the NICs are") {
    const auto path = std::filesystem::temp_directory_path() /
                      ("weft-efa-spec-" + std::to_string(::getpid()) + ".xml");
    const auto pci = [](const std::string& address, const std::string& device) {
        return "<pci busid=\"" + address + "\" class=\"0x020000\" vendor=\"0x1d0f\" device=\"" +
               device + "\" link_speed=\"16.0 GT/s PCIe\" link_width=\"16\"/>";
    };
    std::ofstream(path) << "<system version=\"1\"><cpu numaid=\"0\" affinity=\"1\" arch=\"x86_64\" "
                           "vendor=\"GenuineIntel\" familyid=\"6\" modelid=\"85\">"
                        << pci("0001:a4:02.0", "0xefa0") << pci("0000:10:1b.0", "0xefa0")
                        << pci("0000:11:00.0", "0xec20") << "</cpu></system>";
    const Result<Spec> spec = spec_parse("seed=2,xml=" + path.string());
    std::filesystem::remove(path);
    REQUIRE(spec.ok());
    REQUIRE(spec.value().nics.size() == 2);
    CHECK(spec.value().nics[0].name == "rdmap16s27");
    CHECK(spec.value().nics[1].name == "rdmaP1p164s2");
    CHECK(spec.value().nics[1].part == 0xefa0);
    CHECK((spec.value().caps & caps_write) == 0);
    CHECK_FALSE(spec_parse("xml=/no/such.xml").ok());
}

TEST_CASE("64 NICs have addresses of their own") {
    const Spec spec = spec_parse("nics=64").value();
    for (size_t i = 1; i < spec.nics.size(); ++i) {
        CHECK(spec.nics[i - 1].address < spec.nics[i].address);
    }
}

TEST_CASE("what is wrong is said in one line") {
    CHECK(refusal("nix=3") == "WEFT_EFA_DEVICE: word 'nix=3' is unknown; the nearest key is nics");
    CHECK(refusal("nics=0") ==
          "WEFT_EFA_DEVICE: word 'nics=0': '0': expected a whole number from 1 to 64");
    CHECK(
        refusal("caps=read+wite") ==
        "WEFT_EFA_DEVICE: word 'caps=read+wite': capability 'wite' is unknown; the nearest one is "
        "write");
    CHECK(refusal("part=efa9") ==
          "WEFT_EFA_DEVICE: word 'part=efa9': 'efa9': expected efa0 to efa4");
    CHECK(refusal(SpecTexts{"", "x", ""}) ==
          "WEFT_EFA_DEVICE_HOST: 'x': expected a whole number from 0 to 4294967295");
    CHECK(refusal(SpecTexts{"nics=2", "", "rail-down nic=2"}) ==
          "WEFT_EFA_DEVICE_FAULTS: a fault names nic=2; there are 2, from 0");
    CHECK(refusal(SpecTexts{"", "", "@/nowhere/at/all"}) ==
          "WEFT_EFA_DEVICE_FAULTS: cannot read /nowhere/at/all: No such file or directory");
}

TEST_CASE("addresses say host, NIC, process and queue pair") {
    const Gid gid = gid_make(0x01020304, 63);
    CHECK(gid_host(gid) == 0x01020304);
    CHECK(gid_nic(gid) == 63);
    CHECK(gid_nic(Gid{}) == 0xffff);
    CHECK(gid_make(1, 0) != gid_make(0, 1));
    CHECK(qpn_process(qpn_make(253, 255)) == 253);
    CHECK(qpn_make(process_max - 1, 255) < 0xffff);
}

TEST_CASE("regions are bounded in pages") {
    Limits limits;
    limits.pages = 4;
    limits.total_pages = 12;
    MrTable table(limits, UINT64_MAX);
    int error = 0;
    CHECK(table.add(0, 6 * page_bytes, access_remote_write, error) == 0);
    CHECK(error == ENOMEM);
    const uint32_t key = table.add(page_bytes / 2, 4 * page_bytes, 7, error);
    CHECK(key != 0);
    CHECK(table.pages() == 5);
    CHECK(table.add(0, 7 * page_bytes, access_local_write, error) != 0);
    CHECK(table.add(0, 1, access_local_write, error) == 0);
    CHECK(table.allows(key, page_bytes, page_bytes, access_remote_write));
    CHECK_FALSE(table.allows(key, 0, 1, access_remote_write));
    CHECK_FALSE(table.allows(key, page_bytes, 4 * page_bytes, access_remote_read));
    CHECK_FALSE(table.allows(key, page_bytes, UINT64_MAX, access_remote_read));
    CHECK(table.remove(key));
    CHECK_FALSE(table.remove(key));
    CHECK_FALSE(table.allows(key, page_bytes, 1, 0));
}

TEST_CASE("counters are one JSON object") {
    Pair world("nics=2,seed=5");
    const std::string text = world.b().node.counters_text();
    CHECK(text.find("{\"host\": 1, \"process\": 0, \"seed\": 5, \"nics\": [") == 0);
    CHECK(text.find("{\"name\": \"rdmap32s27\", \"sends\": 0, ") != std::string::npos);
}
