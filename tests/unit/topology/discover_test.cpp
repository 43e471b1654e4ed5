#include "topology/discover.h"

#include <hwloc.h>

#include <sstream>

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"
#include "topology/hwloc_import.h"

using namespace weft;
using namespace weft::topology;

namespace {

// hwloc's format by hand: two packages with a NUMA node each. `first` goes into package 0, `outer`
// into the machine.
std::string hwloc_text(const std::string& first, const std::string& outer = "") {
    const auto package = [](int i, const std::string& inner) {
        const std::string n = std::to_string(i);
        const std::string set = i == 0 ? "0x00000001" : "0x00000002";
        const std::string sets = " cpuset=\"" + set + "\" complete_cpuset=\"" + set +
                                 "\" nodeset=\"" + set + "\" complete_nodeset=\"" + set + "\"";
        return "<object type=\"Package\" os_index=\"" + n + "\"" + sets + " gp_index=\"" +
               std::to_string(10 + i) + "\"><object type=\"NUMANode\" os_index=\"" + n + "\"" +
               sets + " gp_index=\"" + std::to_string(20 + i) + "\" local_memory=\"1000000\"/>\n" +
               "<object type=\"PU\" os_index=\"" + n + "\"" + sets + " gp_index=\"" +
               std::to_string(30 + i) + "\"/>\n" + inner + "</object>\n";
    };
    const std::string both = "=\"0x00000003\"";
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
           "<topology version=\"2.0\">\n<object type=\"Machine\" os_index=\"0\" cpuset" +
           both + " complete_cpuset" + both + " allowed_cpuset" + both + " nodeset" + both +
           " complete_nodeset" + both + " allowed_nodeset" + both + " gp_index=\"1\">\n" +
           package(0, first) + package(1, "") + outer + "</object>\n</topology>\n";
}

int next_index() {
    static int index = 100;
    return index++;
}

std::string host_bridge(const std::string& bus, const std::string& inner) {
    return "<object type=\"Bridge\" gp_index=\"" + std::to_string(next_index()) +
           "\" bridge_type=\"0-1\" depth=\"0\" bridge_pci=\"0000:[" + bus + "-" + bus + "]\">\n" +
           inner + "</object>\n";
}

std::string device(const std::string& address, const std::string& type, const std::string& rate,
                   const std::string& inner = "") {
    return "<object type=\"PCIDev\" gp_index=\"" + std::to_string(next_index()) +
           "\" pci_busid=\"" + address + "\" pci_type=\"" + type +
           " [0000:0000] 00\" pci_link_speed=\"" + rate + "\">" + inner + "</object>\n";
}

std::string net(const std::string& name) {
    return "<object type=\"OSDev\" gp_index=\"" + std::to_string(next_index()) + "\" name=\"" +
           name + "\" osdev_type=\"2\"/>";
}

std::string verbs(const std::string& name) {
    return "<object type=\"OSDev\" gp_index=\"" + std::to_string(next_index()) + "\" name=\"" +
           name + "\" osdev_type=\"3\"/>";
}

Result<Machine> read(const std::string& text) {
    const TextFile file(text);
    return machine_read(file.path());
}

// With the file's name, which changes, left out.
std::string refusal(const std::string& text) {
    const TextFile file(text);
    const auto machine = machine_read(file.path());
    if (machine.ok()) {
        return "accepted";
    }
    const std::string& what = machine.error().what;
    return what.compare(0, file.path().size(), file.path()) == 0 ? what.substr(file.path().size())
                                                                 : "the file is not named: " + what;
}

// hwloc's view of a text, with facts as a live machine has them.
Machine imported(const std::string& text, const SystemFacts& facts) {
    hwloc_topology_t topology = nullptr;
    REQUIRE(hwloc_topology_init(&topology) == 0);
    hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    REQUIRE(hwloc_topology_set_xmlbuffer(topology, text.c_str(),
                                         static_cast<int>(text.size()) + 1) == 0);
    REQUIRE(hwloc_topology_load(topology) == 0);
    Machine machine = machine_of_hwloc(topology, &facts);
    hwloc_topology_destroy(topology);
    return machine;
}

bool has_note(const Machine& machine, const std::string& part) {
    for (const std::string& note : machine.notes) {
        if (note.find(part) != std::string::npos) {
            return true;
        }
    }
    return false;
}

}  // namespace

