#include "topology/rails.h"

#include <algorithm>
#include <random>

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"

using namespace weft::topology;

namespace {

std::string rails_of(const std::string& text, int32_t count = 0) {
    const Machine machine = machine_sketch(text);
    return rails_sketch(rails_map(machine, rank_places(machine, count)));
}

}  // namespace

TEST_CASE("two GPUs of a bridge share its NIC") {
    CHECK(rails_of("host 10:00.0 ( gpu 10:1c.0 gpu 10:1d.0 efa 10:1b.0 )"
                   "host 20:00.0 ( gpu 20:1c.0 gpu 20:1d.0 efa 20:1b.0 )") == " 0 / 0 / 1 / 1 ");
}

TEST_CASE("four NICs of a bridge serve its GPU") {
    CHECK(
        rails_of("host 10:00.0 ( bridge 11:00.0 ( efa 12:00.0 ) bridge 11:01.0 ( efa 13:00.0 )"
                 " efa 14:00.0 efa 15:00.0 gpu 16:00.0 )"
                 "host 20:00.0 ( gpu 26:00.0 efa 22:00.0 efa 23:00.0 efa 24:00.0 efa 25:00.0 )") ==
        " 0 1 2 3 / 4 5 6 7 ");
}

TEST_CASE("equally near NICs are divided, not shared") {
    // As on p5en: four NICs and two GPUs below one switch.
    CHECK(rails_of("host 55:00.0 ( efa 55:01.0 efa 56:00.0 efa 57:00.0 efa 58:00.0"
                   " gpu 59:00.0 gpu 5a:00.0 )") == " 0 1 / 2 3 ");
    CHECK(rails_of("host 55:00.0 ( efa 55:01.0 efa 56:00.0 efa 57:00.0"
                   " gpu 59:00.0 gpu 5a:00.0 )") == " 0 / 1 2 ");
    CHECK(rails_of("host 55:00.0 ( efa 55:01.0 efa 56:00.0"
                   " gpu 59:00.0 gpu 5a:00.0 gpu 5b:00.0 )") == " 0 / 0 / 1 ");
}

TEST_CASE("one NIC serves all") {
    CHECK(rails_of("host 00:00.0 ( gpu 00:16.0 gpu 00:17.0 gpu 00:18.0 efa 00:15.0 )") ==
          " 0 / 0 / 0 ");
}

TEST_CASE("the nearest NIC wins over a free one that is farther") {
    // The second GPU has no NIC of its own: the one in its NUMA node, not the other node's.
    CHECK(
        rails_of("numa 0 ( host 10:00.0 ( gpu 11:00.0 efa 12:00.0 ) host 20:00.0 ( gpu 21:00.0 ) )"
                 "numa 1 ( host 30:00.0 ( efa 31:00.0 gpu 32:00.0 ) )") == " 0 / 0 / 1 ");
}

TEST_CASE("a rank prefers what deeper ranks left") {
    CHECK(rails_of("numa 0 ( host 10:00.0 ( gpu 11:00.0 efa 12:00.0 ) host 20:00.0 ( gpu 21:00.0 )"
                   " host 30:00.0 ( efa 31:00.0 ) )") == " 0 / 1 ");
}

TEST_CASE("every NIC is used, by the nearest rank with the fewest") {
    CHECK(rails_of("numa 0 ( host 10:00.0 ( gpu 11:00.0 efa 12:00.0 ) )"
                   "numa 1 ( host 30:00.0 ( efa 31:00.0 efa 32:00.0 ) )") == " 0 1 2 ");
    CHECK(rails_of("numa 0 ( host 10:00.0 ( gpu 11:00.0 efa 12:00.0 efa 13:00.0 )"
                   "         host 20:00.0 ( gpu 21:00.0 efa 22:00.0 ) )"
                   "numa 1 ( host 30:00.0 ( efa 31:00.0 efa 32:00.0 ) )") == " 0 1 4 / 2 3 ");
}

TEST_CASE("only EFA makes rails where there is EFA") {
    const Machine machine = machine_sketch(
        "host 00:00.0 ( eth 00:05.0 verbs 00:06.0 efa 00:15.0 nic 00:07.0 gpu 00:16.0 )");
    const RailMap map = rails_map(machine, rank_places(machine, 0));
    REQUIRE(map.nics.size() == 1);
    CHECK(machine.nics[static_cast<size_t>(map.nics[0])].kind == NicKind::efa);
    const auto notes = rails_notes(machine, map);
    REQUIRE(notes.size() == 2);
    CHECK(notes[0] == "1 plain interface: not used as rail, EFA is");
    CHECK(notes[1] == "1 NIC of unknown kind: not used, EFA is");
}

TEST_CASE("plain interfaces serve where there is no EFA, verbs devices never") {
    const Machine machine = machine_sketch("numa 0 ( verbs 00:06.0 eth 00:05.0 ) eth eth9");
    const RailMap map = rails_map(machine, rank_places(machine, 2));
    CHECK(map.nics == std::vector<int32_t>{0, 2});
    CHECK(rails_sketch(map) == " 0 1 / 0 ");
    CHECK(rails_notes(machine, map) ==
          std::vector<std::string>{"no EFA device: plain interfaces serve as rails"});
    const Machine none = machine_sketch("numa 0 ( verbs 00:06.0 )");
    const RailMap empty = rails_map(none, rank_places(none, 2));
    CHECK(empty.nics.empty());
    CHECK(rails_sketch(empty) == " / ");
    CHECK(rails_notes(none, empty).size() == 1);
}

TEST_CASE("ranks without GPUs sit in blocks on the NUMA nodes") {
    const std::string two = "numa 0 ( efa 10:00.0 ) numa 1 ( efa 20:00.0 )";
    CHECK(rails_of(two, 4) == " 0 / 0 / 1 / 1 ");
    CHECK(rails_of(two, 3) == " 0 / 0 / 1 ");
    CHECK(rails_of(two, 1) == " 0 1 ");
    CHECK(rails_of(two) == " 0 / 1 ");
    CHECK(rails_of("efa 10:00.0", 2) == " 0 / 0 ");
}

TEST_CASE("fewer ranks than GPUs take the first, more share them in blocks") {
    const std::string two =
        "host 10:00.0 ( gpu 11:00.0 efa 12:00.0 )"
        "host 20:00.0 ( gpu 21:00.0 efa 22:00.0 )";
    CHECK(rails_of(two, 1) == " 0 1 ");
    CHECK(rails_of(two, 4) == " 0 / 0 / 1 / 1 ");
}

TEST_CASE("the order in which devices were found does not matter") {
    const Machine machine = machine_sketch(
        "numa 0 ( host 10:00.0 ( gpu 11:00.0 gpu 12:00.0 efa 13:00.0 efa 14:00.0 efa 15:00.0 ) )"
        "numa 1 ( host 20:00.0 ( gpu 21:00.0 gpu 22:00.0 efa 23:00.0 ) ) efa 30:00.0 eth eth0");
    const RailMap expected = rails_map(machine, gpu_places(machine));
    std::mt19937 random(7);
    for (int round = 0; round < 20; ++round) {
        Machine shuffled = machine;
        std::shuffle(shuffled.gpus.begin(), shuffled.gpus.end(), random);
        std::shuffle(shuffled.nics.begin(), shuffled.nics.end(), random);
        machine_sort(shuffled);
        CHECK(shuffled == machine);
        CHECK(rails_map(shuffled, gpu_places(shuffled)) == expected);
    }
}
