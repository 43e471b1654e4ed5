// Collectives through shards over the loopback wire, against values computed from the definition.
#include <numeric>

#include "src/exec/shard.h"
#include "tests/catch.h"
#include "tests/unit/exec/collective_check.h"

using namespace weft;
using weft::test::all_colls;
using weft::test::World;
using weft::test::WorldOptions;
using weft::test::wrong_elements;

TEST_CASE("every collective gives what its definition says", "[exec]") {
    const int n = GENERATE(1, 2, 3, 4, 7, 8);
    const std::string algo = GENERATE("", "ring", "direct");
    WorldOptions options;
    options.ranks = n;
    options.limits.algo = algo;
    World world(options);
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {1ul, 5ul, 1000ul, 40'001ul, 200'000ul}) {
            for (const bool in_place : {false, true}) {
                if (in_place && coll == Coll::all_to_all) {
                    continue;
                }
                // In place at one scatter root or gather root only is another case, below the
                // border.
                if (in_place && (coll == Coll::gather || coll == Coll::scatter)) {
                    continue;
                }
                const int root = static_cast<int>(count % static_cast<uint64_t>(n));
                CAPTURE(n, algo, to_string(coll), count, in_place, root);
                CHECK(wrong_elements(world, coll, count, root, in_place, false) == 0);
            }
        }
    }
}

TEST_CASE("loads of peers' memory give the same results", "[exec]") {
    WorldOptions options;
    options.ranks = GENERATE(2, 3, 5);
    options.peer_load = true;
    options.limits.algo = "direct";
    World world(options);
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {40'001ul, 300'000ul}) {
            CAPTURE(options.ranks, to_string(coll), count);
            CHECK(wrong_elements(world, coll, count, 0, false, false) == 0);
            if (coll != Coll::all_to_all && coll != Coll::gather && coll != Coll::scatter) {
                CHECK(wrong_elements(world, coll, count, 0, true, false) == 0);
            }
        }
    }
}

TEST_CASE("every algorithm gives what the definition says", "[exec]") {
    WorldOptions options;
    options.ranks = GENERATE(2, 3, 6, 9);
    options.limits.algo = GENERATE("halving", "tree", "mesh", "chain", "binomial");
    World world(options);
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {3ul, 1001ul, 40'001ul, 150'007ul}) {
            const int root = options.ranks - 1;
            CAPTURE(options.ranks, options.limits.algo, to_string(coll), count);
            CHECK(wrong_elements(world, coll, count, root, false, false) == 0);
            if (coll < Coll::all_to_all) {
                CHECK(wrong_elements(world, coll, count, root, true, false) == 0);
            }
        }
    }
}

TEST_CASE("hierarchies give what the definition says", "[exec]") {
    using Hosts = std::vector<std::vector<int32_t>>;
    WorldOptions options;
    options.hosts = GENERATE(Hosts{{0, 1}, {2, 3}}, Hosts{{0, 3}, {4, 2, 1}},
                             Hosts{{2}, {0, 4, 5}, {1}, {6, 3}});
    options.limits.algo = GENERATE("hier:ring", "hier:mesh", "hier:halving", "hier:tree");
    options.ranks = 0;
    for (const auto& host : options.hosts) {
        options.ranks += static_cast<int>(host.size());
    }
    World world(options);
    for (const Coll coll : all_colls) {
        for (const uint64_t count : {3ul, 1001ul, 40'001ul, 300'007ul}) {
            const int root = static_cast<int>(count % static_cast<uint64_t>(options.ranks));
            CAPTURE(options.ranks, options.limits.algo, to_string(coll), count, root);
            CHECK(wrong_elements(world, coll, count, root, false, false) == 0);
            if (coll < Coll::all_to_all) {
                CHECK(wrong_elements(world, coll, count, root, true, false) == 0);
            }
        }
    }
}

