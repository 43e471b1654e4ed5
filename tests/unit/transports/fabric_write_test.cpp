// How a rail writes into a peer's memory: in one write or two. That bytes and immediates arrive is
// for tests/conformance.
#include <rdma/fi_errno.h>

#include "tests/unit/transports/rail_world.h"

namespace weft::fabric {
namespace {

using test::failed;
using test::write_of_peer;

// A rail of a provider, with a peer to write to.
struct Writing : test::RailWorld {
    explicit Writing(const char* provider)
        : RailWorld({provider, provider, "127.0.0.1"}), rail(opened_alone()), guard(rail->lock()) {
        auto to = rail->endpoint_acquire("peer");
        REQUIRE(to.ok());
        write.to = to.value();
        write.from = memory;
        write.bytes = sizeof memory;
        write.address = 4096;
        write.key = 77;
        write.imm = 0xabcd;
        owner.peer = 9;
    }
    ~Writing() { rail->endpoint_release(write.to); }
    std::unique_ptr<Rail> opened_alone() {
        FabricOptions options;
        options.provider = world.infos.front().provider;
        options.rails = {"127.0.0.1"};
        auto rails = rails_choose(library, options);
        REQUIRE(rails.ok());
        auto opened = Rail::open(library, rails.value().front(), 0, {});
        REQUIRE(opened.ok());
        return std::move(opened).value();
    }
    bool posted() {
        auto post = rail->write(write, owner);
        return post.ok() && post.value() == Post::accepted;
    }
    void completes() {
        fi_cq_data_entry entry{};
        entry.op_context = world.transmits.back();
        entry.flags = FI_WRITE | FI_RMA;
        world.completions.push_back(entry);
        rail->poll(events);
    }
    void fails() {
        world.errors = {failed(world.transmits.back(), FI_WRITE | FI_RMA, 15)};
        rail->poll(events);
    }
    std::unique_ptr<Rail> rail;
    std::lock_guard<std::mutex> guard;
    char memory[8] = "";
    RemoteWrite write;
    TxOwner owner;
    test::Heard events;
};

TEST_CASE("rail: a write is one write, but over tcp;ofi_rxm its immediate follows in another") {
    Writing sockets("sockets");
    REQUIRE(sockets.posted());
    REQUIRE(sockets.world.written.size() == 1);
    CHECK(sockets.world.written[0].bytes == 8);
    CHECK((sockets.world.written[0].flags & FI_REMOTE_CQ_DATA) != 0);
    sockets.completes();
    CHECK(sockets.events.errors == std::vector<std::string>{""});

    Writing tcp("tcp;ofi_rxm");
    REQUIRE(tcp.posted());
    REQUIRE(tcp.world.written.size() == 2);
    const auto& bytes = tcp.world.written[0];
    const auto& immediate = tcp.world.written[1];
    CHECK((bytes.bytes == 8 && bytes.bytes_there == 8));
    CHECK((bytes.flags & FI_REMOTE_CQ_DATA) == 0);
    CHECK((immediate.bytes == 0 && immediate.bytes_there == 0 && immediate.immediate == 0xabcd));
    CHECK((immediate.flags & FI_REMOTE_CQ_DATA) != 0);
    CHECK((immediate.flags & FI_DELIVERY_COMPLETE) != 0);
    CHECK((immediate.address == 4096 && immediate.key == 77));
    tcp.completes();
    CHECK(tcp.events.errors.empty());
    CHECK(tcp.rail->unfinished());
    tcp.completes();
    CHECK(tcp.events.errors == std::vector<std::string>{""});
    CHECK(tcp.events.peers == std::vector<uint32_t>{9});
    CHECK_FALSE(tcp.rail->unfinished());

    // Nothing of it can be missing.
    tcp.write.bytes = 0;
    REQUIRE(tcp.posted());
    CHECK(tcp.world.written.size() == 3);
    CHECK((tcp.world.written[2].flags & FI_REMOTE_CQ_DATA) != 0);
    tcp.completes();
    CHECK(tcp.events.errors.size() == 2);
}

// How many writes a put of so many bytes is, which stays under way.
size_t writes_of(Writing& rail, size_t bytes) {
    const size_t before = rail.world.written.size();
    rail.write.bytes = bytes;
    REQUIRE(rail.posted());
    return rail.world.written.size() - before;
}

TEST_CASE("rail: over tcp;ofi_rxm a small write is one where the peer has read all before it") {
    Writing tcp("tcp;ofi_rxm");
    tcp.rail->poll(tcp.events);
    // Before one has ended nothing is known of the stream.
    CHECK(writes_of(tcp, 8) == 2);
    CHECK(writes_of(tcp, 8) == 2);
    tcp.completes();
    tcp.completes();
    REQUIRE(writes_of(tcp, 8) == 1);
    CHECK(tcp.world.written.back().flags ==
          (FI_REMOTE_CQ_DATA | FI_COMPLETION | FI_DELIVERY_COMPLETE));
    CHECK((tcp.world.written.back().bytes == 8 && tcp.world.written.back().immediate == 0xabcd));
    tcp.completes();
    REQUIRE(tcp.events.errors == std::vector<std::string>{"", ""});
    // A segment is 472 bytes at least; a write may have headers of 128.
    SECTION("and both are less than a segment") {
        CHECK(writes_of(tcp, 345) == 2);
        tcp.completes();
        tcp.completes();
        CHECK(writes_of(tcp, 344) == 1);
    }
    SECTION("not behind as much that is under way") {
        CHECK(writes_of(tcp, 8) + writes_of(tcp, 8) + writes_of(tcp, 8) == 3);
        CHECK(writes_of(tcp, 8) == 2);
    }
    SECTION("nor behind what has failed") {
        for (int i = 0; i < 3; i++) {
            CHECK(writes_of(tcp, 8) == 1);
            tcp.fails();
            tcp.rail->poll(tcp.events);
        }
        CHECK(writes_of(tcp, 8) == 2);
    }
    SECTION("nor behind a message, which ends before it is read") {
        MessageHeader header;
        header.bytes = 300;
        REQUIRE(tcp.rail->send(*tcp.write.to, header, std::string(300, ' ').data(), {}).ok());
        tcp.completes();
        CHECK(writes_of(tcp, 8) == 2);
    }
    SECTION("nor behind the answers to the peer's own, of 16 bytes") {
        for (int i = 0; i < 21; i++) {
            tcp.world.completions.push_back(write_of_peer(nullptr, 1));
        }
        tcp.rail->poll(tcp.events);
        CHECK(writes_of(tcp, 8) == 1);
        tcp.world.completions = {write_of_peer(nullptr, 1)};
        tcp.completes();
        CHECK(writes_of(tcp, 329) == 2);
        CHECK(tcp.events.writes.size() == 22);
    }
    SECTION("nor where answers may not have been counted") {
        tcp.world.write_errors = {FI_EAGAIN};
        CHECK_FALSE(tcp.posted());
        CHECK(writes_of(tcp, 8) == 2);
        tcp.rail->poll(tcp.events);
        CHECK(writes_of(tcp, 8) == 1);
    }
}

TEST_CASE("rail: a write in two parts ends once, when both have, with the first failure") {
    Writing tcp("tcp;ofi_rxm");
    REQUIRE(tcp.posted());
    tcp.fails();
    CHECK(tcp.events.errors.empty());
    SECTION("the second is delivered") {
        tcp.completes();
    }
    SECTION("the second fails too") {
        tcp.world.errors = {failed(tcp.world.transmits.back(), FI_WRITE | FI_RMA, 3)};
        tcp.rail->poll(tcp.events);
    }
    REQUIRE(tcp.events.errors.size() == 1);
    CHECK_THAT(tcp.events.errors[0],
               Catch::Contains("a put to rank 9 failed") && Catch::Contains("words, 15"));
    CHECK_FALSE(tcp.rail->unfinished());
    // Nothing of the failure is left for who comes next.
    REQUIRE(tcp.posted());
    tcp.completes();
    tcp.completes();
    CHECK(tcp.events.errors.back().empty());
}

TEST_CASE(
    "rail: a write whose first part is refused is not posted, whose second is refused fails") {
    Writing tcp("tcp;ofi_rxm");
    tcp.world.write_errors = {FI_EAGAIN};
    const auto again = tcp.rail->write(tcp.write, tcp.owner);
    REQUIRE(again.ok());
    CHECK(again.value() == Post::again);
    CHECK_FALSE(tcp.rail->unfinished());

    tcp.world.write_errors = {0, FI_EAGAIN};
    REQUIRE(tcp.posted());
    CHECK(tcp.events.errors.empty());
    CHECK(tcp.rail->unfinished());
    tcp.completes();
    REQUIRE(tcp.events.errors.size() == 1);
    CHECK_THAT(tcp.events.errors[0], Catch::Contains("the end of a write to rank 9 failed") &&
                                         Catch::Contains("rail 0 (127.0.0.1, tcp;ofi_rxm)"));
    CHECK_FALSE(tcp.rail->unfinished());
}

}  // namespace
}  // namespace weft::fabric
