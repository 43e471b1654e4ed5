// SRD as the device has it, clause by clause (docs/EFA-DEVICE.md).
#include "tools/efa_device/core/node.h"

#include <atomic>
#include <thread>

#include "tests/unit/efa_device/world.h"

using namespace weft;
using namespace weft::efa;
using namespace weft::efa::test;

namespace {

constexpr size_t large = 1'000'003;  // 113 packets, the last one not full

// Sends `count` numbers, 4 bytes each; b has as many receives. Their order of arrival.
std::vector<uint32_t> send_numbers(Pair& world, uint32_t count, QpType type = QpType::srd) {
    QueuePair* from = world.a().open(0, type);
    QueuePair* to = world.b().open(0, type);
    std::vector<uint32_t> source(count);
    std::vector<uint32_t> target(size_t{count} * 16);
    const uint32_t lkey = world.a().key(source.data(), source.size() * 4);
    const uint32_t key = world.b().key(target.data(), target.size() * 4);
    for (uint32_t i = 0; i < count; ++i) {
        world.b().node.post_receive(to, {i, {sge(&target[i * 16], 64, key)}});
    }
    for (uint32_t i = 0; i < count; ++i) {
        source[i] = i;
        SendRequest request = world.request(Operation::send, to);
        request.sges = {sge(&source[i], 4, lkey)};
        REQUIRE(world.a().node.post_send(from, request) == 0);
    }
    world.run();
    std::vector<uint32_t> order;
    const size_t skip = type == QpType::ud ? grh_bytes / 4 : 0;
    for (const Completion& done : drain(world.b().received)) {
        CHECK(done.status == Status::ok);
        CHECK(done.source_qpn == from->qpn);
        CHECK(done.ah == world.to_a[0]);
        CHECK(done.bytes == 4 + skip * 4);
        order.push_back(target[done.wr_id * 16 + skip]);
    }
    CHECK(drain(world.a().sent).size() == count);
    return order;
}

std::vector<uint32_t> ascending(uint32_t count) {
    std::vector<uint32_t> list(count);
    for (uint32_t i = 0; i < count; ++i) {
        list[i] = i;
    }
    return list;
}

}  // namespace

TEST_CASE("messages arrive once each, in order where nothing reorders them") {
    Pair world;
    CHECK(send_numbers(world, 100) == ascending(100));
    CHECK(world.a().counters().sends == 100);
    CHECK(world.b().counters().receives == 100);
    CHECK(world.a().counters().reorders == 0);
}

TEST_CASE("with a reorder window packets overtake each other, and the seed decides how") {
    const auto order_of = [](const std::string& device) {
        Pair world(device);
        return send_numbers(world, 100);
    };
    const auto first = order_of("reorder=300us,seed=4");
    CHECK(first != ascending(100));
    CHECK(first == order_of("reorder=300us,seed=4"));
    CHECK(first != order_of("reorder=300us,seed=5"));
    auto sorted = first;
    std::sort(sorted.begin(), sorted.end());
    CHECK(sorted == ascending(100));
}

TEST_CASE("the same seed takes the same decisions, and says them") {
    const auto decisions = [] {
        Pair world("reorder=300us,seed=9,duplicate=20%,torn");
        send_numbers(world, 20);
        return world.a().decisions;
    };
    const auto first = decisions();
    CHECK(first.size() == 20);
    CHECK(first[0].find("seed 9: host 0 nic 0 qp 0x100 -> host 1") == 0);
    CHECK(first == decisions());
}

TEST_CASE("a packet that arrives twice is delivered once") {
    Pair world("twice=100%,reorder=50us");
    auto order = send_numbers(world, 50);
    std::sort(order.begin(), order.end());
    CHECK(order == ascending(50));
    CHECK(world.b().counters().duplicates == 50);
}

