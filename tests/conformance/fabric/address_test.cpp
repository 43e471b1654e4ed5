// Address handles of a rail, scarce: peers take turns, one that is needed keeps its own.
#include "tests/conformance/fabric/world.h"
#include "transports/fabric/hub.h"

namespace weft::test {
namespace {

FabricOptions scarce(size_t handles, Nanos idle) {
    FabricOptions options = options_of(provider());
    options.limits.address_handles = handles;
    options.limits.address_idle = idle;
    return options;
}

// All of this process is one NIC's there, and takes one handle.
bool each_its_own() {
    return !provider().starts_with("efa");
}

// A hub with few handles and two peers in hubs of their own.
struct Three {
    explicit Three(const FabricOptions& few) : reactor(reactor_make()) {
        for (uint32_t i = 0; i < 3; ++i) {
            hubs[i] = hub_open(*reactor, i == 0 ? few : options_of(provider()));
            ranks[i] = rank_attach(*hubs[i], 7, i, 3);
        }
    }
    std::vector<Rank*> all() { return {&ranks[0], &ranks[1], &ranks[2]}; }
    // Nothing is under way any more: an address may go.
    bool quiet() {
        const auto& hub = static_cast<fabric::FabricHub&>(*hubs[0]);
        return drive(all(), [&] { return !hub.unfinished(); });
    }
    bool sends_to(uint32_t i, const std::string& text) {
        const size_t before = ranks[i].sink.arrivals.size();
        return quiet() &&
               ranks[0].wire->put(value_put(i, ranks[i].token, text)) == Post::accepted &&
               drive(all(), [&] { return ranks[i].sink.arrivals.size() > before; });
    }
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<WireHub> hubs[3];
    Rank ranks[3];
};

TEST_CASE("fabric: peers take turns with one address handle") {
    if (!each_its_own()) {
        return;
    }
    Three three(scarce(1, 0));
    connect_pair(three.ranks[0], 0, three.ranks[1], 1);
    REQUIRE(three.quiet());
    connect_pair(three.ranks[0], 0, three.ranks[2], 2);
    for (int round = 0; round < 5; ++round) {
        for (uint32_t i : {1u, 2u}) {
            INFO("round " << round << ", rank " << i);
            REQUIRE(three.sends_to(i, "turn " + std::to_string(round)));
            CHECK(three.ranks[i].sink.arrivals.back().value == "turn " + std::to_string(round));
            const std::string answer = "answer";
            REQUIRE(
                put_soon(three.ranks[i], three.all(), value_put(0, three.ranks[0].token, answer)));
        }
    }
    CHECK(drive(three.all(), [&] { return three.ranks[0].sink.arrivals.size() == 10; }));
    for (Rank* rank : three.all()) {
        CHECK(rank->sink.failures.empty());
    }
}

TEST_CASE("fabric: no handle for one peer too many, said in one line") {
    if (!each_its_own()) {
        return;
    }
    Three three(scarce(1, 3600 * nanos_per_s));
    connect_pair(three.ranks[0], 0, three.ranks[1], 1);
    const auto refused = three.ranks[0].wire->connect(2, three.ranks[2].wire->address(), "");
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().what,
               Catch::Contains("rail 0") && Catch::Contains("all 1 address handles") &&
                   Catch::Contains("3600 s") && Catch::Contains("NCCL_ALGO=hier"));
    CHECK(three.sends_to(1, "undisturbed"));
}

TEST_CASE("fabric: a peer that has something to put here keeps its address handle") {
    if (!each_its_own()) {
        return;
    }
    Three three(scarce(1, 0));
    Wire& few = *three.ranks[0].wire;
    connect_pair(three.ranks[0], 0, three.ranks[1], 1);
    REQUIRE(three.sends_to(1, "before"));
    REQUIRE(few.pieces_reserve(1, 2) == 2);
    REQUIRE(three.quiet());
    const std::string address = three.ranks[2].wire->address();
    CHECK_FALSE(few.connect(2, address, "").ok());
    few.pieces_return(1, 1);
    CHECK_FALSE(few.connect(2, address, "").ok());
    few.pieces_return(1, 1);
    REQUIRE(three.quiet());
    CHECK(few.connect(2, address, "").ok());
}

}  // namespace
}  // namespace weft::test
