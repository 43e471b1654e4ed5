// Strangers at a hub's socket, and hubs that come and go.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <thread>

#include "src/base/bytes.h"
#include "tests/catch.h"
#include "transports/hubs.h"
#include "transports/shm/frames.h"

using namespace weft;

namespace {

class Quiet final : public WireSink {
  public:
    void on_arrival(Imm, const std::byte*, uint32_t) override { arrivals++; }
    void on_delivered(uint64_t) override {}
    void on_failure(uint32_t, Error error) override { failure = error.what; }
    int arrivals = 0;
    std::string failure;
};

struct Ends2 {
    std::unique_ptr<Reactor> reactor = reactor_make();
    std::unique_ptr<WireHub> hubs[2] = {shm_hub_make(*reactor, {}).value(),
                                        shm_hub_make(*reactor, {}).value()};
    Doorbell bells[2] = {Doorbell::create().value(), Doorbell::create().value()};
    std::unique_ptr<Wire> wires[2];
    Quiet seen[2];

    explicit Ends2(uint64_t second_group = 1) {
        wires[0] = hubs[0]->attach({1, 0, 2, &bells[0]}).value();
        wires[1] = hubs[1]->attach({second_group, 1, 2, &bells[1]}).value();
    }
    void connect() {
        for (uint32_t side = 0; side < 2; side++) {
            REQUIRE(wires[side]->connect(1 - side, wires[1 - side]->address(), "").ok());
        }
    }
    bool drive_until(const std::function<bool()>& holds) {
        const Nanos limit = clock_now() + 10 * nanos_per_s;
        while (!holds() && clock_now() < limit) {
            for (uint32_t side = 0; side < 2; side++) {
                if (wires[side] != nullptr) {
                    wires[side]->progress(seen[side], clock_now(), 64);
                }
            }
            std::this_thread::yield();
        }
        return holds();
    }
    bool up() {
        return drive_until([&] {
            return wires[0]->state(1) == PeerState::up && wires[1]->state(0) == PeerState::up;
        });
    }
};

Fd stranger(const std::string& wire_address) {
    const std::string name = shm::address_read(wire_address).value().hub;
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), bytes) == 0);
    return socket;
}

// Closed by the hub: a read gives the end.
bool dropped(const Fd& socket) {
    timeval limit{5, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, 0) == 0;
}

void say(const Fd& socket, const std::string& text) {
    [[maybe_unused]] const ssize_t sent =
        ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace

TEST_CASE("strangers are dropped and delay nobody") {
    Ends2 ends;
    const std::string address = ends.wires[0]->address();
    std::vector<Fd> silent;
    for (int i = 0; i < 8; i++) {
        silent.push_back(stranger(address));
    }
    const std::string greet = shm::frame_greet("weft-1-0");
    for (const std::string& words : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(5000, 'x'),
                                     std::string(1, '\1'), shm::frame_want(1), greet + "more"}) {
        const Fd socket = stranger(address);
        say(socket, words);
        CHECK(dropped(socket));
    }
    const Fd twice = stranger(address);
    say(twice, greet);
    say(twice, greet);
    CHECK(dropped(twice));
    const Fd uninvited = stranger(address);
    say(uninvited, shm::frame_greet("weft-1-1"));
    say(uninvited, shm::frame_range({1, 0, 4096}));
    CHECK(dropped(uninvited));
    ends.connect();
    CHECK(ends.up());
}

TEST_CASE("an offer without its descriptors ends the connection") {
    Ends2 ends;
    const Fd socket = stranger(ends.wires[0]->address());
    say(socket, shm::frame_greet("weft-1-0"));
    shm::OfferFrame offer;
    offer.ends = {1, shm::address_read(ends.wires[0]->address()).value().wire};
    offer.group = 1;
    offer.rank_count = 2;
    say(socket, shm::frame_offer(offer));
    CHECK(dropped(socket));
}

TEST_CASE("wires of two communicators do not meet") {
    Ends2 ends(2);
    ends.connect();
    CHECK(ends.drive_until([&] {
        return ends.wires[0]->state(1) == PeerState::failed &&
               ends.wires[1]->state(0) == PeerState::failed;
    }));
}

TEST_CASE("a hub that is gone is told in one line") {
    Ends2 ends;
    const std::string address = ends.wires[1]->address();
    ends.wires[1].reset();
    ends.hubs[1].reset();
    REQUIRE(ends.wires[0]->connect(1, address, "").ok());
    CHECK(ends.drive_until([&] { return ends.wires[0]->state(1) == PeerState::failed; }));
    CHECK(ends.seen[0].failure.find("cannot be reached on this host") != std::string::npos);
}

TEST_CASE("a hub that goes in good order is a failure only for who wants something") {
    Ends2 ends;
    ends.connect();
    REQUIRE(ends.up());
    ends.wires[1].reset();
    ends.hubs[1].reset();
    Put put;
    put.peer = 1;
    put.notify = false;
    CHECK(ends.drive_until([&] {
        CHECK(ends.seen[0].failure.empty());
        return ends.wires[0]->put(put) == Post::again;
    }));
    CHECK(ends.drive_until([&] { return !ends.seen[0].failure.empty(); }));
    CHECK(ends.seen[0].failure.find("closed its side") != std::string::npos);
}