TEST_CASE("UD delivers behind a header of 40 bytes and drops what nobody waits for") {
    Pair world;
    CHECK(send_numbers(world, 10, QpType::ud) == ascending(10));
    Pair deaf;
    QueuePair* from = deaf.a().open(0, QpType::ud);
    QueuePair* to = deaf.b().open(0, QpType::ud);
    SendRequest request = deaf.request(Operation::send, to);
    REQUIRE(deaf.a().node.post_send(from, request) == 0);
    deaf.run();
    CHECK(drain(deaf.a().sent).at(0).status == Status::ok);
    CHECK(deaf.b().counters().drops == 1);
}

TEST_CASE("a write arrives in packets of 8,928 bytes, and its immediate after all of them") {
    Write write(large, "reorder=500us");
    CHECK(write.post(write.request()) == Status::ok);
    CHECK((write.target == write.source));
    const auto arrived = drain(write.world.b().received);
    REQUIRE(arrived.size() == 1);
    CHECK(arrived[0].operation == Operation::receive_write);
    CHECK(arrived[0].has_immediate);
    CHECK(arrived[0].unsolicited);
    CHECK(arrived[0].immediate == 0xabcd);
    CHECK(arrived[0].bytes == large);
    CHECK(write.world.a().counters().packets == 113);
    CHECK(write.world.a().counters().writes_imm == 1);
    CHECK(write.world.a().counters().reorders > 0);
}

TEST_CASE("until its completion a write may be there in part, in any order") {
    Write write(large, "reorder=500us,torn,seed=3");
    REQUIRE(write.world.a().node.post_send(write.from, write.request()) == 0);
    write.world.run(250 * us);
    CHECK(drain(write.world.b().received).empty());
    CHECK(drain(write.world.a().sent).empty());
    const auto here = [&](size_t packet) {
        const size_t at = packet * packet_payload_max;
        return write.target.compare(at, 64, write.source, at, 64) == 0;
    };
    size_t holes = 0;
    for (size_t packet = 1; packet < 112; ++packet) {
        holes += here(packet) && !here(packet - 1) ? 1 : 0;
    }
    CHECK(holes > 5);
    write.world.run();
    CHECK((write.target == write.source));
    CHECK(write.world.b().counters().torn == 113);
}

TEST_CASE("a write without immediate says nothing to its target") {
    Write write(large);
    CHECK(write.post(write.request(false)) == Status::ok);
    CHECK((write.target == write.source));
    CHECK(drain(write.world.b().received).empty());
    CHECK(write.world.a().counters().writes == 1);
}

TEST_CASE("an empty write with immediate is a packet of its own") {
    Write write(0);
    CHECK(write.post(write.request()) == Status::ok);
    CHECK(drain(write.world.b().received).size() == 1);
}

TEST_CASE("pieces are placed twice before the completion, never after it") {
    Write write(large, "duplicate=100%,twice=100%,reorder=300us");
    CHECK(write.post(write.request()) == Status::ok);
    CHECK((write.target == write.source));
    CHECK(write.world.b().counters().duplicates > 113);
    // What the owner puts there after the completion stays, though packets came again.
    Write late(large, "twice=100%,reorder=300us");
    REQUIRE(late.world.a().node.post_send(late.from, late.request()) == 0);
    for (Nanos at = us; late.world.a().counters().writes_imm == 0; at += us) {
        late.world.run(at);
        if (!drain(late.world.b().received).empty()) {
            late.target.assign(large, 'x');
        }
    }
    late.world.run();
    CHECK((late.target == std::string(large, 'x')));
}

TEST_CASE("a write whose answer was lost is not refused because its region has gone since") {
    for (const size_t bytes : {size_t{100}, large}) {
        Write write(bytes, "retransmit=1ms", "loss rate=100% host=1 for=5ms");
        REQUIRE(write.world.a().node.post_send(write.from, write.request()) == 0);
        write.world.run(2 * ms);
        REQUIRE(drain(write.world.b().received).size() == 1);
        write.world.b().node.mr_remove(0, write.rkey);
        CHECK(drain(write.world.a().sent).empty());
        write.world.run();
        const auto done = drain(write.world.a().sent);
        REQUIRE(done.size() == 1);
        CHECK(done[0].status == Status::ok);
        CHECK(drain(write.world.b().received).empty());
    }
}

