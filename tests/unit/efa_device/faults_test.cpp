// Fault scripts: what they say, and what each fault does to a run.
#include "tools/efa_device/core/faults.h"

#include "tests/unit/efa_device/world.h"

using namespace weft;
using namespace weft::efa;
using namespace weft::efa::test;

namespace {

std::string refusal(const std::string& script) {
    const Result<Faults> faults = faults_parse(script);
    return faults.ok() ? "accepted" : faults.error().what;
}

// A write of one packet on a NIC, as often as wanted.
struct Rail {
    Rail(Pair& world, uint32_t nic) : world_(world), nic_(nic) {
        from = world.a().open(nic);
        to = world.b().open(nic);
        lkey_ = world.a().key(source.data(), source.size(), 7, nic);
        rkey_ = world.b().key(target.data(), target.size(), 7, nic);
    }
    void post() {
        SendRequest request = world_.request(Operation::write, to, nic_);
        request.sges = {sge(source.data(), source.size(), lkey_)};
        request.rkey = rkey_;
        request.remote_address = reinterpret_cast<uint64_t>(target.data());
        REQUIRE(world_.a().node.post_send(from, request) == 0);
    }
    Status write() {
        post();
        world_.run();
        const auto done = drain(world_.a().sent);
        REQUIRE(done.size() == 1);
        return done[0].status;
    }
    std::string source = pattern(4096);
    std::string target = std::string(4096, '\0');
    QueuePair* from = nullptr;
    QueuePair* to = nullptr;

  private:
    Pair& world_;
    uint32_t nic_;
    uint32_t lkey_ = 0;
    uint32_t rkey_ = 0;
};

}  // namespace

TEST_CASE("a script is refused with the place, the reason and what to do") {
    CHECK(refusal("rail-down nic=1 at=5ms for=10ms; slow nic=0 rate=10Mbit # all\nloss rate=5%") ==
          "accepted");
    CHECK(refusal("") == "accepted");
    CHECK(refusal(" # nothing\n;;\n") == "accepted");
    CHECK(refusal("rail-dwn nic=1") ==
          "faults:1:1: fault 'rail-dwn' is unknown; the nearest one is rail-down");
    CHECK(refusal("loss rate=5%;\n  rail-up nik=3") ==
          "faults:2:11: 'nik' is unknown; the nearest key is nic");
    CHECK(refusal("rail-down at=5ms") == "faults:1:1: rail-down needs nic=; add it");
    CHECK(refusal("slow nic=1") == "faults:1:1: slow needs rate=; add it");
    CHECK(refusal("die pages=3") == "faults:1:5: die takes no pages; leave it out");
    CHECK(refusal("loss rate=5") == "faults:1:6: rate='5': expected a share from 0% to 100%");
    CHECK(refusal("slow rate=fast") ==
          "faults:1:6: rate='fast': expected a rate such as 250Mbit, 100Gbit or 12.5GB/s, or 0 for "
          "no limit");
    CHECK(refusal("die at=soon") ==
          "faults:1:5: at='soon': expected a time such as 20us, 5ms or 2s");
    CHECK(refusal("mr-fail pages=x") ==
          "faults:1:9: pages='x': expected a whole number from 0 to 9223372036854775807");
    CHECK(refusal("die after=3 at=2s") ==
          "faults:1:1: after= stands alone; leave at= and for= out");
}

TEST_CASE("a script for another host or process is not ours") {
    const Faults faults = faults_parse("die at=1s host=1; die at=2s process=3").value();
    CHECK(FaultPlan(faults, 0, 0).empty());
    CHECK(FaultPlan(faults, 1, 0).next(0) == nanos_per_s);
    CHECK(FaultPlan(faults, 0, 3).next(0) == 2 * nanos_per_s);
    CHECK_FALSE(FaultPlan(faults, 0, 3).next(2 * nanos_per_s));
}

TEST_CASE("a rail that is down loses everything until it is up again") {
    Pair world("nics=2", "rail-down nic=1 at=10ms for=300ms host=0");
    Rail good(world, 0);
    Rail bad(world, 1);
    CHECK(bad.write() == Status::ok);
    world.run(20 * ms);
    world.now = 20 * ms;
    CHECK_FALSE(world.a().node.rail_up(1, world.now));
    CHECK(world.a().node.rail_up(0, world.now));
    CHECK(good.write() == Status::ok);
    bad.target.assign(4096, '\0');
    CHECK(bad.write() == Status::ok);
    CHECK(world.now >= 310 * ms);
    CHECK((bad.target == bad.source));
    CHECK(world.a().counters(1).drops > 0);
    CHECK(world.a().counters(1).retransmits > 0);
}

TEST_CASE("a rail that stays down ends what is under way on it after a bounded time") {
    Pair world("nics=2,unresponsive=2s", "rail-down nic=1 after=2 host=0");
    Rail bad(world, 1);
    CHECK(bad.write() == Status::ok);
    // The second packet still leaves; its answer does not arrive any more.
    CHECK(bad.write() == Status::unresponsive);
    CHECK(world.now >= 2 * nanos_per_s);
    CHECK(world.now < 3 * nanos_per_s);
}

