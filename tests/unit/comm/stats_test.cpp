#include "src/comm/stats.h"

#include "src/comm/loaded.h"
#include "tests/catch.h"

using namespace weft;

TEST_CASE("one line of keys and values") {
    RankStats stats;
    stats.rank = 3;
    stats.counters.ops.ops = 5;
    stats.counters.ops.copied_bytes = 100;
    stats.counters.ops.again = 1;
    stats.counters.sent = {{1, 60}, {4, 4}};
    WireCounters wire;
    wire.put_bytes = 64;
    wire.copied_bytes = 11;
    wire.again = 2;
    wire.registrations = 7;
    wire.deregistrations = 6;
    wire.registration_hits = 5;
    wire.rail_bytes = {40, 24};
    stats.counters.wires.emplace_back("fabric(tcp;ofi_rxm)", wire);
    const std::string line = stats_line(stats);
    CHECK(line.find("weft stats: rank 3 comm ") == 0);
    CHECK(line.find(" ops=5 ") != std::string::npos);
    CHECK(line.find(" copied_bytes=111 ") != std::string::npos);
    CHECK(line.find(" again=3 ") != std::string::npos);
    CHECK(line.find(" fabric.put_bytes=64 ") != std::string::npos);
    CHECK(line.find(" fabric.registrations=7 fabric.deregistrations=6 "
                    "fabric.registration_hits=5") != std::string::npos);
    CHECK(line.find(" to=1:60,4:4 ") != std::string::npos);
    CHECK(line.find(" fabric.rails=40,24") != std::string::npos);
    CHECK(line.find('\n') == std::string::npos);
}

TEST_CASE("which files are libraries with NCCL's functions") {
    CHECK(library_is_nccl("/usr/lib/libnccl.so.2.28.9"));
    CHECK(library_is_nccl("libweft.so"));
    CHECK_FALSE(library_is_nccl("/opt/libnccl-net.so"));
    CHECK_FALSE(library_is_nccl("/libnccl.so/other.so"));
}