TEST_CASE("a node that was closed touches no memory") {
    Write write(large, "reorder=300us");
    REQUIRE(write.world.a().node.post_send(write.from, write.request()) == 0);
    write.world.run(100 * us);
    write.world.b().node.close();
    write.target.assign(large, 'x');
    write.world.run(ms);
    CHECK((write.target == std::string(large, 'x')));
    CHECK(write.world.a().counters().packets == 113);
}

TEST_CASE("a read brings what is there, through reordering") {
    Pair world("reorder=200us,torn");
    QueuePair* from = world.a().open(0);
    QueuePair* to = world.b().open(0);
    std::string here(large, '\0');
    std::string there = pattern(large, 8);
    SendRequest request = world.request(Operation::read, to);
    request.sges = {sge(here.data(), large, world.a().key(here.data(), large))};
    request.rkey = world.b().key(there.data(), large, access_remote_read);
    request.remote_address = reinterpret_cast<uint64_t>(there.data());
    REQUIRE(world.a().node.post_send(from, request) == 0);
    world.run();
    const auto done = drain(world.a().sent);
    REQUIRE(done.size() == 1);
    CHECK(done[0].status == Status::ok);
    CHECK(done[0].operation == Operation::read);
    CHECK((here == there));
    CHECK(world.a().counters().reads == 1);
}

TEST_CASE("what a receiver refuses has the device's status") {
    Write write(1000);
    SendRequest request = write.request();
    SECTION("a queue pair that does not exist") {
        request.qpn += 1;
        CHECK(write.post(request) == Status::bad_dest_qpn);
    }
    SECTION("one that is not ready") {
        write.world.b().node.qp_state(write.to, QpState::error);
        CHECK(write.post(request) == Status::bad_dest_qpn);
    }
    SECTION("a wrong key of the queue pair, never heard of before") {
        request.qkey += 1;
        CHECK(write.post(request) == Status::unreachable);
        CHECK(write.world.now >= 10 * nanos_per_s);
    }
    SECTION("the same, heard of before") {
        CHECK(write.post(request) == Status::ok);
        request.qkey += 1;
        CHECK(write.post(request) == Status::unresponsive);
    }
    SECTION("an unknown region") {
        request.rkey += 1;
        CHECK(write.post(request) == Status::bad_address);
    }
    SECTION("beyond the region") {
        request.remote_address += 2;
        CHECK(write.post(request) == Status::bad_address);
    }
    SECTION("a region that is gone") {
        write.world.b().node.mr_remove(0, write.rkey);
        CHECK(write.post(request) == Status::bad_address);
    }
    SECTION("a region that nobody may write") {
        request.rkey = write.world.b().key(write.target.data(), 1000, access_remote_read);
        CHECK(write.post(request) == Status::bad_address);
    }
    SECTION("a sender of whom there is no address handle") {
        write.world.b().node.ah_remove(0, write.world.to_a[0]);
        CHECK(write.post(request) == Status::unknown_peer);
    }
    SECTION("a receive that is too short") {
        request.operation = Operation::send;
        write.world.b().node.post_receive(write.to, {1, {}});
        CHECK(write.post(request) == Status::remote_bad_length);
        CHECK(drain(write.world.b().received).at(0).status == Status::local_bad_length);
    }
}

TEST_CASE("what the sender's NIC refuses has the device's status") {
    Write write(20000);
    SendRequest request = write.request();
    SECTION("a local region that is not there") {
        request.sges[0].lkey += 1;
        CHECK(write.post(request) == Status::invalid_lkey);
    }
    SECTION("an address handle that is not there") {
        request.ah = 9;
        CHECK(write.post(request) == Status::invalid_ah);
    }
    SECTION("a message of more than one packet") {
        request.operation = Operation::send;
        CHECK(write.post(request) == Status::local_bad_length);
    }
    SECTION("a scatter list that is too long for a write") {
        request.sges[0].length = 10;
        request.sges.push_back(request.sges[0]);
        CHECK(write.post(request) == Status::unsupported_op);
    }
}

