// Peers that messages do not reach, on a libfabric that says so or says nothing. The time that a
// wire is told runs ahead of the clock's, so nothing waits.
#include <rdma/fi_errno.h>

#include <cstring>
#include <optional>
#include <vector>

#include "src/base/reactor.h"
#include "tests/unit/transports/fake_machine.h"
#include "transports/fabric/hub.h"
#include "transports/fabric/message.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;
using test::FakeInfo;

constexpr Nanos limit = 10 * nanos_per_s;
constexpr int never_answered = 15;  // EFA's code
constexpr int no_endpoint = 9;      // and these
constexpr int not_ready = 10;
constexpr size_t rail_count = 2;

struct Sink final : WireSink {
    void on_arrival(Imm, const std::byte*, uint32_t) override {}
    void on_delivered(uint64_t) override {}
    void on_failure(uint32_t peer, Error error) override {
        peers.push_back(peer);
        cause = std::move(error);
    }
    std::vector<uint32_t> peers;
    std::optional<Error> cause;
};

// A service thread that never gets its turn: the test alone drives.
class StillReactor final : public Reactor {
  public:
    Id add(int, uint32_t, std::function<void(uint32_t)>) override { return 1; }
    void modify(Id, uint32_t) override {}
    void remove(Id) override {}
    Id at(Nanos, std::function<void()>) override { return 1; }
    void cancel(Id) override {}
    void post(std::function<void()>) override {}
    bool on_thread() const override { return false; }
    Nanos now() const override { return clock_now(); }
};

// Rank 0 of 2 on two rails, and what becomes of each message it sends.
class World : FakeFabric {
  public:
    // The provider of a rail answers for what is sent on it.
    enum class Fate { silence, refused, taken };

    World() {
        for (size_t i = 0; i < rail_count; i++) {
            const std::string name = "rdmap" + std::to_string(i) + "s6-rdm";
            world.infos.push_back({"efa", "efa-direct", name});
        }
        FabricOptions options;
        options.library = FAKE_LIBFABRIC_PATH;
        options.reach_limit = limit;
        auto opened = FabricHub::open(reactor_, options);
        REQUIRE(opened.ok());
        hub_ = std::move(opened).value();
        receives_ = world.receives;
        auto attached = hub_->attach({7, 0, 2, nullptr, {}});
        REQUIRE(attached.ok());
        wire_ = std::move(attached).value();
    }

    // Greeted and answered on every rail.
    void come_up() {
        connect();
        for (size_t rail = 0; rail < rail_count; rail++) {
            arrive(rail, MessageKind::hello, hello_encode({7, 5, "hello"}));
            arrive(rail, MessageKind::hello_ack, "");
        }
        REQUIRE(after(0, Fate::taken) == PeerState::up);
    }

    void connect() {
        REQUIRE(wire_->connect(1, address_encode({5, 6, {"one0", "one1"}}), "hello").ok());
        start_ = clock_now();
    }

    // What never ended ends, or the hub would give it its time.
    ~World() {
        for (void* context : silent_) {
            taken(context);
        }
        wire_->progress(sink, clock_now(), 64);
    }

    // The wire's own time, as far from the start as its sends are answered so.
    PeerState after(Nanos time, Fate first, Fate second) {
        for (int i = 0; i < 8; i++) {
            answer(first, second);
            wire_->progress(sink, start_ + time, 64);
        }
        return wire_->state(1);
    }
    PeerState after(Nanos time, Fate both) { return after(time, both, both); }
    void refuse_with(int code) { code_ = code; }
    size_t sent() const { return world.transmits.size(); }

    Sink sink;

  private:
    // Comes from rank 1 on the rail, whose queue is known by what was sent on it first.
    void arrive(size_t rail, MessageKind kind, const std::string& body) {
        void* const context = receives_[receives_.size() / rail_count * rail + arrived_++];
        MessageHeader header;
        header.kind = kind;
        header.rail = static_cast<uint8_t>(rail);
        header.from_rank = 1;
        header.to_wire = address_parse(wire_->address()).value().wire;
        header.bytes = static_cast<uint32_t>(body.size());
        std::byte* data = static_cast<Buffer*>(static_cast<Op*>(context))->data;
        std::memcpy(data, &header, sizeof header);
        std::memcpy(data + sizeof header, body.data(), body.size());
        fi_cq_data_entry entry{};
        entry.op_context = context;
        entry.flags = FI_RECV | FI_MSG;
        entry.len = sizeof header + body.size();
        world.sent_by[context] = world.sent_by.at(world.transmits[rail]);
        world.completions.push_back(entry);
    }
    // What was sent so far, on the two rails in turn, gets what its rail is fated to.
    void answer(Fate first, Fate second) {
        for (; answered_ < world.transmits.size(); answered_++) {
            void* const context = world.transmits[answered_];
            switch (answered_ % rail_count == 0 ? first : second) {
                case Fate::silence:
                    silent_.push_back(context);
                    break;
                case Fate::refused:
                    refused(context);
                    break;
                case Fate::taken:
                    taken(context);
                    break;
            }
        }
    }
    void refused(void* context) {
        fi_cq_err_entry entry{};
        entry.op_context = context;
        entry.flags = FI_SEND | FI_MSG;
        entry.err = FI_EIO;
        entry.prov_errno = code_;
        world.errors.push_back(entry);
    }
    void taken(void* context) {
        fi_cq_data_entry entry{};
        entry.op_context = context;
        entry.flags = FI_SEND | FI_MSG;
        world.completions.push_back(entry);
    }

