#include "topology/nccl_xml.h"

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"

using namespace weft;
using namespace weft::topology;

namespace {

Result<Machine> read(const std::string& text) {
    auto document = xml_parse(text, "n.xml");
    if (!document.ok()) {
        return std::move(document).error();
    }
    return machine_of_nccl(document.value());
}

std::string refusal(const std::string& text) {
    const auto machine = read(text);
    return machine.ok() ? "accepted" : machine.error().what;
}

// One CPU around `inner`, which starts on line 3.
std::string in_cpu(const std::string& inner) {
    return "<system version=\"1\">\n<cpu numaid=\"0\">\n" + inner + "\n</cpu></system>";
}

// As NCCL writes it with NCCL_TOPO_DUMP_FILE: two GPUs and two EFA devices below a switch, one
// plain interface without PCI address.
constexpr const char* dump = R"(<system version="1">
  <cpu host_hash="0x1234" numaid="1" affinity="ffff" arch="x86_64" vendor="GenuineIntel">
    <pci busid="0000:4e:00.0" class="0x060400" vendor="0x1d0f" device="0x0200" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:53:00.0" class="0x030200" vendor="0x10de" device="0x2330" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="0" sm="90" rank="0" gdr="1">
          <nvlink target="0000:bd:00.0" count="10" tclass="0x068000"/>
          <nvlink target="0000:be:00.0" count="8" tclass="0x068000"/>
          <c2c bw="1" count="1"/>
        </gpu>
      </pci>
      <pci busid="0000:54:00.0" class="0x030200" vendor="0x10de" device="0x2330" link_speed="" link_width="">
        <gpu dev="1" sm="90" rank="1" gdr="1"/>
      </pci>
      <pci busid="0000:4f:00.0" class="0x020000" vendor="0x1d0f" device="0xefa1" link_speed="16.0 GT/s PCIe" link_width="8">
        <nic>
          <net name="rdmap79s0" dev="0" latency="75.0" speed="100000" port="1" guid="0x1" maxconn="262144" gdr="1"/>
        </nic>
      </pci>
      <pci busid="0000:50:00.0" class="0x020000" vendor="0x1d0f" device="0xefa1" link_speed="Unknown" link_width="255">
        <nic>
          <net name="rdmap80s0" dev="1" speed="100000"/>
        </nic>
      </pci>
      <pci busid="0000:51:00.0" class="0x010802"/>
    </pci>
    <nic>
      <net name="eth0" dev="2" speed="10000"/>
    </nic>
  </cpu>
  <cpu numaid="-1" host_hash="0x1234"/>
</system>)";

}  // namespace