TEST_CASE("a device without a capability refuses what needs it") {
    Write write(10, "caps=read+rnr-retry");
    CHECK(write.post(write.request()) == Status::unsupported_op);
    Write read(10, "caps=write");
    SendRequest request = read.request();
    request.operation = Operation::read;
    CHECK(read.post(request) == Status::unsupported_op);
}

TEST_CASE("queues are bounded, and a completion queue that overflows loses") {
    Pair world;
    int error = 0;
    CompletionQueue small(2);
    QueuePair* from = world.a().node.qp_create({0, QpType::srd, &small, &small, 4, 1, true}, error);
    world.a().node.qp_ready(from, 0, 7);
    QueuePair* to = world.b().open(0);
    const SendRequest request = world.request(Operation::send, to);
    for (int i = 0; i < 4; ++i) {
        CHECK(world.a().node.post_send(from, request) == 0);
        world.b().node.post_receive(to, {0, {}});
    }
    CHECK(world.a().node.post_send(from, request) == ENOMEM);
    CHECK(world.a().node.post_receive(from, {0, {}}) == 0);
    CHECK(world.a().node.post_receive(from, {0, {}}) == ENOMEM);
    world.run();
    CHECK(drain(small).size() == 2);
    CHECK(world.a().counters().cq_overruns == 2);
}

TEST_CASE("a full ring is waited for, not lost") {
    Write write(large);
    write.world.net.room = 3;
    CHECK(write.post(write.request()) == Status::ok);
    CHECK((write.target == write.source));
    CHECK(write.world.a().counters().backpressure > 0);
    CHECK(write.world.a().counters().drops == 0);
    CHECK(write.world.a().counters().reorders == 0);
}

TEST_CASE("a process that takes nothing from its ring is given up like one that does not answer") {
    Pair world("reorder=300us,unresponsive=1s");
    world.net.room = 3;
    world.stopped = &world.b();
    QueuePair* from = world.a().open(0);
    QueuePair* to = world.b().open(0);
    const SendRequest request = world.request(Operation::send, to);
    for (uint32_t i = 0; i < 600; ++i) {  // more than leave at once
        REQUIRE(world.a().node.post_send(from, request) == 0);
    }
    world.run(900 * ms);
    CHECK(drain(world.a().sent).empty());
    world.run(1100 * ms);
    const auto done = drain(world.a().sent);
    CHECK(done.size() == 600);
    CHECK(std::all_of(done.begin(), done.end(),
                      [](const Completion& one) { return one.status == Status::unreachable; }));
    // It goes on, and is heard again.
    world.stopped = nullptr;
    world.b().node.post_receive(to, {1, {}});
    world.run(1200 * ms);
    drain(world.b().received);
    world.b().node.post_receive(to, {2, {}});
    REQUIRE(world.a().node.post_send(from, request) == 0);
    world.run();
    CHECK(drain(world.a().sent).at(0).status == Status::ok);
}

TEST_CASE("a NIC sends at its rate, and four at four times it") {
    const auto duration = [](uint32_t nics) {
        Pair world("nics=4,rate=100Mbit");
        std::string source = pattern(1'250'000);
        std::string target(source.size(), '\0');
        const size_t part = source.size() / nics;
        for (uint32_t nic = 0; nic < nics; ++nic) {
            QueuePair* from = world.a().open(nic);
            QueuePair* to = world.b().open(nic);
            SendRequest request = world.request(Operation::write, to, nic);
            char* here = source.data() + nic * part;
            char* there = target.data() + nic * part;
            request.sges = {sge(here, part, world.a().key(here, part, 7, nic))};
            request.rkey = world.b().key(there, part, 7, nic);
            request.remote_address = reinterpret_cast<uint64_t>(there);
            REQUIRE(world.a().node.post_send(from, request) == 0);
        }
        world.run(99 * ms / nics);
        CHECK(drain(world.a().sent).empty());
        world.run(102 * ms / nics);
        CHECK(drain(world.a().sent).size() == nics);
        CHECK((source == target));
    };
    duration(1);
    duration(4);
}

