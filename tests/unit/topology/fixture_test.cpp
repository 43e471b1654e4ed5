// Recorded EC2 machines (hwloc exports), which lie in ../shared/fixtures beside the repository, and
// are not part of it. Exits 77 where they are missing.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/unit/topology/machines.h"
#include "topology/discover.h"
#include "topology/host.h"
#include "topology/profiles.h"

using namespace weft::topology;

namespace {

std::string fixture_folder() {
    const char* source = std::getenv("WEFT_TEST_SOURCE");
    return std::string(source == nullptr ? "." : source) + "/../shared/fixtures/ec2/";
}

Machine recorded(const std::string& name) {
    auto machine = machine_read(fixture_folder() + name + "-topo.xml");
    INFO((machine.ok() ? "" : machine.error().what));
    REQUIRE(machine.ok());
    return std::move(machine).value();
}

RailMap rails_of(const Machine& machine) {
    return rails_map(machine, rank_places(machine, 0));
}

void check_profile(const char* profile, const Machine& machine) {
    for (const Comparison& row : profile_compare(*profile_find(profile).value(), machine)) {
        INFO(row.what << ": expected " << row.expected << ", found " << row.found);
        CHECK(row.verdict != Comparison::Verdict::different);
    }
}

}  // namespace

TEST_CASE("p4d has 4 rails, each for the 2 GPUs of its host bridge") {
    const Machine machine = recorded("p4d.24xl");
    CHECK(machine.gpus.size() == 8);
    const RailMap map = rails_of(machine);
    CHECK(map.nics.size() == 4);
    CHECK(rails_sketch(map) == " 0 / 0 / 1 / 1 / 2 / 2 / 3 / 3 ");
    CHECK(machine.gpus[0].numa == 0);
    CHECK(machine.gpus[7].numa == 1);
    check_profile("p4d.24xlarge", machine);
}

TEST_CASE("p5 has 32 rails, 4 for each GPU") {
    const Machine machine = recorded("p5.48xl");
    CHECK(machine.gpus.size() == 8);
    const RailMap map = rails_of(machine);
    CHECK(map.nics.size() == 32);
    CHECK(rails_sketch(map) ==
          " 0 1 2 3 / 4 5 6 7 / 8 9 10 11 / 12 13 14 15 / 16 17 18 19 / 20 21 22 23 /"
          " 24 25 26 27 / 28 29 30 31 ");
    check_profile("p5.48xlarge", machine);
    CHECK(host_check(host_of(machine, map)).ok());
    CHECK(host_of(machine, map).rank_rails == rails_in_blocks(8, 32));
}

TEST_CASE("p3dn and g5 have one rail for all GPUs") {
    for (const auto& [name, profile] :
         {std::pair("p3dn.24xl", "p3dn.24xlarge"), std::pair("g5.48xl", "g5.48xlarge")}) {
        const Machine machine = recorded(name);
        CHECK(machine.gpus.size() == 8);
        CHECK(rails_sketch(rails_of(machine)) == " 0 / 0 / 0 / 0 / 0 / 0 / 0 / 0 ");
        check_profile(profile, machine);
    }
}

TEST_CASE("c5n has one rail and no GPU") {
    const Machine machine = recorded("c5n.18xl");
    CHECK(machine.gpus.empty());
    CHECK(rails_sketch(rails_of(machine)) == " 0 / 0 ");
}

TEST_CASE("no recorded machine is taken for another one") {
    const auto differs = [](const char* profile, const char* machine) {
        for (const Comparison& row :
             profile_compare(*profile_find(profile).value(), recorded(machine))) {
            if (row.verdict == Comparison::Verdict::different) {
                return true;
            }
        }
        return false;
    };
    CHECK(differs("p5.48xlarge", "p4d.24xl"));
    CHECK(differs("p4d.24xlarge", "p5.48xl"));
    CHECK(differs("p5.48xlarge", "c5n.18xl"));
    CHECK(differs("g6.48xlarge", "g5.48xl"));
}

int main(int argc, char** argv) {
    if (access(fixture_folder().c_str(), R_OK) != 0) {
        std::printf("skipped: no recorded machines at %s\n", fixture_folder().c_str());
        return 77;
    }
    return Catch::Session().run(argc, argv);
}
