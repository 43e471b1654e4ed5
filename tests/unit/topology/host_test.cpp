#include "topology/host.h"

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"

using namespace weft::topology;

TEST_CASE("a host has its machine's rails, with the slower of line and PCIe") {
    Machine machine = machine_sketch(
        "host 10:00.0 ( gpu 10:1c.0 gpu 10:1d.0 efa 10:1b.0 )"
        "host 20:00.0 ( gpu 20:1c.0 gpu 20:1d.0 efa 20:1b.0 ) eth eth0");
    machine.nics[0].line_rate = 100;
    machine.nics[0].pcie_rate = 60;
    machine.nics[1].line_rate = 50;
    for (Gpu& gpu : machine.gpus) {
        gpu.nvlink_rate = 300;
    }
    machine.gpus[2].nvlink_rate = 200;
    const Host host = host_of(machine, rails_map(machine, gpu_places(machine)));
    CHECK(host.rail_rates == std::vector<int64_t>{60, 50});
    CHECK(host.rank_rails == std::vector<std::vector<uint16_t>>{{0}, {0}, {1}, {1}});
    CHECK(host.local_rate == 200);
    CHECK(host_check(host).ok());
}

TEST_CASE("a PCIe rate alone does not say what the line can do") {
    Machine machine = machine_sketch("host 10:00.0 ( gpu 10:1c.0 efa 10:1b.0 )");
    machine.nics[0].pcie_rate = 60;
    const Host host = host_of(machine, rails_map(machine, gpu_places(machine)));
    CHECK(host.rail_rates == std::vector<int64_t>{0});
    CHECK(host.local_rate == 0);
}
