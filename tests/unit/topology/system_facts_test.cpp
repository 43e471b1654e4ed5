#include "topology/system_facts.h"

#include <filesystem>
#include <fstream>

#include "tests/catch.h"

using namespace weft::topology;
namespace fs = std::filesystem;

namespace {

class Folder {
  public:
    Folder() {
        char name[] = "/tmp/weft-sys-XXXXXX";
        path_ = mkdtemp(name);
    }
    ~Folder() { fs::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    void write(const std::string& name, const std::string& text) {
        fs::create_directories((fs::path(path_) / name).parent_path());
        std::ofstream(fs::path(path_) / name) << text;
    }
    void link(const std::string& name, const std::string& target) {
        fs::create_directories((fs::path(path_) / name).parent_path());
        fs::create_symlink(target, fs::path(path_) / name);
    }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace

TEST_CASE("drivers and RDMA rates come from sysfs") {
    Folder sys;
    sys.link("bus/pci/devices/0000:10:1b.0/driver", "../../../bus/pci/drivers/efa");
    sys.write("bus/pci/devices/0000:10:1c.0/class", "0x030200\n");
    sys.write("bus/pci/devices/nonsense/class", "0\n");
    sys.write("class/infiniband/rdmap16s27/ports/1/rate", "100 Gb/sec (4X EDR)\n");
    sys.write("class/infiniband/mlx5_0/node_type", "1\n");
    const SystemFacts facts = system_facts_read(sys.path());
    REQUIRE(facts.drivers.size() == 1);
    CHECK(facts.drivers.at(*pci_address_parse("10:1b.0")) == "efa");
    CHECK(facts.verbs_rates.at("rdmap16s27") == 12'500'000'000);
    CHECK(facts.verbs_rates.at("mlx5_0") == 0);
}

TEST_CASE("every machine has a loopback interface, and it is known as one") {
    const SystemFacts facts = system_facts_read("/nowhere");
    CHECK(facts.drivers.empty());
    const auto lo = facts.interfaces.find("lo");
    REQUIRE(lo != facts.interfaces.end());
    CHECK(lo->second.local);
    CHECK(lo->second.line_rate == 0);
}

TEST_CASE("rates of the kernel's texts") {
    CHECK(verbs_rate_parse("200 Gb/sec (4X HDR)") == 25'000'000'000);
    CHECK(verbs_rate_parse("2.5 Gb/sec (1X SDR)") == 312'500'000);
    CHECK(verbs_rate_parse("") == 0);
    CHECK(verbs_rate_parse("fast") == 0);
    CHECK(verbs_rate_parse("-1 Gb/sec") == 0);
    CHECK(interface_rate_parse("25000") == 3'125'000'000);
    CHECK(interface_rate_parse("-1") == 0);
    CHECK(interface_rate_parse("4294967295") == 0);
    CHECK(interface_rate_parse("") == 0);
}