TEST_CASE("a rail goes up by name") {
    Pair world("nics=2", "rail-down nic=1; rail-up nic=1 at=1s");
    Rail bad(world, 1);
    CHECK(bad.write() == Status::ok);
    CHECK(world.now >= nanos_per_s);
}

TEST_CASE("loss is one-way, and what is lost is sent again") {
    Pair world("", "loss nic=0 rate=30% from=0 to=1");
    Rail rail(world, 0);
    for (int i = 0; i < 50; ++i) {
        CHECK(rail.write() == Status::ok);
    }
    CHECK(world.a().counters().drops > 5);
    CHECK(world.a().counters().retransmits >= world.a().counters().drops);
    CHECK(world.b().counters().drops == 0);
}

TEST_CASE("lost answers make packets arrive again, which are told from news") {
    Pair world("", "loss rate=50% from=1");
    Rail rail(world, 0);
    for (int i = 0; i < 20; ++i) {
        CHECK(rail.write() == Status::ok);
    }
    CHECK(world.b().counters().drops > 3);
    CHECK(world.b().counters().duplicates > 3);
}

TEST_CASE("a slow rail is slow") {
    Pair world("nics=2,rate=100Mbit", "slow nic=1 rate=1Mbit");
    Rail fast(world, 0);
    Rail slow(world, 1);
    fast.post();
    slow.post();
    world.run(10 * ms);
    CHECK((fast.target == fast.source));
    CHECK((slow.target != slow.source));
    world.run(40 * ms);
    CHECK((slow.target == slow.source));
}

TEST_CASE("a process dies when the script says so, and its peers hear of it") {
    Pair world("", "die host=1 at=50ms");
    Rail rail(world, 0);
    CHECK(rail.write() == Status::ok);
    CHECK_FALSE(world.b().node.died(49 * ms));
    CHECK(world.b().node.died(50 * ms));
    world.now = 50 * ms;
    world.stopped = &world.b();
    world.net.rings[{1, 0}].alive = false;
    CHECK(rail.write() == Status::unresponsive);
    CHECK(world.now < 50 * ms + nanos_per_s);
}

TEST_CASE("a process that never was is unreachable") {
    Pair world;
    Rail rail(world, 0);
    world.net.rings.erase({1, 0});
    world.stopped = &world.b();
    CHECK(rail.write() == Status::unreachable);
    CHECK(world.now < nanos_per_s);
}

TEST_CASE("a stale write lands after its sender was told that it failed") {
    Pair world("unresponsive=1s", "rail-down nic=0 at=10ms host=0; stale nic=0 delay=3s host=0");
    Rail rail(world, 0);
    CHECK(rail.write() == Status::ok);
    world.now = 10 * ms;
    rail.post();
    world.run(2 * nanos_per_s);
    CHECK(drain(world.a().sent).at(0).status == Status::unresponsive);
    rail.target.assign(4096, 'x');
    SECTION("while the queue pair is there") {
        world.run();
        CHECK((rail.target == rail.source));
        CHECK(world.b().counters().stale_writes == 1);
    }
    SECTION("unless the queue pair is closed: that is the fence") {
        world.a().node.qp_destroy(rail.from);
        world.run();
        CHECK((rail.target == std::string(4096, 'x')));
        CHECK(world.b().counters().stale_writes == 0);
    }
}

TEST_CASE("registration fails at as many pages as the script says") {
    Pair world("", "mr-fail pages=10 host=0");
    int error = 0;
    const uint32_t first = world.a().node.mr_add(0, 8 * page_bytes, 8 * page_bytes, 7, error);
    CHECK(first != 0);
    CHECK(world.a().node.mr_add(0, 99 * page_bytes, 3 * page_bytes, 7, error) == 0);
    CHECK(error == ENOMEM);
    CHECK(world.b().node.mr_add(0, 99 * page_bytes, 3 * page_bytes, 7, error) != 0);
    world.a().node.mr_remove(0, first);
    CHECK(world.a().node.mr_add(0, 99 * page_bytes, 3 * page_bytes, 7, error) != 0);
}

TEST_CASE("queues and address handles run out as the script says") {
    Pair world("", "qp-max count=2; ah-max count=3; cq-max count=1; sq-max count=8");
    int error = 0;
    CompletionQueue cq(8);
    Node& node = world.a().node;
    const QpInit init{0, QpType::srd, &cq, &cq, 8, 8, true};
    CHECK(node.qp_create(init, error) != nullptr);
    CHECK(node.qp_create(init, error) != nullptr);
    CHECK(node.qp_create(init, error) == nullptr);
    CHECK(error == ENOMEM);
    CHECK(node.qp_create({0, QpType::srd, &cq, &cq, 9, 8, true}, error) == nullptr);
    CHECK(error == EINVAL);
    CHECK(node.ah_add(0, gid_make(2, 0)) == 1);
    CHECK(node.ah_add(0, gid_make(2, 0)) == 1);
    CHECK(node.ah_add(0, gid_make(3, 0)) == 2);
    CHECK(node.ah_add(0, gid_make(4, 0)) == ah_unknown);
    CHECK(node.cq_add(0) == 0);
    CHECK(node.cq_add(0) == ENOMEM);
}
