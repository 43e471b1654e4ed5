// Sends meet receives: whatever their order, sizes and tags, and what happens where they do not.
#include <random>

#include "src/netplugin/protocol.h"
#include "tests/unit/netplugin/pair.h"

namespace weft::test {
namespace {

using netplugin::slots;

constexpr const char* bad_wire = "seed=5,delay=0.2,reorder=0.3,dup=0.2,again=0.2";

TEST_CASE("net plugin: every size arrives whole in a room as large or larger") {
    const std::string fault = GENERATE(as<std::string>{}, "", bad_wire);
    const bool receive_first = GENERATE(true, false);
    const size_t more = GENERATE(0, 1, 100'000);
    CAPTURE(fault, receive_first, more);
    Connected pair(fault);
    for (const size_t bytes : {0, 1, 8192, 8193, 300'000, 2'500'001}) {
        std::string from = filled(bytes, bytes), into(bytes + more, 'x');
        Request* receive = receive_first ? pair.irecv(into, 3) : nullptr;
        Request* send = pair.isend(from, 3);
        receive = receive_first ? receive : pair.irecv(into, 3);
        CHECK(pair.end_of(receive) == std::vector<int>{static_cast<int>(bytes)});
        CHECK(pair.end_of(send) == std::vector<int>{static_cast<int>(bytes)});
        CHECK(into.substr(0, bytes) == from);
        CHECK(into.substr(bytes) == std::string(more, 'x'));
    }
}

TEST_CASE("net plugin: as many as may be under way, and no more") {
    const std::string fault = GENERATE(as<std::string>{}, "", bad_wire);
    CAPTURE(fault);
    Connected pair(fault);
    constexpr size_t receives = 32, group = 8;
    std::vector<std::string> from, into(receives * group);
    for (size_t i = 0; i < into.size(); i++) {
        from.push_back(filled(i % 3 == 0 ? 20'000 + i : i * 7, i));
        into[i].resize(from[i].size());
    }
    std::vector<Request*> sent, received;
    for (size_t i = 0; i < into.size(); i++) {
        sent.push_back(pair.isend(from[i], static_cast<int>(i % group)));
        REQUIRE(sent.back() != nullptr);
    }
    std::string one_more = "more";
    CHECK(pair.isend(one_more, 0) == nullptr);
    for (size_t i = 0; i < receives; i++) {
        Buffer buffers[group];
        int tags[group];
        for (size_t j = 0; j < group; j++) {
            buffers[j] = buffer_of(into[i * group + j]);
            tags[j] = static_cast<int>(j);
        }
        received.push_back(Connected::value_of(pair.recv->irecv(buffers, tags)));
        REQUIRE(received.back() != nullptr);
    }
    CHECK(pair.irecv(one_more, 0) == nullptr);
    for (size_t i = 0; i < receives; i++) {
        const std::vector<int> sizes = pair.end_of(received[i], group);
        for (size_t j = 0; j < group; j++) {
            CHECK(sizes[j] == static_cast<int>(from[i * group + j].size()));
        }
    }
    for (Request* request : sent) {
        pair.end_of(request);
    }
    CHECK((into == from));
    CHECK(pair.isend(one_more, 0) != nullptr);
    CHECK(pair.irecv(one_more, 0) != nullptr);
}

// Any order within a group; groups and sends of a tag in order.
TEST_CASE("net plugin: a tag selects among the buffers of the oldest receive") {
    const std::string fault = GENERATE(as<std::string>{}, "", bad_wire);
    CAPTURE(fault);
    Connected pair(fault);
    std::mt19937 random(11);
    for (int round = 0; round < 20; round++) {
        constexpr size_t group = 8;
        std::vector<std::string> from(group), into(group);
        std::vector<int> tags(group);
        std::vector<Buffer> buffers;
        for (size_t i = 0; i < group; i++) {
            const size_t bytes = random() % 2 == 0 ? random() % 8192 : random() % 100'000;
            from[i] = filled(bytes, random());
            into[i].resize(bytes + random() % 1000);
            tags[i] = static_cast<int>(random() % 3) - 1;  // some twice: then in order
            buffers.push_back(buffer_of(into[i]));
        }
        Request* receive = Connected::value_of(pair.recv->irecv(buffers, tags.data()));
        std::vector<Request*> sent;
        for (const int tag : {1, -1, 0}) {
            for (size_t i = 0; i < group; i++) {
                if (tags[i] == tag) {
                    sent.push_back(pair.isend(from[i], tag));
                }
            }
        }
        const std::vector<int> sizes = pair.end_of(receive, group);
        for (size_t i = 0; i < group; i++) {
            CHECK(sizes[i] == static_cast<int>(from[i].size()));
            CHECK(into[i].substr(0, from[i].size()) == from[i]);
        }
        for (Request* request : sent) {
            pair.end_of(request);
        }
    }
}

TEST_CASE("net plugin: messages that nobody receives hold all slots, and another tag passes them") {
    const std::string fault = GENERATE(as<std::string>{}, "", bad_wire);
    const size_t unreceived = GENERATE(slots - 1, slots, 3 * slots);
    const size_t bytes = GENERATE(0, 8, 100'000);
    const bool receive_first = GENERATE(true, false);
    CAPTURE(fault, unreceived, bytes, receive_first);
    Connected pair(fault);
    std::vector<std::string> held(unreceived), rooms(unreceived, std::string(100, 'x'));
    std::vector<Request*> sent, received;
    for (size_t i = 0; i < unreceived; i++) {
        held[i] = filled(60, i);
        sent.push_back(pair.isend(held[i], 1));
    }
    std::string from = filled(bytes, 99), into(bytes, 'x');
    Request* receive = receive_first ? pair.irecv(into, 2) : nullptr;
    Request* send = pair.isend(from, 2);
    pair.until([] { return false; }, 500);  // it waits, and says what it wants
    receive = receive_first ? receive : pair.irecv(into, 2);
    CHECK(pair.end_of(receive) == std::vector<int>{static_cast<int>(bytes)});
    CHECK(into == from);
    pair.end_of(send);
    for (size_t i = 0; i < unreceived; i++) {
        received.push_back(pair.irecv(rooms[i % 32], 1));
        CHECK(pair.end_of(received.back()) == std::vector<int>{60});
        CHECK(rooms[i % 32].substr(0, 60) == held[i]);
        pair.end_of(sent[i]);
    }
}

// What ends a connection, as every request of it says.
std::string end_text(Request* request) {
    std::string text;
    for (int i = 0; i < 100'000 && text.empty(); i++) {
        const auto result = request->owner->test(*request, nullptr);
        text = result.ok() ? "" : result.error().what;
        REQUIRE_FALSE((result.ok() && result.value()));
    }
    return text;
}

TEST_CASE("net plugin: more than there is room for is an error that names both sizes") {
    const size_t bytes = GENERATE(5000, 100'000);
    const size_t room = GENERATE(0, 100, 4000);
    const bool receive_first = GENERATE(true, false);
    CAPTURE(bytes, room, receive_first);
    Connected pair;
    std::string from = filled(bytes, 1), into(4500, 'x');
    const Buffer buffer{reinterpret_cast<std::byte*>(into.data()), room, true};
    const int tag = 7;
    Request* receive = nullptr;
    if (receive_first) {
        receive = Connected::value_of(pair.recv->irecv({&buffer, 1}, &tag));
    }
    Request* send = pair.isend(from, tag);
    if (!receive_first) {
        pair.until([] { return false; }, 500);
        const auto posted = pair.recv->irecv({&buffer, 1}, &tag);
        receive = posted.ok() ? posted.value() : nullptr;
    }
    pair.until([] { return false; }, 2000);
    const std::string what =
        receive != nullptr ? end_text(receive) : pair.recv->drive().error().what;
    CHECK_THAT(what, Catch::Contains(std::to_string(bytes) + " bytes") &&
                         Catch::Contains("room for " + std::to_string(room)) &&
                         Catch::Contains("tag 7") && Catch::Contains("device lo") &&
                         Catch::Contains("the other side"));
    if (bytes > 8192) {  // a small one has left its sender
        CHECK_THAT(end_text(send), Catch::Contains("receives") || Catch::Contains("room for"));
    }
    CHECK(into == std::string(4500, 'x'));
    CHECK_FALSE(pair.recv->irecv({&buffer, 1}, &tag).ok());
}

TEST_CASE("net plugin: a wire that fails ends every request with one cause") {
    Connected pair("seed=1,fail=10");
    std::vector<std::string> from(30, std::string(50'000, 'f')), into(30, std::string(50'000, 'x'));
    std::vector<Request*> requests;
    for (size_t i = 0; i < from.size(); i++) {
        requests.push_back(pair.irecv(into[i], 1));
        requests.push_back(pair.isend(from[i], 1));
    }
    REQUIRE(pair.until([&] { return !pair.send->drive().ok() || !pair.recv->drive().ok(); }));
    netplugin::Connection& broken =
        pair.send->drive().ok() ? static_cast<netplugin::Connection&>(*pair.recv) : *pair.send;
    const Error cause = broken.drive().error();
    CHECK(cause.code == Code::remote);
    size_t failed = 0;
    for (Request* request : requests) {
        const auto result = request->owner->test(*request, nullptr);
        if (request->owner == &broken && !result.ok()) {
            CHECK(result.error().what == cause.what);
            failed++;
        }
    }
    CHECK(failed > 0);
}

TEST_CASE("net plugin: connections close with requests under way, in any order") {
    const bool receiver_first = GENERATE(true, false);
    const std::string fault = GENERATE(as<std::string>{}, "", bad_wire);
    std::vector<std::string> from(40, std::string(30'000, 'f')), into(40, std::string(40'000, 'x'));
    Connected pair(fault);
    for (size_t i = 0; i < from.size(); i++) {
        from[i].resize(i % 2 == 0 ? 100 : from[i].size());
        pair.isend(from[i], 1);
        if (i < 30) {
            pair.irecv(into[i], static_cast<int>(i % 3));
        }
    }
    pair.until([] { return false; }, 20);
    if (receiver_first) {
        pair.recv.reset();
        static_cast<void>(pair.send->drive());
        pair.send.reset();
    } else {
        pair.send.reset();
        static_cast<void>(pair.recv->drive());
        pair.recv.reset();
    }
}

TEST_CASE("net plugin: calls that cannot be are refused in one line") {
    Connected pair;
    Buffer huge;
    huge.bytes = netplugin::message_bytes_max + 1;
    const auto sent = pair.send->isend(huge, 1);
    REQUIRE_FALSE(sent.ok());
    CHECK_THAT(sent.error().what, Catch::Contains("at most 1073741824"));
    const Buffer rooms[9];
    const int tags[9] = {};
    CHECK_FALSE(pair.recv->irecv(rooms, tags).ok());
    CHECK_FALSE(pair.recv->irecv({rooms, 0}, tags).ok());
    std::string text = "still works", room(11, 'x');
    Request* receive = pair.irecv(room, 1);
    pair.isend(text, 1);
    pair.end_of(receive);
    CHECK(room == text);
}

}  // namespace
}  // namespace weft::test
