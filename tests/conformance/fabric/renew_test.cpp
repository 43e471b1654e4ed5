// Rails given up and opened again: what was under way ends, the rest goes on, late comers find the
// new endpoint.
#include "tests/conformance/fabric/world.h"
#include "transports/fabric/hub.h"

namespace weft::test {
namespace {

void renew(WireHub& hub, size_t rail) {
    auto& fabric = static_cast<fabric::FabricHub&>(hub);
    REQUIRE(fabric.rail_renew(*fabric.rails()[rail], "the test wants it").ok());
}

std::string failures_of(const MemoryPair& pair) {
    std::string text;
    for (const Rank* rank : {&pair.a, &pair.b}) {
        for (const auto& [peer, what] : rank->sink.failures) {
            text += what + "; ";
        }
    }
    return text;
}

// Puts until every rail of a has carried more than before; all of it arrives.
void puts_on_all_rails(MemoryPair& pair) {
    const std::vector<uint64_t> before = pair.a.wire->counters().rail_bytes;
    const auto all_used = [&] {
        bool used = true;
        for (size_t i = 0; i < before.size(); ++i) {
            used = used && pair.a.wire->counters().rail_bytes[i] > before[i];
        }
        return used;
    };
    size_t posted = pair.a.sink.delivered.size();
    const bool all = drive(pair.both(), [&] {
        posted += pair.a.wire->put(pair.put) == Post::accepted;
        return all_used();
    });
    INFO(failures_of(pair));
    REQUIRE(all);
    const bool done = drive(pair.both(), [&] {
        return pair.a.sink.delivered.size() == posted && pair.b.sink.arrivals.size() >= posted;
    });
    INFO("posted " << posted << ", delivered " << pair.a.sink.delivered.size() << ", arrived "
                   << pair.b.sink.arrivals.size());
    CHECK(done);
    CHECK((pair.target == pair.source));
}

// b has heard that its rail is known again: it has put something on it.
void confirmed(MemoryPair& pair, size_t rail) {
    Put back = pair.put;
    back.peer = 0;
    back.to = pair.a.wire->ref(pair.from, 0, 1);
    back.from = pair.target.data();
    back.from_region = pair.to;
    back.imm.token = pair.a.token;
    const size_t before = pair.b.wire->counters().rail_bytes[rail];
    size_t posted = pair.b.sink.delivered.size();
    REQUIRE(drive(pair.both(), [&] {
        posted += pair.b.wire->put(back) == Post::accepted;
        return pair.b.wire->counters().rail_bytes[rail] > before;
    }));
    REQUIRE(drive(pair.both(), [&] { return pair.b.sink.delivered.size() == posted; }));
}

bool renewable() {
    return provider() != "shm";
}

TEST_CASE("fabric: a rail given up by the receiver is followed by its peers") {
    if (!renewable()) {
        return;
    }
    for (const size_t rails : {size_t{1}, size_t{3}}) {
        MemoryPair pair(options_of(provider(), rails), 64 << 10);
        puts_on_all_rails(pair);
        renew(*pair.hub_b, 0);
        const std::string early = "the peer does not know where this comes from";
        const bool only = pair.b.wire->caps().rails == 1;
        CHECK((!only || pair.b.wire->put(value_put(0, pair.a.token, early)) == Post::again));
        confirmed(pair, 0);
        puts_on_all_rails(pair);
        renew(*pair.hub_b, 0);
        confirmed(pair, 0);
        puts_on_all_rails(pair);
        CHECK(failures_of(pair) == "");
    }
}

TEST_CASE("fabric: a rail given up by the sender is used again once its peers know it") {
    if (!renewable()) {
        return;
    }
    for (const size_t rails : {size_t{1}, size_t{3}}) {
        MemoryPair pair(options_of(provider(), rails), 64 << 10);
        puts_on_all_rails(pair);
        renew(*pair.hub_a, pair.a.wire->caps().rails - 1);
        puts_on_all_rails(pair);
        const std::string text = "values too";
        const size_t before = pair.a.sink.arrivals.size();
        REQUIRE(put_soon(pair.b, pair.both(), value_put(0, pair.a.token, text)));
        CHECK(drive(pair.both(), [&] { return pair.a.sink.arrivals.size() == before + 1; }));
        CHECK(failures_of(pair) == "");
    }
}

TEST_CASE("fabric: who connects with an address from before is told the present one") {
    if (!renewable()) {
        return;
    }
    Pair pair(options_of(provider(), 2));
    const std::string old = pair.b.wire->address();
    renew(*pair.hub_b, 0);
    renew(*pair.hub_b, 1);
    CHECK(pair.b.wire->address() == old);
    REQUIRE(pair.a.wire->connect(1, old, "a").ok());
    REQUIRE(pair.b.wire->connect(0, pair.a.wire->address(), "b").ok());
    REQUIRE(drive(pair.both(), [&] {
        return pair.a.wire->state(1) == PeerState::up && pair.b.wire->state(0) == PeerState::up;
    }));
    const std::string text = "found";
    REQUIRE(put_soon(pair.a, pair.both(), value_put(1, pair.b.token, text)));
    REQUIRE(put_soon(pair.b, pair.both(), value_put(0, pair.a.token, text)));
    CHECK(drive(pair.both(), [&] {
        return pair.a.sink.arrivals.size() == 1 && pair.b.sink.arrivals.size() == 1;
    }));
    Rank late_a = rank_attach(*pair.hub_a, 9, 0, 2), late_b = rank_attach(*pair.hub_b, 9, 1, 2);
    connect_pair(late_a, 0, late_b, 1);
}

TEST_CASE("fabric: what was under way on a rail given up ends on both sides, rail and rank named") {
    if (!renewable()) {
        return;
    }
    MemoryPair pair(options_of(provider(), 2), 1 << 20);
    REQUIRE(pair.a.wire->put(pair.put) == Post::accepted);
    const bool first = pair.a.wire->counters().rail_bytes[0] != 0;
    renew(*pair.hub_a, first || pair.a.wire->counters().rail_bytes.size() == 1 ? 0 : 1);
    REQUIRE(drive(
        pair.both(), [&] { return !pair.a.sink.failures.empty() && !pair.b.sink.failures.empty(); },
        5));
    CHECK(pair.a.sink.failures[0].first == 1);
    CHECK_THAT(pair.a.sink.failures[0].second, Catch::Contains(first ? "rail 0 (" : "rail 1 (") &&
                                                   Catch::Contains("to rank 1") &&
                                                   Catch::Contains("the test wants it"));
    CHECK(pair.b.sink.failures[0].first == 0);
    CHECK_THAT(pair.b.sink.failures[0].second,
               Catch::Contains("rank 0 cannot go on with this rank: rail ") &&
                   Catch::Contains("to rank 1"));
    CHECK(pair.b.wire->state(0) == PeerState::failed);
    CHECK(pair.a.sink.failures.size() == 1);
    CHECK(pair.b.sink.failures.size() == 1);
    // Another communicator of the same processes goes on.
    Rank next_a = rank_attach(*pair.hub_a, 9, 0, 2), next_b = rank_attach(*pair.hub_b, 9, 1, 2);
    connect_pair(next_a, 0, next_b, 1);
}

TEST_CASE("fabric: a rail that cannot be opened again is left as it is") {
    if (renewable()) {
        return;
    }
    MemoryPair pair(options_of(provider()), 64 << 10);
    auto& hub = static_cast<fabric::FabricHub&>(*pair.hub_b);
    const auto refused = hub.rail_renew(*hub.rails()[0], "the test wants it");
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().what, Catch::Contains("shares memory with its peers"));
    puts_on_all_rails(pair);
}

}  // namespace
}  // namespace weft::test
