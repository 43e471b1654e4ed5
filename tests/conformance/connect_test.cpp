// Clauses about connecting, tokens, and the end of a peer.
#include <csignal>
#include <thread>

#include "tests/catch.h"
#include "tests/conformance/side.h"

namespace weft::test {

namespace {

void drive_for(Side& side, Nanos time) {
    for (const Nanos limit = clock_now() + time; clock_now() < limit;) {
        side.drive();
        std::this_thread::yield();
    }
}

// `first` connects and must not be up before the other side has connected too.
void connect_one_after_other(Side& side, int first) {
    const std::string address = side.swap(side.wire().address());
    const std::string hello(192, static_cast<char>('a' + side.index));
    side.require(side.wire().state(side.peer()) == PeerState::idle, "a wire begins idle");
    side.require(address.size() <= wire_address_bytes_max, "an address is of bounded size");
    if (side.index != first) {
        side.meet();
    }
    side.require(side.wire().connect(side.peer(), address, hello).ok(), "connect is accepted");
    if (side.index == first) {
        drive_for(side, 5 * nanos_per_ms);
        side.require(side.wire().state(side.peer()) == PeerState::connecting,
                     "a wire is not up before both sides connect");
        side.meet();
    }
    side.until([&] { return side.wire().state(side.peer()) == PeerState::up; }, "up");
    side.require(side.wire().hello_of(side.peer()) ==
                     std::string(192, static_cast<char>('a' + 1 - side.index)),
                 "the peer's hello arrives whole");
    side.meet_driving();
}

}  // namespace

TEST_CASE("wires connect, whoever comes first") {
    every_wire([](Side& side) { connect_one_after_other(side, 0); });
    every_wire([](Side& side) { connect_one_after_other(side, 1); });
}

TEST_CASE("both sides connect at once and an empty hello is one") {
    every_wire([](Side& side) {
        side.connect("");
        side.require(side.wire().hello_of(side.peer()).empty(), "no hello");
        side.meet_driving();
    });
}

TEST_CASE("an address that means nothing is refused or fails, never hangs") {
    every_wire([](Side& side) {
        const auto connected = side.wire().connect(side.peer(), "nonsense", "");
        if (connected.ok()) {
            side.until([&] { return side.wire().state(side.peer()) == PeerState::failed; },
                       "a failure");
        }
        side.meet();
    });
}

TEST_CASE("token ranges are disjoint and finite") {
    every_wire([](Side& side) {
        const uint32_t a = side.wire().tokens_reserve(60).value();
        const uint32_t b = side.wire().tokens_reserve(1).value();
        const uint32_t c = side.wire().tokens_reserve(1000).value();
        side.require(b >= a + 60 || b < a, "ranges a, b are disjoint");
        side.require(c > b || c + 1000 <= b, "ranges b, c are disjoint");
        side.require(c >= a + 60 || c + 1000 <= a, "ranges a, c are disjoint");
        side.require(c + 1000 <= token_count_max, "tokens have 20 bits");
        side.require(!side.wire().tokens_reserve(token_count_max).ok(), "a range too many");
        side.meet();
    });
}

TEST_CASE("a peer that closes in good order is no failure until something is wanted from it") {
    every_wire(
        [](Side& side) {
            side.connect();
            const uint32_t token = side.wire().tokens_reserve(1).value();
            const uint32_t theirs =
                static_cast<uint32_t>(std::stoul(side.swap(std::to_string(token))));
            if (side.index == 1) {
                side.put_must(side.by_value("bye", 3, Imm{theirs, 0, 0}));
                side.meet_driving();
                side.wire_close();
                side.meet();
                return;
            }
            side.meet_driving();
            side.meet();
            drive_for(side, 20 * nanos_per_ms);
            side.require(side.times(Imm{token, 0, 0}) >= 1, "what it sent before arrives");
            side.require(side.failures.empty(), "nothing was wanted: no failure");
            // The news comes by another thread: a put before it may yet be accepted.
            side.until(
                [&] {
                    return side.put(side.by_value("x", 1, Imm{theirs, 0, 0})) == Post::again;
                },
                "a put to a closed peer that is not accepted");
            side.until([&] { return !side.failures.empty(); }, "the failure");
            drive_for(side, 20 * nanos_per_ms);
            side.require(side.failures.size() == 1, "reported once");
        },
        [](const WireCase& wire_case) { return !wire_case.network && wire_case.fault.empty(); });
}

TEST_CASE("a peer that dies is reported once, after all it had sent") {
    every_wire(
        [](Side& side) {
            side.connect();
            const uint32_t token = side.wire().tokens_reserve(1).value();
            const uint32_t theirs =
                static_cast<uint32_t>(std::stoul(side.swap(std::to_string(token))));
            if (side.index == 1) {
                for (uint32_t i = 0; i < 100; i++) {
                    side.put_must(side.by_value(&i, sizeof i, Imm{theirs, i, 0}));
                }
                if (side.faulty()) {
                    drive_for(side, 50 * nanos_per_ms);  // what is held
                }
                side.meet();
                ::raise(SIGKILL);
            }
            side.meet();
            side.until([&] { return !side.failures.empty(); }, "the death");
            for (uint32_t i = 0; i < 100; i++) {
                side.require(side.times(Imm{token, i, 0}) >= 1, "what it sent before arrives");
            }
            side.require(side.wire().state(side.peer()) == PeerState::failed, "the peer is failed");
            side.require(side.put(side.by_value("x", 1, Imm{theirs, 0, 0})) == Post::again,
                         "a put to a dead peer is not accepted");
            drive_for(side, 50 * nanos_per_ms);
            side.require(side.failures.size() == 1, "reported once");
        },
        [](const WireCase& wire_case) { return wire_case.two_processes && !wire_case.network; },
        Ending::second_is_killed);
}

}  // namespace weft::test
