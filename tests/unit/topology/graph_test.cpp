#include "topology/graph.h"

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"

using namespace weft;
using namespace weft::topology;

namespace {

std::string fault(const Machine& machine) {
    const auto result = machine_check(machine);
    return result.ok() ? "fine" : result.error().what;
}

Machine sample() {
    return machine_sketch("numa 0 ( host 00:00.0 ( gpu 10:1c.0 efa 10:1b.0 ) ) eth eth0");
}

}  // namespace

TEST_CASE("PCI addresses parse and print") {
    CHECK(to_string(*pci_address_parse("0000:A0:1b.7")) == "0000:a0:1b.7");
    CHECK(to_string(*pci_address_parse("10:00.0")) == "0000:10:00.0");
    CHECK(to_string(*pci_address_parse("10000:10:00.0")) == "10000:10:00.0");
    CHECK(pci_address_parse("ffff:ff:01.0").has_value());
    for (const char* text : {"", "10:1b", "0000:10:1b.8", "0000:10:20.0", "000:10:1b.0",
                             "0000:10:1b.0 ", "0000:g0:1b.0", "0:0:10:1b.0", "100000000:10:1b.0"}) {
        CHECK_FALSE(pci_address_parse(text).has_value());
    }
    CHECK(*pci_address_parse("0000:10:1b.0") < *pci_address_parse("0000:10:1c.0"));
    CHECK(*pci_address_parse("0000:ff:1f.7") < *pci_address_parse("0001:00:00.0"));
}

TEST_CASE("a machine without contradictions passes") {
    CHECK(fault(sample()) == "fine");
}

TEST_CASE("contradictions are refused in one line") {
    Machine machine = sample();
    machine.gpus[0].place = -1;
    CHECK(fault(machine) == "GPU 0000:10:1c.0 hangs below nothing");
    machine = sample();
    machine.nics[0].place = 99;
    CHECK(fault(machine) == "EFA 0000:10:1b.0 hangs below nothing");
    machine = sample();
    machine.nics[1].address = machine.nics[0].address;
    CHECK(fault(machine) ==
          "two devices have the PCI address 0000:10:1b.0: EFA 0000:10:1b.0 and interface eth0 "
          "0000:10:1b.0");
    machine = sample();
    machine.nics[0].address = machine.gpus[0].address;
    CHECK(fault(machine) ==
          "two devices have the PCI address 0000:10:1c.0: GPU 0000:10:1c.0 and EFA 0000:10:1c.0");
    machine = sample();
    machine.gpus[0].nvlink_rate = -5;
    CHECK(fault(machine) == "GPU 0000:10:1c.0: negative NVLink rate (-5 B/s)");
    machine = sample();
    machine.nics[0].line_rate = -5;
    CHECK(fault(machine) == "EFA 0000:10:1b.0: negative line rate (-5 B/s)");
    machine = sample();
    machine.gpus[0].numa = 1;
    CHECK(fault(machine) == "GPU 0000:10:1c.0 names NUMA node 1 but is inside NUMA node 0");
    machine = sample();
    machine.nics[1].numa = 3;
    CHECK(fault(machine) == "interface eth0 names NUMA node 3, which the machine does not have");
    machine = sample();
    machine.nics[0].vendor = 0x15b3;
    CHECK(fault(machine) == "EFA 0000:10:1b.0 is no device of Amazon");
    machine = sample();
    machine.nics[1].name.clear();
    CHECK(fault(machine) == "a NIC has neither a PCI address nor a name");
    machine = sample();
    machine.nics.push_back(machine.nics[1]);
    CHECK(fault(machine) == "two NICs without a PCI address have the name eth0");
}

TEST_CASE("contradictions in the tree are refused in one line") {
    CHECK(fault(Machine{}) == "the first place of a topology must be the machine");
    CHECK(fault(machine_sketch("numa 0 ( ) numa 0 ( )")) == "two places are NUMA node 0");
    CHECK(fault(machine_sketch("bridge 01:00.0 ( ) bridge 01:00.0 ( )")) ==
          "two devices have the PCI address 0000:01:00.0: bridge 0000:01:00.0 and bridge "
          "0000:01:00.0");
    Machine machine = machine_sketch("numa 0 ( host 00:00.0 ( ) )");
    machine.places[1].parent = 2;
    CHECK(fault(machine) == "NUMA node 0 hangs below nothing");
    machine.places[1].parent = -1;
    CHECK(fault(machine) == "NUMA node 0 hangs below nothing");
    machine = machine_sketch("numa 0 ( )");
    machine.places[1].os_index = -1;
    CHECK(fault(machine) == "NUMA node -1: its number is missing");
}

TEST_CASE("depth of common places") {
    const Machine machine = machine_sketch(
        "numa 0 ( host 00:00.0 ( bridge 01:00.0 ( ) bridge 02:00.0 ( ) ) )"
        " numa 1 ( )");
    CHECK(place_depth(machine, 0) == 0);
    CHECK(place_depth(machine, 3) == 3);
    CHECK(common_depth(machine, 3, 4) == 2);
    CHECK(common_depth(machine, 3, 3) == 3);
    CHECK(common_depth(machine, 3, 5) == 0);
    CHECK(common_depth(machine, 1, 4) == 1);
    CHECK(place_numa(machine, 4) == 0);
    CHECK(place_numa(machine, 5) == 1);
    CHECK(place_numa(machine, 0) == -1);
}

TEST_CASE("EFA is known by its identity") {
    CHECK(is_efa(0x1d0f, 0xefa0));
    CHECK(is_efa(0x1d0f, 0xefa4));
    CHECK_FALSE(is_efa(0x1d0f, 0xec20));
    CHECK_FALSE(is_efa(0x15b3, 0xefa0));
}