TEST_CASE("a NIC that is looked at too late makes up for it, an idle one does not") {
    Pair world("rate=100Mbit");
    const std::string source = pattern(1'250'000);
    std::string target(source.size(), '\0');
    QueuePair* from = world.a().open(0);
    QueuePair* to = world.b().open(0);
    SendRequest request = world.request(Operation::write, to);
    request.sges = {sge(const_cast<char*>(source.data()), source.size(),
                        world.a().key(const_cast<char*>(source.data()), source.size()))};
    request.rkey = world.b().key(target.data(), target.size());
    request.remote_address = reinterpret_cast<uint64_t>(target.data());
    for (const Nanos begin : {Nanos{0}, 500 * ms}) {
        world.now = begin;
        REQUIRE(world.a().node.post_send(from, request) == 0);
        world.run(begin + 10 * ms);
        for (Nanos at = begin + 50 * ms; at < begin + 99 * ms; at += 40 * ms) {
            world.now = at;  // nobody looked for 40 ms
            world.run(at + ms);
        }
        CHECK(drain(world.a().sent).empty());
        world.run(begin + 103 * ms);
        CHECK(drain(world.a().sent).size() == 1);
    }
}

TEST_CASE("an error state flushes what was posted") {
    Pair world;
    QueuePair* from = world.a().open(0);
    QueuePair* to = world.b().open(0);
    world.a().node.post_send(from, world.request(Operation::send, to));
    world.a().node.post_receive(from, {3, {}});
    world.a().node.qp_state(from, QpState::error);
    CHECK(drain(world.a().sent).at(0).status == Status::flushed);
    CHECK(drain(world.a().received).at(0).status == Status::flushed);
    CHECK(world.a().node.qp_state(from, QpState::ready_to_send) == EINVAL);
}

TEST_CASE("a queue pair with a number that was used before hears nothing meant for the old one") {
    Pair world;
    QueuePair* from = world.a().open(0);
    QueuePair* old = world.b().open(0);
    const uint32_t number = old->qpn;
    SendRequest request = world.request(Operation::send, old);
    world.b().node.qp_destroy(old);
    world.b().qkey = 78;
    std::vector<QueuePair*> all;
    while (all.empty() || all.back()->qpn != number) {
        all.push_back(world.b().open(0));
    }
    world.b().node.post_receive(all.back(), {1, {}});
    REQUIRE(world.a().node.post_send(from, request) == 0);
    world.run();
    CHECK(drain(world.a().sent).at(0).status == Status::unreachable);
    CHECK(drain(world.b().received).empty());
}

TEST_CASE("a program posts and polls while the NIC works") {
    LocalNet net;
    const Result<Spec> spec = spec_parse("twice=10%,torn");
    REQUIRE(spec.ok());
    Side side(net, spec.value(), 0);
    side.node.ah_add(0, gid_make(0, 0));
    QueuePair* qp = side.open(0);
    std::string source = pattern(4096);
    std::string target(4096, '\0');
    const uint32_t lkey = side.key(source.data(), source.size());
    const uint32_t rkey = side.key(target.data(), target.size());
    SendRequest request;
    request.operation = Operation::write;
    request.qpn = qp->qpn;
    request.qkey = side.qkey;
    request.ah = 0;
    request.sges = {sge(source.data(), source.size(), lkey)};
    request.rkey = rkey;
    request.remote_address = reinterpret_cast<uint64_t>(target.data());
    request.has_immediate = true;
    std::atomic<bool> over{false};
    std::thread nic([&] {
        for (Nanos now = 0; !over; now += us) {
            side.node.progress(now);
        }
    });
    size_t done = 0;
    size_t arrived = 0;
    // No more under way than the completion queues hold: what does not fit there is lost.
    for (size_t posted = 0; done < 2000 || arrived < 2000;) {
        const bool room = posted < 2000 && posted - std::min(done, arrived) < 1024;
        posted += room && side.node.post_send(qp, request) == 0 ? 1 : 0;
        done += drain(side.sent).size();
        arrived += drain(side.received).size();
    }
    over = true;
    nic.join();
    CHECK(done == 2000);
    CHECK(arrived == 2000);
    CHECK((source == target));
}
