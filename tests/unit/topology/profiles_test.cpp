#include "topology/profiles.h"

#include <set>

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"
#include "topology/cluster_text.h"

using namespace weft;
using namespace weft::topology;
using Verdict = Comparison::Verdict;

namespace {

const Comparison& row(const std::vector<Comparison>& rows, const std::string& what) {
    for (const Comparison& candidate : rows) {
        if (candidate.what == what) {
            return candidate;
        }
    }
    FAIL("no row " << what);
    return rows[0];
}

std::string text_of(const char* name, int32_t hosts) {
    const auto cluster = profile_cluster(*profile_find(name).value(), hosts);
    return cluster.ok() ? cluster_text(cluster.value()) : cluster.error().what;
}

Machine p4d() {
    return machine_sketch(
        "numa 0 ( host 10:00.0 ( gpu 10:1c.0 gpu 10:1d.0 efa 10:1b.0 )"
        "         host 20:00.0 ( gpu 20:1c.0 gpu 20:1d.0 efa 20:1b.0 ) )"
        "numa 1 ( host 90:00.0 ( gpu 90:1c.0 gpu 90:1d.0 efa 90:1b.0 )"
        "         host a0:00.0 ( gpu a0:1c.0 gpu a0:1d.0 efa a0:1b.0 ) )");
}

}  // namespace

TEST_CASE("profiles become clusters") {
    CHECK(text_of("p5.48xlarge", 64) ==
          "hosts=64 ranks=8 rails=32 nic=12.5GB/s nvlink=450GB/s alpha=20us");
    CHECK(text_of("p4d.24xlarge", 2) ==
          "hosts=2 ranks=8 rails=4 nic=12.5GB/s nvlink=300GB/s alpha=75us");
    CHECK(text_of("p6-b200.48xlarge", 1) ==
          "hosts=1 ranks=8 rails=8 nic=50GB/s nvlink=900GB/s alpha=35us");
    CHECK(text_of("g5.48xlarge", 2) == "hosts=2 ranks=8 rails=1 nic=12.5GB/s");
}

TEST_CASE("what is not known stays unknown") {
    CHECK(text_of("p6e-gb200.36xlarge", 2) ==
          "p6e-gb200.36xlarge: how many EFA devices a host has is not known; describe the cluster "
          "as \"hosts=2 ranks=4 rails=... nic=...\"");
    CHECK(text_of("p5.48xlarge", 0) == "0 hosts of a kind: expected 1 to 65536");
}

TEST_CASE("every profile with rails gives every GPU rails of its own host, all used") {
    std::set<std::string> names;
    for (const Profile& profile : profiles()) {
        CHECK(names.insert(profile.name).second);
        if (!profile.rails) {
            continue;
        }
        const Cluster cluster = profile_cluster(profile, 2).value();
        CHECK(cluster.rank_count() == 2 * profile.gpus);
        std::set<uint16_t> used;
        for (const auto& rails : cluster.host(0).rank_rails) {
            CHECK_FALSE(rails.empty());
            used.insert(rails.begin(), rails.end());
        }
        CHECK(static_cast<int32_t>(used.size()) == *profile.rails);
    }
}

TEST_CASE("an unknown profile gets the nearest name") {
    CHECK(profile_find("p5.48xl").error().what ==
          "profile 'p5.48xl' is unknown; the nearest one is p5.48xlarge");
    CHECK(profile_find("p5en").error().what.find("p5en.48xlarge") == std::string::npos);
    CHECK(profile_find("p6-b2000.48xlarge").error().what.find("p6-b200.48xlarge") !=
          std::string::npos);
}

TEST_CASE("a machine is compared with what is known of it and of the profile") {
    Machine machine = p4d();
    for (Nic& nic : machine.nics) {
        nic.device = 0xefa0;
    }
    const Profile& profile = *profile_find("p4d.24xlarge").value();
    auto rows = profile_compare(profile, machine);
    for (const Comparison& each : rows) {
        CHECK(each.verdict != Verdict::different);
    }
    CHECK(row(rows, "GPUs").verdict == Verdict::same);
    CHECK(row(rows, "EFA rails").verdict == Verdict::same);
    CHECK(row(rows, "rails per GPU").found == "1");
    CHECK(row(rows, "EFA device").verdict == Verdict::same);
    CHECK(row(rows, "NUMA nodes").verdict == Verdict::same);
    CHECK(row(rows, "rail rate").verdict == Verdict::not_known);
    CHECK(row(rows, "NVLink per GPU").expected == "300GB/s");

    machine.nics.pop_back();
    machine.gpus[0].nvlink_rate = 100'000'000'000;
    rows = profile_compare(profile, machine);
    CHECK(row(rows, "EFA rails").verdict == Verdict::different);
    CHECK(row(rows, "EFA rails").found == "3");
    // One GPU's NVLink is known and wrong, the others' are not known: nothing is claimed.
    CHECK(row(rows, "NVLink per GPU").verdict == Verdict::not_known);
    for (Gpu& gpu : machine.gpus) {
        gpu.nvlink_rate = 100'000'000'000;
    }
    CHECK(row(profile_compare(profile, machine), "NVLink per GPU").verdict == Verdict::different);
}

TEST_CASE("PCIe rates that differ by rounding are the same") {
    Machine machine = p4d();
    Profile profile = *profile_find("p4d.24xlarge").value();
    profile.nic_pcie_rate = 15'753'846'154;
    for (Nic& nic : machine.nics) {
        nic.pcie_rate = 15'753'846'169;
    }
    CHECK(row(profile_compare(profile, machine), "NIC's PCIe rate").verdict == Verdict::same);
    machine.nics[0].pcie_rate = 8'000'000'000;
    CHECK(row(profile_compare(profile, machine), "NIC's PCIe rate").verdict == Verdict::different);
}

TEST_CASE("plain interfaces are no EFA rails") {
    const Machine machine = machine_sketch("numa 0 ( gpu 01:00.0 eth 02:00.0 )");
    const auto rows = profile_compare(*profile_find("p5.4xlarge").value(), machine);
    CHECK(row(rows, "GPUs").verdict == Verdict::same);
    CHECK(row(rows, "EFA rails").verdict == Verdict::different);
    CHECK(row(rows, "EFA rails").found == "0");
    CHECK(row(rows, "EFA device").found == "none");
}