TEST_CASE("a dump of NCCL becomes a machine") {
    const auto result = read(dump);
    REQUIRE(result.ok());
    const Machine& machine = result.value();
    REQUIRE(machine.places.size() == 3);
    CHECK(machine.places[1] == Place{PlaceKind::numa, 0, 1, {}});
    CHECK(machine.places[2].kind == PlaceKind::bridge);
    REQUIRE(machine.gpus.size() == 2);
    CHECK(to_string(machine.gpus[0].address) == "0000:53:00.0");
    CHECK(machine.gpus[0].numa == 1);
    CHECK(machine.gpus[0].nvlink_rate == 450'000'000'000);
    CHECK(machine.gpus[0].pcie_rate == 63'015'384'615);
    CHECK(machine.gpus[1].nvlink_rate == 0);
    CHECK(machine.gpus[1].pcie_rate == 0);
    REQUIRE(machine.nics.size() == 3);
    CHECK(machine.nics[0].kind == NicKind::efa);
    CHECK(machine.nics[0].device == 0xefa1);
    CHECK(machine.nics[0].name == "rdmap79s0");
    CHECK(machine.nics[0].line_rate == 12'500'000'000);
    CHECK(machine.nics[0].pcie_rate == 15'753'846'154);
    CHECK(machine.nics[1].pcie_rate == 0);
    CHECK(machine.nics[2].name == "eth0");
    CHECK(machine.nics[2].kind == NicKind::unknown);
    CHECK_FALSE(machine.nics[2].address.has_value());
    CHECK(machine.nics[2].place == 1);
    CHECK(rails_sketch(rails_map(machine, gpu_places(machine))) == " 0 / 1 ");
}

TEST_CASE("a hand-written file without identities: classes tell GPUs and NICs") {
    const auto machine = read(in_cpu(R"(<pci busid="ffff:ff:01.0" class="0x060400">
      <pci busid="0000:10:1c.0" class="0x030200" link_speed="8 GT/s" link_width="16"/>
      <pci busid="0000:10:1d.0" class="0x030200"/>
      <pci busid="0000:10:1b.0" class="0x020000"/></pci>)"));
    REQUIRE(machine.ok());
    CHECK(machine.value().gpus.size() == 2);
    CHECK(machine.value().gpus[0].pcie_rate == 15'753'846'154);
    REQUIRE(machine.value().nics.size() == 1);
    CHECK(machine.value().nics[0].kind == NicKind::unknown);
    const RailMap map = rails_map(machine.value(), gpu_places(machine.value()));
    CHECK(rails_sketch(map) == " 0 / 0 ");
    CHECK(rails_notes(machine.value(), map).size() == 1);
}

TEST_CASE("rates of unknown GPU generations stay unknown") {
    const auto rate = [](const char* sm) {
        return read(in_cpu(std::string("<pci busid=\"0000:10:1c.0\"><gpu dev=\"0\" sm=\"") + sm +
                           "\"><nvlink target=\"x\" count=\"2\"/></gpu></pci>"))
            .value()
            .gpus[0]
            .nvlink_rate;
    };
    CHECK(rate("70") == 50'000'000'000);
    CHECK(rate("100") == 100'000'000'000);
    CHECK(rate("86") == 0);
    CHECK(rate("999") == 0);
}

TEST_CASE("elements out of place are refused with line and reason") {
    CHECK(refusal("<topology/>") ==
          "n.xml:1: NCCL's topology starts with <system>, not with <topology>");
    CHECK(refusal("<system version=\"1\">\n<gpu/></system>") ==
          "n.xml:2: <gpu> must not stand in <system>");
    CHECK(refusal(in_cpu("<gpu dev=\"0\"/>")) == "n.xml:3: <gpu> must not stand in <cpu>");
    CHECK(refusal(in_cpu("<disk/>")) == "n.xml:3: <disk> is no element of NCCL's topology");
    CHECK(refusal(in_cpu("<nic>x</nic>")) ==
          "n.xml:3: text inside <nic>: only elements are expected");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\">\n<gpu/><nic/></pci>")) ==
          "n.xml:3: <pci> 0000:10:1c.0 is both a GPU and a NIC");
    CHECK(refusal(
              in_cpu("<pci busid=\"0000:10:1c.0\"><gpu/>\n<pci busid=\"0000:10:1d.0\"/></pci>")) ==
          "n.xml:3: <pci> 0000:10:1c.0 is a device and holds other <pci>: it cannot be both");
}

TEST_CASE("attributes that are missing or nonsense are refused with line and reason") {
    CHECK(refusal("<system/>") == "n.xml:1: <system> needs the attribute 'version'");
    CHECK(refusal("<system version=\"2\"/>") ==
          "n.xml:1: <system version=\"2\">: expected a whole number from 1 to 1");
    CHECK(refusal("<system version=\"1\">\n<cpu/></system>") ==
          "n.xml:2: <cpu> needs the attribute 'numaid'");
    CHECK(refusal(in_cpu("<pci/>")) == "n.xml:3: <pci> needs the attribute 'busid'");
    CHECK(refusal(in_cpu("<pci busid=\"10\"/>")) ==
          "n.xml:3: busid=\"10\": expected a PCI address such as 0000:10:1b.0");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\" link_speed=\"-8 GT/s\"/>")) ==
          "n.xml:3: link_speed=\"-8 GT/s\": expected a rate such as \"16.0 GT/s PCIe\"");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\" link_speed=\"nan GT/s\"/>")) ==
          "n.xml:3: link_speed=\"nan GT/s\": expected a rate such as \"16.0 GT/s PCIe\"");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\" link_width=\"-1\"/>")) ==
          "n.xml:3: <pci link_width=\"-1\">: expected a whole number from 0 to 255");
    CHECK(refusal(in_cpu("<nic><net name=\"a\" speed=\"-1\"/></nic>")) ==
          "n.xml:3: <net speed=\"-1\">: expected a whole number from 0 to 100000000");
    CHECK(refusal(in_cpu("<nic>\n<net/></nic>")) ==
          "n.xml:4: <net> of a NIC without a PCI address needs the attribute 'name'");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\"><gpu>\n<nvlink/></gpu></pci>")) ==
          "n.xml:4: <nvlink> needs the attribute 'count'");
}

TEST_CASE("contradictions are refused with the first line") {
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\"/>\n<pci busid=\"0000:10:1C.0\"/>")) ==
          "n.xml:4: PCI address 0000:10:1c.0 is given at line 3 already");
    CHECK(refusal(in_cpu("</cpu>\n<cpu numaid=\"0\">")) ==
          "n.xml:4: NUMA node 0 is given at line 2 already");
    CHECK(refusal(in_cpu("<pci busid=\"0000:10:1c.0\"><gpu dev=\"0\"/></pci>\n"
                         "<pci busid=\"0000:11:1c.0\"><gpu dev=\"0\"/></pci>")) ==
          "n.xml:4: GPU dev=\"0\" is given at line 3 already");
    CHECK(refusal("<system version=\"1\"><cpu numaid=\"0\" host_hash=\"1\"/>\n"
                  "<cpu numaid=\"1\" host_hash=\"2\"/></system>") ==
          "n.xml:2: host_hash differs from the first <cpu>'s: only files of one host are read");
    CHECK(refusal(in_cpu("<nic><net name=\"a\"/><net name=\"a\"/></nic>")) ==
          "n.xml: two NICs without a PCI address have the name a");
}

TEST_CASE("PCIe rates follow the line codes of the generations") {
    CHECK(pcie_rate(5, 16) == 8'000'000'000);
    CHECK(pcie_rate(16, 16) == 31'507'692'308);
    CHECK(pcie_rate(64, 16) == 121'000'000'000);
    CHECK(pcie_rate(16, 0) == 0);
    CHECK(pcie_rate(0, 16) == 0);
}