TEST_CASE("a thread per rank, operations back to back", "[exec]") {
    WorldOptions options;
    options.ranks = GENERATE(2, 4, 6);
    World world(options);
    for (int i = 0; i < 30; i++) {
        const Coll coll = all_colls[i % 8];
        CAPTURE(options.ranks, i, to_string(coll));
        CHECK(wrong_elements(world, coll, i % 3 == 0 ? 50'000 : 3 + i, i % options.ranks, false,
                             true) == 0);
    }
}

TEST_CASE("results survive a hostile wire", "[exec]") {
    WorldOptions options;
    options.ranks = 4;
    options.fault = "seed=" + std::to_string(GENERATE(range(1, 9))) +
                    ",delay=0.2,reorder=0.3,dup=0.2,again=0.2,stale=0.1";
    options.limits.algo = GENERATE("ring", "direct", "halving,tree", "mesh,binomial", "hier:ring");
    options.hosts = {{0, 2}, {1, 3}};
    World world(options);
    for (int i = 0; i < 16; i++) {
        const Coll coll = all_colls[i % 8];
        CAPTURE(options.fault, options.limits.algo, to_string(coll), i);
        CHECK(wrong_elements(world, coll, i < 8 ? 60'000 : 77, i % 4, false, false) == 0);
    }
}

TEST_CASE("sends and receives match in call order, whatever the order in a group", "[exec]") {
    WorldOptions options;
    options.ranks = 3;
    World world(options);
    const size_t big = 100'000, stride = big + 1;
    std::vector<std::vector<int32_t>> from(3), to(3);
    for (int r = 0; r < 3; r++) {
        from[r].resize(3 * stride);
        std::iota(from[r].begin(), from[r].end(), r * 1'000'000);
        to[r].assign(3 * stride, -1);
    }
    const Result<void> result = world.run([&](int r) {
        std::vector<Call> calls;
        for (int p = 2; p >= 0; p--) {
            for (const bool send : {true, false}) {
                Call call;
                call.coll = Coll::send_recv;
                call.type = DataType::int32;
                call.is_send = send;
                call.root = p;
                call.count = p == r ? 17 : (p + r) % 2 == 0 ? big : 5;
                call.send = from[r].data() + p * stride;
                call.recv = to[r].data() + p * stride;
                calls.push_back(call);
            }
        }
        return calls;
    });
    REQUIRE(result.ok());
    for (int r = 0; r < 3; r++) {
        for (int p = 0; p < 3; p++) {
            const size_t count = p == r ? 17 : (p + r) % 2 == 0 ? big : 5;
            CHECK(std::equal(to[r].begin() + p * stride, to[r].begin() + p * stride + count,
                             from[p].begin() + r * stride));
            CHECK(to[r][p * stride + count] == -1);
        }
    }
}

TEST_CASE("different arguments are reported with both sides'", "[exec]") {
    WorldOptions options;
    options.ranks = 2;
    World world(options);
    std::vector<float> a(5000), b(5000);
    const auto results = world.run_threads([&](int r) {
        Call call;
        call.count = r == 0 ? 4000 : 5000;
        call.send = a.data();
        call.recv = b.data();
        // A rank that hears nothing wrong itself is told by the control plane; here the other side
        // fails it.
        return std::vector<Call>{call};
    });
    for (const auto& result : results) {
        REQUIRE_FALSE(result.ok());
        CHECK(result.error().code == Code::invalid_usage);
        CHECK(result.error().what.find("count 4000") != std::string::npos);
        CHECK(result.error().what.find("count 5000") != std::string::npos);
    }
}

// One waits for memory to be granted, the other for the bytes.
TEST_CASE("a message too long for its receiver is reported, also where neither would say a word",
          "[exec]") {
    for (const bool long_send : {true, false}) {
        World world(WorldOptions{});
        std::vector<char> data[2] = {std::vector<char>(100'000), std::vector<char>(100'000)};
        TicketPtr tickets[2];
        for (int r = 0; r < 2; r++) {
            Call call;
            call.coll = Coll::send_recv;
            call.type = DataType::uint8;
            call.is_send = r == 0;
            call.root = 1 - r;
            call.count = call.is_send == long_send ? 100'000 : 100;
            call.send = call.recv = data[r].data();
            tickets[r] = world.shard(r).submit({call}).value();
        }
        // Who hears of it ends, and then the other, unless its bytes are gone.
        std::vector<std::thread> waiting;
        std::atomic<int> first{-1};
        for (int r = 0; r < 2; r++) {
            waiting.emplace_back([&, r] {
                const Waitable wait{&world.shard(r), tickets[r].get()};
                if (int none = -1; !wait_all({&wait, 1}).ok()) {
                    first.compare_exchange_strong(none, r);
                    world.shard(1 - r).fail(
                        make_error(Code::aborted, Scope::communicator, "the test is over"));
                }
            });
        }
        for (std::thread& thread : waiting) {
            thread.join();
        }
        REQUIRE(first >= 0);
        const std::string& what = tickets[first]->error().what;
        CHECK(what.find("of 100000 bytes") != what.npos);
        CHECK(what.find("of 100 bytes") != what.npos);
    }
}

TEST_CASE("fail ends a blocked call with the first cause", "[exec]") {
    WorldOptions options;
    options.ranks = 2;
    World world(options);
    std::vector<float> data(1000);
    Call call;
    call.count = 1000;
    call.send = data.data();
    call.recv = data.data();
    auto ticket = world.shard(0).submit({call});
    REQUIRE(ticket.ok());
    std::thread killer(
        [&] { world.shard(0).fail(make_error(Code::remote, Scope::communicator, "rank 1 died")); });
    const Waitable wait{&world.shard(0), ticket.value().get()};
    const Result<void> result = wait_all({&wait, 1});
    killer.join();
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().what == "rank 1 died");
    CHECK_FALSE(world.shard(0).submit({call}).ok());
}

namespace {

// A call of rank 0 that waits for rank 1, and what its driver hears and when.
struct Waiting {
    Waiting() : world(WorldOptions{}), shard(world.shard(0).impl()), data(1000) {
        Call call;
        call.count = data.size();
        call.send = call.recv = data.data();
        shard.config.on_error = [this](const Error& error) { told.push_back(error.what); };
        ticket = world.shard(0).submit({call}).value();
        progress(clock_now());
        REQUIRE(pending());
    }
    void link_breaks(const char* why) {
        const std::lock_guard driving(shard.drive_mutex);
        shard.on_link_failure(1, make_error(Code::remote, Scope::peer, why));
    }
    void progress(Nanos now) {
        const std::lock_guard driving(shard.drive_mutex);
        shard.progress_all(now);
    }
    bool pending() const { return ticket->state() == Ticket::State::pending; }

    World world;
    Shard::Impl& shard;
    std::vector<float> data;
    std::vector<std::string> told;
    TicketPtr ticket;
    const Nanos begun = clock_now();  // before a link breaks, however slow the machine
};

}  // namespace

TEST_CASE("what is told soon after a link broke is the cause, not the link", "[exec]") {
    Waiting rank;
    rank.link_breaks("the peer closed it");
    rank.progress(rank.begun);
    CHECK(rank.pending());
    rank.world.shard(0).fail(make_error(Code::remote, Scope::peer, "rank 1 calls all_gather"));
    REQUIRE_FALSE(rank.pending());
    CHECK(rank.ticket->error().what == "rank 1 calls all_gather");
    CHECK(rank.told.empty());
}

TEST_CASE("a broken link that nobody tells the reason of is the cause, and the first one",
          "[exec]") {
    Waiting rank;
    rank.link_breaks("no route");
    rank.progress(rank.begun);
    CHECK(rank.pending());
    rank.link_breaks("nor this");
    rank.progress(clock_now() + nanos_per_s);
    REQUIRE_FALSE(rank.pending());
    CHECK(rank.ticket->error().what == "rank 0: the link to rank 1 failed: no route");
    CHECK(rank.ticket->error().scope == Scope::communicator);
    CHECK(rank.told == std::vector<std::string>{rank.ticket->error().what});
    CHECK_FALSE(rank.world.shard(0).submit({Call{}}).ok());
}
