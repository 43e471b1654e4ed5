// Receivers that have posted nothing: what their NIC answers, and what becomes of what came too
// early.
#include "tests/unit/efa_device/world.h"
#include "tools/efa_device/core/node.h"

using namespace weft;
using namespace weft::efa;
using namespace weft::efa::test;

TEST_CASE("writes with immediate need a receive where they are not unsolicited") {
    Write write(100, "", "", false);
    REQUIRE(write.world.a().node.post_send(write.from, write.request()) == 0);
    write.world.run(20 * ms);
    CHECK(drain(write.world.a().sent).empty());
    CHECK(write.world.a().counters().rnrs > 1);
    write.world.b().node.post_receive(write.to, {42, {}});
    write.world.run();
    const auto arrived = drain(write.world.b().received);
    REQUIRE(arrived.size() == 1);
    CHECK(arrived[0].wr_id == 42);
    CHECK_FALSE(arrived[0].unsolicited);
    CHECK(drain(write.world.a().sent).at(0).status == Status::ok);
}

TEST_CASE("a receiver that is not ready is tried as often as the queue pair says") {
    Pair world;
    QueuePair* from = world.a().open(0, QpType::srd, 3);
    QueuePair* to = world.b().open(0);
    REQUIRE(world.a().node.post_send(from, world.request(Operation::send, to)) == 0);
    world.run();
    CHECK(drain(world.a().sent).at(0).status == Status::rnr);
    CHECK(world.a().counters().rnrs == 4);
    CHECK(world.a().counters().errors == 1);
}

// libfabric sends a message again by itself once it was refused for good: a copy that is delivered
// then is the same message twice.
TEST_CASE("what was reported as not ready is never delivered, whatever comes of it later") {
    const Operation operation = GENERATE(Operation::send, Operation::write);
    Write write(100, "twice=100%,reorder=50us", "", false);
    write.from = write.world.a().open(0, QpType::srd, 0);
    SendRequest request = write.request();
    request.operation = operation;
    REQUIRE(write.world.a().node.post_send(write.from, request) == 0);
    std::vector<Completion> done;
    for (Nanos at = us; done.empty() && at < ms; at += us) {
        write.world.run(at);
        done = drain(write.world.a().sent);
    }
    REQUIRE(done.size() == 1);
    CHECK(done[0].status == Status::rnr);
    const uint32_t key = write.world.b().key(write.target.data(), 100);
    write.world.b().node.post_receive(write.to, {1, {sge(write.target.data(), 100, key)}});
    write.world.run();
    CHECK(drain(write.world.b().received).empty());
    // The receive is there for the next message.
    CHECK(write.post(request) == Status::ok);
    CHECK(drain(write.world.b().received).size() == 1);
    CHECK((write.target == write.source));
}

TEST_CASE("a copy of a packet is not a try of its own") {
    const Operation operation = GENERATE(Operation::send, Operation::write);
    Write write(100, "twice=100%,reorder=30us", "", false);
    write.from = write.world.a().open(0, QpType::srd, 1);
    SendRequest request = write.request();
    request.operation = operation;
    REQUIRE(write.world.a().node.post_send(write.from, request) == 0);
    write.world.run(49 * us);  // both copies were refused, the next try is not due
    REQUIRE(write.world.a().counters().packets == 1);
    REQUIRE(write.world.a().counters().rnrs == 1);
    CHECK(drain(write.world.a().sent).empty());
    const uint32_t key = write.world.b().key(write.target.data(), 100);
    write.world.b().node.post_receive(write.to, {1, {sge(write.target.data(), 100, key)}});
    write.world.run();
    CHECK(drain(write.world.a().sent).at(0).status == Status::ok);
    CHECK(drain(write.world.b().received).size() == 1);
}

TEST_CASE("a packet that is sent again because its answer was lost is refused as it was before") {
    const uint32_t retries = GENERATE(0, 1, 7);
    Write write(100, "retransmit=1ms", "loss rate=100% host=1 for=5ms");
    write.from = write.world.a().open(0, QpType::srd, retries);
    SendRequest request = write.request();
    request.operation = Operation::send;
    REQUIRE(write.world.a().node.post_send(write.from, request) == 0);
    write.world.run(2500 * us);
    REQUIRE(write.world.a().counters().packets == 3);
    const uint32_t key = write.world.b().key(write.target.data(), 100);
    write.world.b().node.post_receive(write.to, {1, {sge(write.target.data(), 100, key)}});
    write.world.run();
    CHECK(write.world.a().counters().rnrs == 1);
    CHECK(drain(write.world.a().sent).at(0).status == (retries == 0 ? Status::rnr : Status::ok));
    CHECK(drain(write.world.b().received).size() == (retries == 0 ? 0 : 1));
}
