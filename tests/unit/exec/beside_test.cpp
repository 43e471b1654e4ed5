// Bundles of messages that run beside those before them, and all that must not.
#include <numeric>

#include "tests/catch.h"
#include "tests/unit/exec/world.h"

using namespace weft;
using namespace weft::test;

namespace {

Call message(bool is_send, int peer, std::vector<int32_t>& data) {
    Call call;
    call.coll = Coll::send_recv;
    call.type = DataType::int32;
    call.is_send = is_send;
    call.root = peer;
    call.count = data.size();
    call.send = call.recv = data.data();
    return call;
}

struct Two {
    Two() : world(WorldOptions{}) {}
    TicketPtr submit(int rank, std::vector<Call> calls, bool apart = true) {
        return world.shard(rank).submit(std::move(calls), apart).value();
    }
    // As far as both come; whether the ticket is done then.
    bool done(const TicketPtr& ticket) {
        for (int i = 0; i < 2000 && ticket->state() == Ticket::State::pending; i++) {
            world.shard(i % 2).poke();
        }
        return ticket->state() == Ticket::State::done;
    }
    World world;
};

std::vector<int32_t> numbers(size_t count, int32_t from) {
    std::vector<int32_t> data(count);
    std::iota(data.begin(), data.end(), from);
    return data;
}

}  // namespace

TEST_CASE("a bundle apart goes on while the one before it waits", "[exec]") {
    for (const size_t count : {10u, 300'000u}) {
        Two two;
        std::vector<int32_t> late(count), given = numbers(count, 5), got(count),
                                          last = numbers(count, 9);
        const TicketPtr waits = two.submit(0, {message(false, 1, late)}),
                        goes = two.submit(0, {message(true, 1, given)}),
                        takes = two.submit(1, {message(false, 0, got)});
        CHECK(two.done(takes));
        CHECK(two.done(goes));
        CHECK(got == given);
        CHECK(waits->state() == Ticket::State::pending);
        CHECK(!two.world.shard(0).quiet());
        const TicketPtr sends = two.submit(1, {message(true, 0, last)});
        CHECK(two.done(waits));
        CHECK(two.done(sends));
        CHECK(late == last);
        CHECK(two.world.shard(0).quiet());
    }
}

TEST_CASE("a bundle that is not apart waits for those before it, and those behind it for it",
          "[exec]") {
    for (const int plain : {0, 1, 2}) {
        Two two;
        std::vector<int32_t> late(100), given = numbers(100, 5), got(100);
        std::vector<TicketPtr> tickets;
        tickets.push_back(two.submit(0, {message(false, 1, late)}, plain != 0));
        if (plain == 2) {
            std::vector<int32_t>& same = late;
            tickets.push_back(two.submit(0, {message(false, 1, same)}, false));
        }
        tickets.push_back(two.submit(0, {message(true, 1, given)}, plain != 1));
        const TicketPtr takes = two.submit(1, {message(false, 0, got)});
        CHECK(!two.done(takes));
        std::vector<TicketPtr> sends;
        for (int i = 0; i < (plain == 2 ? 2 : 1); i++) {
            sends.push_back(two.submit(1, {message(true, 0, given)}));
        }
        CHECK(two.done(takes));
        for (const TicketPtr& ticket : tickets) {
            CHECK(two.done(ticket));
        }
    }
}

TEST_CASE("many bundles apart, in threads, and a collective behind them", "[exec]") {
    World world(WorldOptions{});
    constexpr int rounds = 200;
    const size_t count = 3000;
    std::vector<std::vector<int32_t>> in(2 * rounds), out(2 * rounds);
    std::vector<int32_t> sum[2] = {std::vector<int32_t>(50, 1), std::vector<int32_t>(50, 1)};
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 2; rank++) {
        threads.emplace_back([&, rank] {
            Shard& shard = world.shard(rank);
            std::vector<TicketPtr> tickets;
            std::vector<Waitable> waits;
            for (int i = 0; i < rounds; i++) {
                const auto at = static_cast<size_t>(rank * rounds + i);
                in[at].assign(count, -1);
                out[at] = numbers(count, static_cast<int32_t>(at));
                tickets.push_back(shard
                                      .submit({message(true, 1 - rank, out[at]),
                                               message(false, 1 - rank, in[at])},
                                              i % 7 != 6)
                                      .value());
                shard.poke();
            }
            Call call;
            call.type = DataType::int32;
            call.count = 50;
            call.send = call.recv = sum[rank].data();
            tickets.push_back(shard.submit({call}).value());
            for (const TicketPtr& ticket : tickets) {
                waits.push_back({&shard, ticket.get()});
            }
            const Result<void> ended = wait_all(waits);
            if (!ended.ok()) {
                sum[rank].clear();
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (size_t i = 0; i < rounds; i++) {
        CHECK(in[i] == out[rounds + i]);
        CHECK(in[rounds + i] == out[i]);
    }
    CHECK(sum[0] == std::vector<int32_t>(50, 2));
    CHECK(sum[1] == sum[0]);
}

TEST_CASE("a failure ends all bundles that run beside each other", "[exec]") {
    Two two;
    std::vector<int32_t> data(100);
    std::vector<TicketPtr> tickets;
    for (int i = 0; i < 20; i++) {
        tickets.push_back(two.submit(0, {message(false, 1, data)}));
    }
    CHECK(!two.done(tickets.back()));
    two.world.shard(0).fail(make_error(Code::remote, Scope::communicator, "rank 1 died"));
    for (const TicketPtr& ticket : tickets) {
        REQUIRE(ticket->state() == Ticket::State::failed);
        CHECK(ticket->error().what == "rank 1 died");
    }
    CHECK(two.world.shard(0).quiet());
}

TEST_CASE("bundles apart with messages to oneself do not wait for those before them", "[exec]") {
    Two two;
    std::vector<int32_t> late(100), from = numbers(100, 5), to(100), given = numbers(100, 7),
                                    got(100);
    const TicketPtr waits = two.submit(0, {message(false, 1, late)}),
                    alone = two.submit(0, {message(true, 0, from), message(false, 0, to)});
    CHECK(two.done(alone));
    CHECK(to == from);
    to.assign(100, 0);
    const TicketPtr both = two.submit(0, {message(true, 0, from), message(true, 1, given),
                                          message(false, 0, to)}),
                    takes = two.submit(1, {message(false, 0, got)});
    CHECK(two.done(both));
    CHECK(two.done(takes));
    CHECK(to == from);
    CHECK(got == given);
    CHECK(waits->state() == Ticket::State::pending);
    const TicketPtr sends = two.submit(1, {message(true, 0, given)});
    CHECK(two.done(waits));
    CHECK(two.done(sends));
    CHECK(two.world.shard(0).quiet());
}
