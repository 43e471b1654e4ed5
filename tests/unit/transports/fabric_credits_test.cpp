// What peers can have under way towards a completion queue, counted at its limit.
#include <deque>
#include <string>

#include "tests/catch.h"
#include "transports/fabric/credits.h"
#include "transports/link.h"

namespace weft::fabric {
namespace {

// A wire whose completion queue of writes has so many entries and nobody else's: a write takes one
// when it is put, and the entry is free again when its completion has been read. Messages go beside
// it, as they do through posted receives.
class QueueWire final : public Wire {
  public:
    explicit QueueWire(PieceCredits* credits) : credits_(credits) {
        caps_.put_bytes_max = 1 << 20;
        caps_.piece_bytes = 4096;
        caps_.piece_align = 128;
        caps_.inline_bytes = 8192;
        caps_.puts_in_flight = 64;
    }
    const Caps& caps() const override { return caps_; }
    const WireCounters& counters() const override { return counters_; }
    std::string address() const override { return ""; }
    Result<uint32_t> tokens_reserve(uint32_t count) override {
        tokens_ += count;
        return tokens_ - count;
    }
    Result<void> connect(uint32_t, std::string_view, std::string_view hello) override {
        peer->hello_ = hello;
        return {};
    }
    PeerState state(uint32_t) const override {
        return hello_.empty() ? PeerState::connecting : PeerState::up;
    }
    std::string_view hello_of(uint32_t) const override { return hello_; }
    Result<Region> expose(void*, size_t) override { return Region{1}; }
    void conceal(Region) override {}
    RemoteRef ref(Region, uint64_t, uint32_t) const override {
        RemoteRef ref;
        ref.words[0] = 1;
        return ref;
    }
    uint32_t pieces_reserve(uint32_t, uint32_t wanted) override {
        return credits_ != nullptr ? credits_->reserve(wanted) : wanted;
    }
    void pieces_return(uint32_t, uint32_t count) override {
        if (credits_ != nullptr) {
            credits_->give_back(count);
        }
    }
    Post put(const Put& put) override {
        const auto* from = static_cast<const char*>(put.from);
        const bool by_value = put.to.none();
        (by_value ? peer->values : peer->queue)
            .push_back({put.imm, by_value ? std::string(from, put.bytes) : ""});
        peer->most = std::max(peer->most, peer->queue.size());
        if (put.notify) {
            delivered_.push_back(put.cookie);
        }
        return Post::accepted;
    }
    int progress(WireSink& sink, Nanos, int) override {
        int events = 0;
        for (; !delivered_.empty(); ++events) {
            const uint64_t cookie = delivered_.front();
            delivered_.pop_front();
            sink.on_delivered(cookie);
        }
        for (auto* from : {&values, reading ? &queue : &values}) {
            for (; !from->empty(); ++events) {
                const auto [imm, value] = std::move(from->front());
                from->pop_front();
                const auto* bytes = reinterpret_cast<const std::byte*>(value.data());
                sink.on_arrival(imm, value.empty() ? nullptr : bytes,
                                static_cast<uint32_t>(value.size()));
            }
        }
        return events;
    }
    const std::byte* map(uint32_t, const RemoteRef&, uint64_t) override { return nullptr; }
    Result<void> fence(uint32_t) override { return {}; }
    int wait_fd() const override { return -1; }
    bool arm() override { return true; }

    QueueWire* peer = nullptr;
    std::deque<std::pair<Imm, std::string>> queue, values;
    size_t most = 0;      // entries of the queue ever in use
    bool reading = true;  // false: the completions of writes are left where they are

