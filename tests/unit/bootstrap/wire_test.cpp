#include "src/bootstrap/wire.h"

#include <random>

#include "src/bootstrap/address.h"
#include "tests/catch.h"

using namespace weft;

namespace {

ProcessInfo process(uint64_t nonce) {
    return {nonce,
            "host" + std::to_string(nonce),
            77,
            {address_parse("10.0.0.1", 1).value(), address_parse("fd00::1", 2).value()}};
}

std::vector<Message> examples() {
    return {process(1),
            JoinMessage{3, 16, "info"},
            CancelMessage{3, Code::timeout, "late"},
            FailMessage{Code::remote, "gone"},
            WaitingMessage{"ranks 1-3"},
            TableMessage{1000, 500, "piece"},
            AttachMessage{42},
            DetachMessage{43},
            BlobMessage{42, 7, 5, std::string(blob_bytes_max, 'b')},
            LeftMessage{42, 5, 9, true},
            NoticeMessage{42, {Notice::Kind::failed, 5, "text"}},
            RetireMessage{true}};
}

Roster roster() {
    Roster made;
    made.group = 99;
    made.processes = {process(1), process(2)};
    made.process_of = {0, 1, 0};
    made.infos = {"a", "", "c"};
    return made;
}

std::string mutated(std::string text, std::mt19937_64& random) {
    for (uint64_t edits = 1 + random() % 5; edits > 0; --edits) {
        const size_t at = random() % (text.size() + 1);
        switch (random() % 4) {
            case 0:
                text.insert(at, 1, static_cast<char>(random()));
                break;
            case 1:
                text.erase(at, 1 + random() % 9);
                break;
            case 2:
                text.resize(at);
                break;
            default:
                if (at < text.size()) {
                    text[at] = static_cast<char>(random());
                }
        }
    }
    return text;
}

}  // namespace

TEST_CASE("every message travels", "[bootstrap][wire]") {
    size_t index = 0;
    for (const Message& message : examples()) {
        CHECK(message.index() == index++);  // one of each
        const std::string bytes = message_encode(message);
        CHECK(bytes.size() <= message_bytes_max);
        const auto back = message_decode(bytes);
        REQUIRE(back.ok());
        CHECK(back.value().index() == message.index());
        CHECK(message_encode(back.value()) == bytes);
        CHECK(!message_decode(bytes + "x").ok());
        CHECK(!message_decode(std::string_view(bytes).substr(0, bytes.size() - 1)).ok());
    }
    CHECK(index == std::variant_size_v<Message>);
}

TEST_CASE("what no honest process sends is refused", "[bootstrap][wire]") {
    CHECK(!message_decode("").ok());
    CHECK(!message_decode("\xff").ok());
    CHECK(!message_decode(message_encode(BlobMessage{1, 1, -1, ""})).ok());
    CHECK(!message_decode(message_encode(BlobMessage{1, 1, rank_count_max, ""})).ok());
    CHECK(!message_decode(message_encode(FailMessage{static_cast<Code>(200), ""})).ok());
    NoticeMessage notice{1, {static_cast<Notice::Kind>(9), 1, ""}};
    CHECK(!message_decode(message_encode(notice)).ok());
    CHECK(!message_decode(message_encode(JoinMessage{0, 1, std::string(info_bytes_max + 1, 'x')}))
               .ok());
    CHECK(
        !message_decode(message_encode(BlobMessage{1, 1, 1, std::string(blob_bytes_max + 1, 'x')}))
             .ok());
}

TEST_CASE("a roster travels and is consistent", "[bootstrap][wire]") {
    const std::string bytes = roster_encode(roster());
    CHECK(bytes.size() <= roster_bytes_max(3));
    const auto back = roster_decode(bytes);
    REQUIRE(back.ok());
    CHECK(back.value().process_of == std::vector<int32_t>{0, 1, 0});
    CHECK(back.value().infos[2] == "c");
    CHECK(back.value().processes[1].host == "host2");
    Roster bad = roster();
    bad.process_of = {1, 0, 0};  // not in the order of the lowest rank
    CHECK(!roster_decode(roster_encode(bad)).ok());
    bad.process_of = {0, 0, 0};  // a process without ranks
    CHECK(!roster_decode(roster_encode(bad)).ok());
    bad.process_of = {0, 1, 2};
    CHECK(!roster_decode(roster_encode(bad)).ok());
    bad = roster();
    bad.process_of.clear();
    bad.infos.clear();
    CHECK(!roster_decode(roster_encode(bad)).ok());
}

TEST_CASE("no bytes make the parsers misbehave", "[bootstrap][wire]") {
    std::mt19937_64 random(11);
    std::vector<std::string> seeds;
    for (const Message& message : examples()) {
        if (message.index() != 8) {  // the big blob only slows this down
            seeds.push_back(message_encode(message));
        }
    }
    const std::string table = roster_encode(roster());
    for (int i = 0; i < 20000; ++i) {
        const auto message = message_decode(mutated(seeds[random() % seeds.size()], random));
        if (message.ok()) {
            CHECK(message_encode(message.value()).size() <= message_bytes_max);
        }
        const auto decoded = roster_decode(mutated(table, random));
        if (decoded.ok()) {
            CHECK(decoded.value().process_of.size() == decoded.value().infos.size());
        }
    }
}

TEST_CASE("ranks are listed in runs", "[bootstrap][wire]") {
    CHECK(ranks_text({}).empty());
    CHECK(ranks_text({3}) == "3");
    CHECK(ranks_text({3, 7, 8, 9}) == "3, 7-9");
    std::vector<int32_t> odd;
    for (int32_t rank = 1; rank < 100; rank += 2) {
        odd.push_back(rank);
    }
    CHECK(ranks_text(odd) == "1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23 and 38 more");
    CHECK(rank_name(3, process(5)) == "rank 3 (host host5, pid 77)");
}