    StillReactor reactor_;
    std::unique_ptr<FabricHub> hub_;
    std::unique_ptr<Wire> wire_;
    std::vector<void*> receives_;  // as posted at first, rail after rail
    size_t arrived_ = 0;
    int code_ = never_answered;
    size_t answered_ = 0;
    std::vector<void*> silent_;
    Nanos start_ = 0;
};

using Fate = World::Fate;

TEST_CASE("reach: a peer to which every message fails is failed at the limit, with EFA's words") {
    World world;
    world.connect();
    CHECK(world.after(limit / 2, Fate::refused) == PeerState::connecting);
    CHECK(world.after(limit - nanos_per_s, Fate::refused) == PeerState::connecting);
    CHECK(world.sink.peers.empty());
    CHECK(world.after(2 * limit, Fate::refused) == PeerState::failed);
    REQUIRE(world.sink.peers == std::vector<uint32_t>{1});
    CHECK(world.sink.cause->code == Code::remote);
    CHECK_THAT(world.sink.cause->what,
               Catch::StartsWith("rail 0 (rdmap0s6-rdm, efa): nothing has reached rank 1 at") &&
                   Catch::Contains("never answered") && Catch::Contains("security group") &&
                   Catch::Contains("fake://one0 for 10 s (WEFT_INIT_TIMEOUT)"));
    CHECK(world.sink.cause->what.find('\n') == std::string::npos);
}

TEST_CASE("reach: a peer that takes no message and no error says why, is failed at the limit") {
    World world;
    world.connect();
    CHECK(world.after(limit - nanos_per_s, Fate::silence) == PeerState::connecting);
    CHECK(world.after(2 * limit, Fate::silence) == PeerState::failed);
    REQUIRE(world.sink.peers.size() == 1);
    CHECK_THAT(world.sink.cause->what, Catch::Contains("rail 0 (rdmap0s6-rdm, efa)") &&
                                           Catch::Contains("no answer and no error") &&
                                           Catch::Contains("security group of the instances") &&
                                           Catch::Contains("fake://one0 for 10 s"));
}

TEST_CASE("reach: a peer whose NIC takes the greeting is late, and lateness is no failure") {
    World world;
    world.connect();
    for (int i = 1; i <= 100; i++) {
        REQUIRE(world.after(i * limit, Fate::taken) == PeerState::connecting);
    }
    CHECK(world.sink.peers.empty());
    CHECK(world.sent() >= 100 * rail_count);  // it is greeted all the while
}

TEST_CASE("reach: stopped after it took a greeting, with no buffer left, a peer is late") {
    World world;
    world.connect();
    CHECK(world.after(0, Fate::taken) == PeerState::connecting);
    CHECK(world.after(limit / 2, Fate::silence) == PeerState::connecting);
    CHECK(world.after(5 * limit, Fate::silence) == PeerState::connecting);
    CHECK(world.sink.peers.empty());
}

TEST_CASE("reach: a late peer that is lost meanwhile is failed") {
    World world;
    world.connect();
    CHECK(world.after(0, Fate::taken) == PeerState::connecting);
    CHECK(world.after(limit / 2, Fate::refused) == PeerState::connecting);
    CHECK(world.after(2 * limit, Fate::refused) == PeerState::failed);
    REQUIRE(world.sink.peers.size() == 1);
    CHECK_THAT(world.sink.cause->what, Catch::Contains("never answered") &&
                                           Catch::Contains("nothing has any more reached"));
}

TEST_CASE("reach: one rail of two that does not reach the peer is named") {
    World world;
    world.connect();
    CHECK(world.after(limit / 2, Fate::taken, Fate::refused) == PeerState::connecting);
    CHECK(world.after(2 * limit, Fate::taken, Fate::refused) == PeerState::failed);
    REQUIRE(world.sink.peers.size() == 1);
    CHECK_THAT(world.sink.cause->what,
               Catch::Contains("rail 1 (rdmap1s6-rdm, efa)") && Catch::Contains("fake://one1"));
}

// Nothing is under way to it but the probes.
TEST_CASE("reach: a peer that was up and whose endpoint is gone is failed within seconds") {
    World world;
    world.come_up();
    world.refuse_with(no_endpoint);
    PeerState state = PeerState::up;
    for (int i = 1; i <= 12 && state == PeerState::up; i++) {
        state = world.after(i * nanos_per_s / 2, Fate::refused);
    }
    CHECK(state == PeerState::failed);
    REQUIRE(world.sink.peers == std::vector<uint32_t>{1});
    CHECK(world.sink.cause->code == Code::remote);
    CHECK_THAT(world.sink.cause->what,
               Catch::StartsWith("rail 0 (rdmap0s6-rdm, efa): rank 1 is gone") &&
                   Catch::Contains("the peer's endpoint does not exist (any more)"));
    CHECK(world.sink.cause->what.find('\n') == std::string::npos);
}

TEST_CASE("reach: a peer that is up and takes probes, or has no buffer left for them, is there") {
    World world;
    world.come_up();
    world.refuse_with(not_ready);
    for (int i = 1; i <= 40; i++) {
        REQUIRE(world.after(i * nanos_per_s / 2, i < 20 ? Fate::taken : Fate::refused) ==
                PeerState::up);
    }
    CHECK(world.sent() > 40);
    CHECK(world.sink.peers.empty());
}

TEST_CASE("reach: losses of single probes are no end") {
    World world;
    world.come_up();
    for (int i = 1; i <= 40; i++) {
        REQUIRE(world.after(i * nanos_per_s / 2, i % 3 == 0 ? Fate::taken : Fate::refused) ==
                PeerState::up);
    }
    CHECK(world.sink.peers.empty());
}

}  // namespace
}  // namespace weft::fabric