TEST_CASE("an hwloc file becomes a machine") {
    const auto result = read(hwloc_text(
        host_bridge("10",
                    device("0000:10:1c.0", "0302 [10de:20b0]", "31.507692") +
                        device("0000:10:1b.0", "0200 [1d0f:efa0]", "0.000000", verbs("anything")) +
                        device("0000:10:00.0", "0200 [1d0f:ec20]", "0.000000", net("ens32"))),
        host_bridge("00", device("0000:00:03.0", "0300 [1d0f:1111]", "0.000000") +
                              device("0000:00:05.0", "0200 [1d0f:efa1]", "8.0"))));
    REQUIRE(result.ok());
    const Machine& machine = result.value();
    REQUIRE(machine.gpus.size() == 1);
    CHECK(machine.gpus[0].vendor == 0x10de);
    CHECK(machine.gpus[0].device == 0x20b0);
    CHECK(machine.gpus[0].numa == 0);
    CHECK(machine.gpus[0].pcie_rate / 1'000'000 == 31'507);
    CHECK(place_label(machine.places[static_cast<size_t>(machine.gpus[0].place)]) ==
          "host bridge 0000:10");
    REQUIRE(machine.nics.size() == 3);
    CHECK(nic_label(machine.nics[0]) == "EFA 0000:00:05.0");
    CHECK(machine.nics[0].numa == -1);
    CHECK(machine.nics[0].pcie_rate == 8'000'000'000);
    CHECK(nic_label(machine.nics[1]) == "interface ens32 0000:10:00.0");
    CHECK(nic_label(machine.nics[2]) == "EFA 0000:10:1b.0");
    CHECK(machine.nics[2].name == "anything");
    CHECK(machine.nics[2].numa == 0);
    CHECK(machine.nics[2].pcie_rate == 0);
    // The near one for the GPU, and the far one because it must be used.
    CHECK(rails_sketch(rails_map(machine, gpu_places(machine))) == " 0 1 ");
}

TEST_CASE("names do not make an EFA, identities do") {
    const auto machine = read(hwloc_text(host_bridge(
        "10", device("0000:10:01.0", "0200 [15b3:101b]", "0", verbs("rdmap16s27")) +
                  device("0000:10:02.0", "0200 [15b3:101b]", "0", verbs("efa_0") + net("eth7")) +
                  device("0000:10:03.0", "0200 [1d0f:efa2]", "0", verbs("mlx5_0")))));
    REQUIRE(machine.ok());
    const auto& nics = machine.value().nics;
    REQUIRE(nics.size() == 3);
    CHECK(nics[0].kind == NicKind::verbs);
    CHECK(nics[1].kind == NicKind::ethernet);
    CHECK(nics[1].name == "eth7");
    CHECK(nics[2].kind == NicKind::efa);
    CHECK(machine.value().notes ==
          std::vector<std::string>{
              "verbs device efa_0 at 0000:10:02.0 is ignored: of RDMA devices only EFA is used; "
              "its interface eth7 counts",
              "verbs device rdmap16s27 at 0000:10:01.0 is ignored: of RDMA devices only EFA is "
              "used"});
}

TEST_CASE("a network device without interface is named and left out") {
    const auto machine =
        read(hwloc_text(host_bridge("10", device("0000:10:01.0", "0200 [8086:1572]", "0"))));
    REQUIRE(machine.ok());
    CHECK(machine.value().nics.empty());
    CHECK(has_note(machine.value(), "network device 0000:10:01.0 is not used"));
}

TEST_CASE("an hwloc file that is not well formed is refused with file, line and reason") {
    CHECK(refusal("<topology>\n<object type=\"Machine\">\n</topology>") ==
          ":3: </topology> ends <object> of line 2");
    CHECK(refusal("<topology>\n<object type=\"Machine") == ":2: an attribute's value never ends");
    CHECK(refusal("") == ":1: no element in the file");
}

TEST_CASE("hwloc files that contradict themselves are refused with file, line and reason") {
    CHECK(refusal("<topology/>") == ":1: <topology> holds no Machine");
    CHECK(refusal("<topology>\n<object/></topology>") == ":2: <object> needs the attribute 'type'");
    CHECK(refusal("<topology>\n<object type=\"Package\"/></topology>") ==
          ":2: <topology> must hold one object, of type Machine");
    CHECK(refusal("<topology><object type=\"Machine\"/>\n<object type=\"Machine\"/></topology>") ==
          ":2: <topology> must hold one object, of type Machine");
    CHECK(refusal(
              hwloc_text(host_bridge("10", device("0000:10:01.0", "0200 [1d0f:efa0]", "0") +
                                               device("0000:10:01.0", "0200 [1d0f:efa0]", "0")))) ==
          ":9: PCI address 0000:10:01.0 is given at line 8 already");
    CHECK(refusal(hwloc_text(host_bridge("10", device("0000:10", "0200 [1d0f:efa0]", "0")))) ==
          ":8: pci_busid=\"0000:10\": expected a PCI address such as 0000:10:1b.0");
    CHECK(refusal(
              hwloc_text(host_bridge("10", device("0000:10:01.0", "0200 [1d0f:efa0]", "-1.5")))) ==
          ":8: pci_link_speed=\"-1.5\": expected a rate in GB/s, not negative");
    CHECK(refusal("<html>\n</html>") ==
          ":1: <html> starts neither hwloc's (<topology>) nor NCCL's (<system>) format");
}

TEST_CASE("a file that hwloc refuses for reasons of its own is refused in one line") {
    const std::string what =
        refusal("<topology version=\"2.0\"><object type=\"Machine\"/></topology>");
    CHECK(what.find(": hwloc ") == 0);
    CHECK(what.find('\n') == std::string::npos);
}

TEST_CASE("NCCL's format is recognised by its content") {
    const auto machine = read(
        "<system version=\"1\"><cpu numaid=\"0\"><pci busid=\"0000:10:1c.0\" "
        "class=\"0x030200\"/></cpu></system>");
    REQUIRE(machine.ok());
    CHECK(machine.value().gpus.size() == 1);
}

TEST_CASE("a live machine: drivers tell EFA, interfaces must be able to carry traffic") {
    const std::string text = hwloc_text(
        host_bridge("10", device("0000:10:01.0", "0200 [1d0f:1234]", "0", verbs("new_0")) +
                              device("0000:10:02.0", "0200 [1d0f:efa1]", "0") +
                              device("0000:10:03.0", "0200 [1d0f:ec20]", "0", net("ens1")) +
                              device("0000:10:04.0", "0200 [1d0f:ec20]", "0", net("ens2")) +
                              device("0000:10:05.0", "0200 [1d0f:ec20]", "0", net("ens3")) +
                              device("0000:10:06.0", "0200 [1d0f:ec20]", "0", net("ens4"))));
    SystemFacts facts;
    facts.drivers[*pci_address_parse("10:01.0")] = "efa";
    facts.drivers[*pci_address_parse("10:03.0")] = "ena";
    facts.verbs_rates["new_0"] = 100;
    facts.interfaces["ens1"] = Interface{true, true, false, false, 3'125'000'000};
    facts.interfaces["ens2"] = Interface{false, true, false, false, 0};
    facts.interfaces["ens3"] = Interface{true, false, false, false, 0};
    const Machine machine = imported(text, facts);
    REQUIRE(machine.nics.size() == 3);
    CHECK(machine.nics[0].kind == NicKind::efa);
    CHECK(machine.nics[0].line_rate == 100);
    CHECK(machine.nics[1].kind == NicKind::efa);
    CHECK(machine.nics[2].name == "ens1");
    CHECK(machine.nics[2].line_rate == 3'125'000'000);
    CHECK(has_note(machine, "EFA 0000:10:02.0 has no RDMA device: is the efa driver loaded?"));
    CHECK(has_note(machine, "interface ens2 0000:10:04.0 is not used: it is down"));
    CHECK(has_note(machine, "interface ens3 0000:10:05.0 is not used: it has no address"));
    CHECK(has_note(machine, "ens4 0000:10:06.0 is not used: it is not in this network namespace"));
}

TEST_CASE("a live machine: interfaces without a PCI device serve if there is nothing else") {
    SystemFacts facts;
    facts.interfaces["lo"] = Interface{true, true, true, false, 0};
    facts.interfaces["docker0"] = Interface{true, true, false, true, 0};
    facts.interfaces["veth1"] = Interface{true, true, false, false, 0};
    facts.interfaces["veth0"] = Interface{true, true, false, false, 1'250'000'000};
    facts.interfaces["ifb0"] = Interface{true, false, false, false, 0};
    const Machine machine = imported(hwloc_text(""), facts);
    REQUIRE(machine.nics.size() == 2);
    CHECK(machine.nics[0].name == "veth0");
    CHECK(machine.nics[0].line_rate == 1'250'000'000);
    CHECK(machine.nics[1].name == "veth1");
    CHECK(machine_check(machine).ok());
    const std::string with_pci = hwloc_text(
        host_bridge("10", device("0000:10:03.0", "0200 [1d0f:ec20]", "0", net("veth1"))));
    CHECK(imported(with_pci, facts).nics.size() == 1);
}

TEST_CASE("this machine has a graph without contradictions, the same every time") {
    const auto machine = machine_live();
    REQUIRE(machine.ok());
    CHECK(machine_check(machine.value()).ok());
    CHECK(machine.value() == machine_live().value());
    CHECK(machine.value().places.size() >= 2);
}

TEST_CASE("this machine written as XML reads back with the same tree") {
    const auto text = hwloc_xml("");
    REQUIRE(text.ok());
    const auto again = read(text.value());
    REQUIRE(again.ok());
    const Machine live = machine_live().value();
    CHECK(again.value().gpus == live.gpus);
    CHECK(again.value().places.size() >= live.places.size());
}

TEST_CASE("an hwloc file written as XML again gives the same machine") {
    const TextFile file(hwloc_text(
        host_bridge("10", device("0000:10:1c.0", "0302 [10de:20b0]", "31.507692") +
                              device("0000:10:1b.0", "0200 [1d0f:efa0]", "0.000000", verbs("a")))));
    const auto text = hwloc_xml(file.path());
    REQUIRE(text.ok());
    CHECK(read(text.value()).value() == machine_read(file.path()).value());
    CHECK_FALSE(hwloc_xml("/nowhere/at.xml").ok());
}
