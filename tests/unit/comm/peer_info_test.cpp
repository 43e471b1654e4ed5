#include "src/comm/peer_info.h"

#include "tests/catch.h"

using namespace weft;

namespace {

PeerInfo info(const std::string& host, uint64_t process) {
    PeerInfo made;
    made.version = WEFT_VERSION;
    made.host_key = host;
    made.host_name = "name of " + host;
    made.pid = static_cast<uint32_t>(process);
    made.process = process;
    made.settings = settings_shared(Settings());
    made.machine = "m";
    made.cpus = {0xff};
    return made;
}

}  // namespace

TEST_CASE("infos survive the wire") {
    const PeerInfo sent = info("a", 7);
    const std::string bytes = peer_info_encode(sent);
    CHECK(peer_info_decode(bytes).value() == sent);
    for (size_t cut = 0; cut < bytes.size(); cut++) {
        CHECK_FALSE(peer_info_decode(bytes.substr(0, cut)).ok());
    }
    CHECK_FALSE(peer_info_decode(bytes + "x").ok());
}

TEST_CASE("another version is named even if the rest is unknown") {
    PeerInfo other = info("a", 2);
    other.version = "99.0.0";
    const std::string bytes = peer_info_encode(other) + "members of the future";
    const auto infos = peer_infos_decode({peer_info_encode(info("a", 1)), bytes});
    REQUIRE(infos.ok());
    const auto agreed = peers_agree(infos.value());
    REQUIRE_FALSE(agreed.ok());
    CHECK(agreed.error().code == Code::invalid_usage);
    CHECK(agreed.error().what.find("Mismatched Weft version") == 0);
    CHECK(agreed.error().what.find("rank 1") != std::string::npos);
}

TEST_CASE("a setting that differs is named with its rank") {
    std::vector<PeerInfo> infos(3, info("a", 1));
    CHECK(peers_agree(infos).ok());
    Settings other;
    other.eager_bytes = 1;
    infos[2].settings = settings_shared(other);
    const auto agreed = peers_agree(infos);
    REQUIRE_FALSE(agreed.ok());
    CHECK(agreed.error().what.find("WEFT_EAGER_BYTES") != std::string::npos);
    CHECK(agreed.error().what.find("rank 2") != std::string::npos);
}

TEST_CASE("a network that differs is named with its rank and both values") {
    const std::vector<PeerInfo> infos(4, info("a", 1));
    const std::string efa = "provider=efa\nfabric=efa-direct\nlibfabric=2.4\n";
    CHECK(features_agree({"", "", "", ""}, infos).ok());
    CHECK(features_agree({"", efa, "", efa}, infos).ok());
    const auto refused = [&](const std::string& other) {
        const auto agreed = features_agree({"", efa, efa, other}, infos);
        return agreed.ok() ? "" : agreed.error().what;
    };
    const std::string version = refused("provider=efa\nfabric=efa-direct\nlibfabric=1.17\n");
    CHECK_THAT(version,
               Catch::Contains("libfabric is 1.17 on rank 3") && Catch::Contains("2.4 on rank 1"));
    CHECK_THAT(
        refused("provider=efa\nfabric=efa\nlibfabric=2.4\n"),
        Catch::Contains("fabric is efa on rank 3") && Catch::Contains("efa-direct on rank 1"));
    CHECK_THAT(refused("provider=tcp;ofi_rxm\nfabric=any\nlibfabric=2.4\n"),
               Catch::Contains("provider is tcp;ofi_rxm on rank 3"));
    // One that says more, or less.
    CHECK_THAT(refused(efa + "write=emulated\n"), Catch::Contains("write is emulated on rank 3"));
    CHECK_THAT(refused("provider=efa\n"), Catch::Contains("fabric is  on rank 3"));
}

TEST_CASE("which wire leads to whom") {
    const PeerInfo mine = info("a", 1), thread = info("a", 1), process = info("a", 2),
                   far = info("b", 3);
    Settings settings;
    CHECK(wire_choose(mine, thread, settings).value() == WireKind::loopback);
    CHECK(wire_choose(mine, process, settings).value() == WireKind::shm);
    CHECK(wire_choose(mine, far, settings).value() == WireKind::fabric);
    settings.shm_disable = true;
    CHECK(wire_choose(mine, thread, settings).value() == WireKind::loopback);
    CHECK(wire_choose(mine, process, settings).value() == WireKind::fabric);
    settings = Settings();
    settings.transport = "fabric";
    CHECK(wire_choose(mine, thread, settings).value() == WireKind::fabric);
    settings.transport = "shm";
    CHECK(wire_choose(mine, thread, settings).value() == WireKind::shm);
    CHECK_FALSE(wire_choose(mine, far, settings).ok());
    settings.transport = "loopback";
    CHECK_FALSE(wire_choose(mine, process, settings).ok());
    settings.transport = "pigeon";
    CHECK_FALSE(wire_choose(mine, thread, settings).ok());
}

TEST_CASE("ranks fit the cores of their machine, not of their host or process") {
    std::vector<PeerInfo> infos{info("a", 1), info("b", 2)};
    const auto fits = [&] { return locality_of(infos, 0, Settings()).cores_enough; };
    infos[0].cpus = {1};
    infos[1].cpus = {1};
    CHECK_FALSE(fits());
    infos[1].machine = "another";
    CHECK(fits());
    infos[1].machine = "m";
    infos[1].cpus = {0, 1};  // bound to a core of its own
    CHECK(fits());
    infos[0].quota = 1;  // of its container, in which it is alone
    CHECK(fits());
    infos[1].host_key = "a";
    CHECK_FALSE(fits());
}

TEST_CASE("locality") {
    const std::vector<PeerInfo> infos{info("a", 1), info("b", 2), info("a", 1), info("a", 3)};
    const Locality found = locality_of(infos, 2, Settings());
    CHECK(found.host_ranks == std::vector<int32_t>{0, 2, 3});
    CHECK(found.process_ranks == std::vector<int32_t>{0, 2});
    CHECK_FALSE(found.one_host);
    const std::vector<std::vector<int32_t>> hosts = {{0, 2, 3}, {1}};
    CHECK(found.hosts == hosts);
    CHECK(locality_of(infos, 1, Settings()).hosts == hosts);
    const std::vector<PeerInfo> threads(4, info("a", 1));
    CHECK(locality_of(threads, 0, Settings()).one_host);
    CHECK(locality_of(threads, 0, Settings()).one_process);
    Settings forced;
    forced.transport = "shm";
    CHECK(locality_of(threads, 0, forced).one_host);
    CHECK_FALSE(locality_of(threads, 0, forced).one_process);
    forced.transport = "fabric";
    CHECK_FALSE(locality_of(threads, 0, forced).one_host);
}