  private:
    PieceCredits* credits_;
    Caps caps_;
    WireCounters counters_;
    uint32_t tokens_ = 0;
    std::string hello_;
    std::deque<uint64_t> delivered_;
};

// Puts whatever it is granted.
class Putter final : public LinkSink {
  public:
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) override {
        GrantBody body;
        REQUIRE(GrantBody::read(&body, payload, header.bytes));
        links->put_start(slot.peer, body, source.data(), Region{1}, 0);
        links->slot_release(slot);
    }
    void on_grant_filled(uint64_t) override { ++filled; }
    void on_put_delivered(uint64_t) override {}
    void on_link_failure(uint32_t, Error error) override { FAIL(error.what); }
    Links* links = nullptr;
    uint32_t filled = 0;
    std::string source = std::string(1 << 20, 's');
};

constexpr uint32_t pairs = 3;  // wires of one process, each with its own communicator and peer

// Every wire grants as much as it may while nobody reads completions.
struct World {
    explicit World(bool counted) {
        credits.open(share.writes);
        for (uint32_t i = 0; i < pairs; ++i) {
            ours.push_back(std::make_unique<QueueWire>(counted ? &credits : nullptr));
            theirs.push_back(std::make_unique<QueueWire>(nullptr));
            ours[i]->peer = theirs[i].get();
            theirs[i]->peer = ours[i].get();
            links.push_back(std::make_unique<Links>(
                LinkConfig{0, 2}, std::vector<Links::Peer>{{}, {ours[i].get(), ""}}));
            others.push_back(std::make_unique<Links>(
                LinkConfig{1, 2}, std::vector<Links::Peer>{{theirs[i].get(), ""}, {}}));
            REQUIRE(links[i]->prepare(1).ok());
            REQUIRE(others[i]->prepare(0).ok());
        }
        drive();
    }
    void drive() {
        for (int round = 0; round < 4; ++round) {
            for (uint32_t i = 0; i < pairs; ++i) {
                sink.links = links[i].get();
                links[i]->progress(sink, 0, 1000);
                sink.links = others[i].get();
                others[i]->progress(sink, 0, 1000);
            }
        }
    }
    void reading(bool yes) {
        for (auto& wire : ours) {
            wire->reading = yes;
        }
    }
    bool grant(uint32_t i, uint64_t bytes) {
        GrantBody body;
        if (!links[i]->grant_open(1, Region{1}, 0, bytes, 0, &body)) {
            return false;
        }
        smallest = std::min(smallest, body.piece_bytes);
        largest = std::max(largest, body.piece_bytes);
        MsgHeader header;
        header.kind = MsgKind::grant;
        while (links[i]->send(1, header, &body, body.message_bytes()) == Post::again) {
            drive();
        }
        ++granted;
        return true;
    }
    size_t in_queues() const {
        size_t entries = 0;
        for (const auto& wire : ours) {
            entries += wire->queue.size();
        }
        return entries;
    }
    const QueueShare share = queue_share(256, 4096, 4096);
    PieceCredits credits;
    std::vector<std::unique_ptr<QueueWire>> ours, theirs;
    std::vector<std::unique_ptr<Links>> links, others;
    Putter sink;
    uint32_t granted = 0;
    uint32_t smallest = UINT32_MAX, largest = 0;
};

TEST_CASE("credits: the shares of a queue add up to its entries, small or large") {
    for (size_t entries : {0, 1, 8, 64, 100, 1024, 8192, 32768}) {
        for (size_t provider : {4, 64, 512, 4096}) {
            const QueueShare share = queue_share(entries, provider, provider);
            CHECK(share.transmits + share.receives + share.writes == share.entries);
            CHECK(share.transmits >= 1);
            CHECK(share.receives >= 1);
            CHECK(share.writes >= share.entries / 2);
            CHECK(share.transmits <= provider);
        }
    }
    CHECK(queue_share(64, 4096, 4096).entries == 64);
}

TEST_CASE("credits: large grants leave half to small ones, and none is lost") {
    PieceCredits credits;
    credits.open(16);
    CHECK(credits.reserve(256) == 8);
    CHECK(credits.reserve(256) == 1);
    CHECK(credits.reserve(1) == 1);
    credits.give_back(4);
    CHECK(credits.left() == 10);
    CHECK(credits.reserve(5) == 2);
    for (int i = 0; i < 8; ++i) {
        CHECK(credits.reserve(3) == 1);
    }
    CHECK(credits.reserve(1) == 0);
    CHECK(credits.left() == 0);
}

TEST_CASE("credits: what peers have under way fills the queue and never more") {
    World world(true);
    world.reading(false);
    for (int round = 0; round < 200; ++round) {
        for (uint32_t i = 0; i < pairs; ++i) {
            world.grant(i, i == 1 ? 4096 : 40 * 4096);
        }
        world.drive();
        REQUIRE(world.in_queues() <= world.share.writes);
    }
    CHECK(world.in_queues() == world.share.writes);  // at the limit, and every put was posted
    CHECK(world.credits.left() == 0);
    CHECK(world.smallest == 4096);
    CHECK(world.largest == 40 * 4096);  // where pieces were scarce, they were larger
    CHECK_FALSE(world.grant(0, 4096));
    world.reading(true);
    world.drive();
    CHECK(world.sink.filled == world.granted);
    CHECK(world.credits.left() == world.share.writes);
    CHECK(world.grant(0, 4096));
}

// The test above counts: without credits the queue overflows.
TEST_CASE("credits: a wire that does not count is overrun") {
    World world(false);
    world.reading(false);
    for (int round = 0; round < 200; ++round) {
        for (uint32_t i = 0; i < pairs; ++i) {
            world.grant(i, 40 * 4096);
        }
        world.drive();
    }
    CHECK(world.in_queues() > world.share.entries);
}

TEST_CASE("credits: pieces that may yet land stay counted when their grant is closed") {
    PieceCredits credits;
    credits.open(64);
    QueueWire ours(&credits), theirs(nullptr);
    ours.peer = &theirs;
    theirs.peer = &ours;
    Links links(LinkConfig{0, 2}, {{}, {&ours, ""}});
    Links others(LinkConfig{1, 2}, {{&theirs, ""}, {}});
    Putter sink;
    REQUIRE((links.prepare(1).ok() && others.prepare(0).ok()));
    links.progress(sink, 0, 100);
    others.progress(sink, 0, 100);
    links.progress(sink, 0, 100);
    GrantBody body;
    REQUIRE(links.grant_open(1, Region{1}, 0, 3 * 4096, 0, &body));
    CHECK(credits.left() == 61);
    Put put;
    put.to = body.ref;
    put.imm = Imm::unpack(body.imm_base);
    put.notify = false;
    CHECK(theirs.put(put) == Post::accepted);
    links.progress(sink, 0, 100);
    links.grant_close(1, body);
    CHECK(credits.left() == 62);
}

}  // namespace
}  // namespace weft::fabric
