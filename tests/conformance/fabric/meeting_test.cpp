// Wires that meet by a handle: whoever begins, however many, and what ends a call in one line.
#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/conformance/fabric/world.h"
#include "transports/fabric/hub.h"

namespace weft::test {
namespace {

using fabric::FabricHub;
using fabric::MeetKind;

struct Hubs {
    explicit Hubs(const FabricOptions& options = options_of(provider())) : reactor(reactor_make()) {
        calling = hub_open(*reactor, options);
        listening = hub_open(*reactor, options);
    }
    std::unique_ptr<Listener> listen() { return std::move(listening->listen({})).value(); }
    std::unique_ptr<PeerCall> call(const MeetingHandle& handle, Nanos patience = 0) {
        return std::move(calling->call({nullptr, {}, patience}, handle)).value();
    }
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<WireHub> calling, listening;
};

// Asks both sides until each has its wire.
struct Meeting {
    bool advance(Listener& listener, PeerCall& call) {
        if (!called) {
            called = value_of(call.advance(clock_now()));
        }
        if (!accepted) {
            accepted = value_of(listener.accept(nullptr));
        }
        return called && accepted;
    }
    static std::optional<Met> value_of(Result<std::optional<Met>> result) {
        if (!result.ok()) {
            FAIL(result.error().what);
        }
        return std::move(result).value();
    }
    std::optional<Met> called, accepted;
};

Rank rank_of(Met& met) {
    Rank rank;
    rank.wire = std::move(met.wire);
    rank.token = rank.wire->tokens_reserve(64).value();
    REQUIRE(rank.wire->connect(met.peer, met.address, "hello").ok());
    return rank;
}

bool soon(const std::function<bool()>& done) {
    return drive({}, done);
}

// The error that ends the call.
std::string end_of(PeerCall& call, Nanos step = 0) {
    Nanos now = clock_now();
    std::string end;
    REQUIRE(soon([&] {
        now = std::max(clock_now(), now + step);
        const auto result = call.advance(now);
        REQUIRE((!result.ok() || !result.value()));
        end = result.ok() ? "" : result.error().what;
        return !result.ok();
    }));
    return end;
}

TEST_CASE("fabric: two who meet by a handle put both ways") {
    const bool caller_first = GENERATE(true, false);
    CAPTURE(caller_first);
    Hubs hubs;
    auto listener = hubs.listen();
    auto call = hubs.call(listener->handle());
    Meeting meeting;
    for (int i = 0; i < 1000; ++i) {  // alone, neither side gets anywhere, nor waits
        if (caller_first) {
            REQUIRE_FALSE(Meeting::value_of(call->advance(clock_now())));
        } else {
            REQUIRE_FALSE(Meeting::value_of(listener->accept(nullptr)));
        }
    }
    REQUIRE(soon([&] { return meeting.advance(*listener, *call); }));
    listener.reset();
    call.reset();
    CHECK(meeting.called->peer == 1);
    CHECK(meeting.accepted->peer == 0);
    Rank a = rank_of(*meeting.called), b = rank_of(*meeting.accepted);
    REQUIRE(drive({&a, &b}, [&] {
        return a.wire->state(1) == PeerState::up && b.wire->state(0) == PeerState::up;
    }));
    const std::string there = pattern(100'000, 5), back = "and back";
    std::string target(there.size(), 'x');
    const Region from = a.wire->expose(const_cast<char*>(there.data()), there.size()).value();
    const Region to = b.wire->expose(target.data(), target.size()).value();
    Put put = value_put(1, b.token, there);
    put.to = b.wire->ref(to, 0, 0);
    put.from_region = from;
    REQUIRE(put_soon(a, {&a, &b}, put));
    REQUIRE(put_soon(b, {&a, &b}, value_put(0, a.token, back)));
    REQUIRE(drive({&a, &b},
                  [&] { return b.sink.arrivals.size() == 1 && a.sink.arrivals.size() == 1; }));
    CHECK(target == there);
    CHECK(a.sink.arrivals[0].value == back);
}

TEST_CASE("fabric: sixteen pairs meet at once, over one listener and over many") {
    const size_t listeners_count = GENERATE(1, 16);
    CAPTURE(listeners_count);
    constexpr size_t pairs = 16;
    Hubs hubs;
    std::vector<std::unique_ptr<Listener>> listeners;
    for (size_t i = 0; i < listeners_count; ++i) {
        listeners.push_back(hubs.listen());
    }
    std::vector<std::unique_ptr<PeerCall>> calls;
    for (size_t i = 0; i < pairs; ++i) {
        calls.push_back(hubs.call(listeners[i % listeners_count]->handle()));
    }
    std::vector<std::optional<Met>> called(pairs);
    std::vector<Met> accepted;
    REQUIRE(soon([&] {
        for (size_t i = 0; i < pairs; ++i) {
            if (!called[i]) {
                called[i] = Meeting::value_of(calls[i]->advance(clock_now()));
            }
        }
        for (auto listener = listeners.rbegin(); listener != listeners.rend(); ++listener) {
            if (auto met = Meeting::value_of((*listener)->accept(nullptr))) {
                accepted.push_back(*std::move(met));
            }
        }
        return std::ranges::all_of(called, [](const auto& met) { return met.has_value(); });
    }));
    // Each was accepted once, and by the one it called.
    REQUIRE(accepted.size() == pairs);
    for (const auto& met : called) {
        CHECK(std::ranges::count_if(accepted, [&](const Met& other) {
                  return other.wire->address() == met->address &&
                         met->wire->address() == other.address;
              }) == 1);
    }
}

TEST_CASE("fabric: threads of one process meet at the same time") {
    constexpr int threads_count = 4, meetings = 4;
    Hubs hubs;
    std::atomic<int> met{0};
    const auto meet = [&] {
        for (int i = 0; i < meetings; ++i) {
            auto listener = hubs.listening->listen({});
            auto call = hubs.calling->call({}, listener.value()->handle());
            std::optional<Met> called, accepted;
            const Nanos limit = clock_now() + 20 * nanos_per_s;
            while (!(called && accepted) && clock_now() < limit) {
                if (!called) {
                    called = call.value()->advance(clock_now()).value();
                }
                if (!accepted) {
                    accepted = listener.value()->accept(nullptr).value();
                }
                std::this_thread::yield();
            }
            const bool both = called && accepted;
            met += both && called->address == accepted->wire->address();
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < threads_count; ++i) {
        threads.emplace_back(meet);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(met == threads_count * meetings);
}

TEST_CASE("fabric: a call that asks again and again is accepted once") {
    Hubs hubs;
    auto listener = hubs.listen();
    auto call = hubs.call(listener->handle());
    Nanos now = clock_now();
    for (int i = 0; i < 50; ++i) {
        now += 10 * nanos_per_s;  // each time it is due again
        REQUIRE_FALSE(Meeting::value_of(call->advance(now)));
        static_cast<FabricHub&>(*hubs.listening).poll(nullptr);
    }
    Meeting meeting;
    REQUIRE(soon([&] { return meeting.advance(*listener, *call); }));
    for (int i = 0; i < 100; ++i) {
        CHECK_FALSE(Meeting::value_of(listener->accept(nullptr)));
    }
}

TEST_CASE("fabric: who asks again while it is being accepted is no second caller") {
    Hubs hubs;
    auto listener = hubs.listen();
    auto& calling = static_cast<FabricHub&>(*hubs.calling);
    auto& listening = static_cast<FabricHub&>(*hubs.listening);
    const auto handle = fabric::handle_parse(listener->handle()).value();
    const uint64_t port = calling.introductions().port_open(false);
    const auto ask = [&] {
        calling.introductions().ask(*calling.rails()[0], 0, handle.rails[0], handle.port,
                                    {port, 1, {}, listening.features(), "address"});
    };
    const auto told = [&](MeetKind kind) {
        return soon([&] {
            calling.poll(nullptr);
            listening.poll(nullptr);
            const auto reply = calling.introductions().reply_take(port);
            return reply && reply->kind == kind;
        });
    };
    ask();
    REQUIRE(told(MeetKind::wait));
    const auto taken = listening.introductions().caller_next(handle.port);
    REQUIRE(taken);
    ask();
    REQUIRE(told(MeetKind::wait));
    CHECK(listening.introductions().callers_waiting(handle.port) == 0);
    // Refused, it may call again.
    listening.introductions().refuse(*taken, "not now");
    REQUIRE(told(MeetKind::refuse));
    ask();
    REQUIRE(told(MeetKind::wait));
    CHECK(listening.introductions().callers_waiting(handle.port) == 1);
    calling.introductions().port_close(port);
}

// Its words come again as if the answer had been lost.
TEST_CASE("fabric: an answer is given again for as long as its wire lives") {
    Hubs hubs;
    auto listener = hubs.listen();
    auto call = hubs.call(listener->handle());
    Meeting meeting;
    REQUIRE(soon([&] { return meeting.advance(*listener, *call); }));
    call.reset();
    auto& calling = static_cast<FabricHub&>(*hubs.calling);
    auto& listening = static_cast<FabricHub&>(*hubs.listening);
    const auto handle = fabric::handle_parse(listener->handle()).value();
    listener.reset();
    // Another caller with the port of an answered one cannot be had: so it is asked for by hand.
    const uint64_t port = calling.introductions().port_open(false);
    fabric::Introductions::Caller caller;
    caller.ask = {port, 1, calling.rails()[0]->endpoint_name(), {}, {}};
    const std::string address = meeting.accepted->wire->address();
    const uint64_t wire = fabric::address_parse(address).value().wire;
    listening.introductions().answer(caller, wire, address);
    const auto hear = [&] {
        std::optional<fabric::Introductions::Reply> reply;
        REQUIRE(soon([&] {
            calling.poll(nullptr);
            listening.poll(nullptr);
            reply = calling.introductions().reply_take(port);
            return reply.has_value();
        }));
        return *reply;
    };
    CHECK(hear().kind == MeetKind::answer);
    const auto ask = [&] {
        calling.introductions().ask(*calling.rails()[0], 0, handle.rails[0], handle.port,
                                    caller.ask);
    };
    ask();
    const auto again = hear();
    CHECK(again.kind == MeetKind::answer);
    CHECK(again.text == address);
    meeting.accepted.reset();
    ask();
    CHECK(hear().kind == MeetKind::refuse);
    calling.introductions().port_close(port);
}

TEST_CASE("fabric: a caller that has left is not accepted") {
    Hubs hubs;
    auto listener = hubs.listen();
    const uint64_t port = fabric::handle_parse(listener->handle()).value().port;
    auto leaves = hubs.call(listener->handle());
    auto stays = hubs.call(listener->handle());
    auto& calling = static_cast<FabricHub&>(*hubs.calling);
    auto& listening = static_cast<FabricHub&>(*hubs.listening);
    REQUIRE(soon([&] {
        REQUIRE_FALSE(Meeting::value_of(leaves->advance(clock_now())));
        REQUIRE_FALSE(Meeting::value_of(stays->advance(clock_now())));
        listening.poll(nullptr);
        return listening.introductions().callers_waiting(port) == 2;
    }));
    leaves.reset();
    REQUIRE(soon([&] {
        calling.poll(nullptr);
        listening.poll(nullptr);
        return listening.introductions().callers_waiting(port) == 1;
    }));
    Meeting meeting;
    REQUIRE(soon([&] { return meeting.advance(*listener, *stays); }));
    CHECK(meeting.accepted->address == meeting.called->wire->address());
}

TEST_CASE("fabric: calls that cannot succeed end in one line") {
    Hubs hubs;
    auto listener = hubs.listen();
    MeetingHandle handle = listener->handle();

    SECTION("nobody listens any more") {
        listener.reset();
        auto call = hubs.call(handle);
        CHECK_THAT(end_of(*call), Catch::Contains("nobody listens for this handle any more"));
        CHECK_THAT(call->advance(clock_now()).error().what, Catch::Contains("is over"));
    }
    SECTION("the listener goes while it waits") {
        auto call = hubs.call(handle);
        auto& listening = static_cast<FabricHub&>(*hubs.listening);
        REQUIRE_FALSE(Meeting::value_of(call->advance(clock_now())));
        for (int i = 0; i < 100; ++i) {
            listening.poll(nullptr);
            REQUIRE_FALSE(Meeting::value_of(call->advance(clock_now())));
        }
        listener.reset();
        CHECK_THAT(end_of(*call), Catch::Contains("closed before it accepted") ||
                                      Catch::Contains("nobody listens"));
    }
    SECTION("the process is gone") {
        // 1.17 dies of the address of an endpoint that this process has closed: its shm provider,
        // which efa asks about every peer, keeps what was unmapped (smr_free in util_shm.c).
        if (provider() == "shm" || provider() == "efa") {
            return;
        }
        auto call = hubs.call(handle, 30 * nanos_per_s);
        listener.reset();
        hubs.listening.reset();
        const std::string end = end_of(*call, nanos_per_s);
        if (provider() == "tcp;ofi_rxm") {
            CHECK_THAT(end, Catch::Contains("rail 0") && Catch::Contains("nobody is at") &&
                                Catch::Contains("its process has ended"));
            return;
        }
        CHECK_THAT(end, Catch::Contains("rail 0") &&
                            Catch::Contains("nothing was heard for 30 s of the peer to connect") &&
                            (Catch::Contains("its process") || Catch::Contains("the peer's")));
    }
    SECTION("one bit of the handle") {
        const size_t at = GENERATE(0, 4, 5, 7, 20, 119);
        handle[at] ^= std::byte{1};
        const auto call = hubs.calling->call({}, handle);
        REQUIRE_FALSE(call.ok());
        CHECK_THAT(call.error().what, Catch::Contains("hand its 128 bytes over unchanged"));
    }
    SECTION("the holder's bytes are its own") {
        std::fill(handle.begin() + meeting_handle_used, handle.end(), std::byte{0xee});
        CHECK(hubs.calling->call({}, handle).ok());
    }
}

TEST_CASE("fabric: a caller whose network differs is told what, and passed over") {
    Hubs hubs;
    auto listener = hubs.listen();
    auto& calling = static_cast<FabricHub&>(*hubs.calling);
    const auto handle = fabric::handle_parse(listener->handle()).value();
    const uint64_t port = calling.introductions().port_open(false);
    const std::string features = "provider=pigeons\n";
    calling.introductions().ask(*calling.rails()[0], 0, handle.rails[0], handle.port,
                                {port, 1, {}, features, "address"});
    std::optional<fabric::Introductions::Reply> reply;
    REQUIRE(soon([&] {
        REQUIRE_FALSE(Meeting::value_of(listener->accept(nullptr)));
        calling.poll(nullptr);
        reply = calling.introductions().reply_take(port);
        return reply && reply->kind != MeetKind::wait;
    }));
    CHECK(reply->kind == MeetKind::refuse);
    CHECK_THAT(reply->text,
               Catch::Contains("the network differs: provider is pigeons at the caller"));
    calling.introductions().port_close(port);
}

}  // namespace
}  // namespace weft::test
