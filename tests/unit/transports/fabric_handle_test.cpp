#include <algorithm>

#include "tests/catch.h"
#include "transports/fabric/handle.h"

namespace weft::fabric {
namespace {

PortAddress with_rails(size_t count, size_t name_bytes) {
    PortAddress made{0x1122334455667788, {}};
    for (size_t i = 0; i < count; ++i) {
        made.rails.emplace_back(name_bytes, static_cast<char>('a' + i));
    }
    return made;
}

TEST_CASE("handle: as many rails as fit") {
    struct Case {
        size_t name_bytes, rails, kept;
    };
    // sockaddr_in, EFA's address, the longest.
    const Case wanted = GENERATE(Case{16, 3, 3}, Case{16, 32, 5}, Case{32, 4, 2}, Case{64, 2, 1});
    CAPTURE(wanted.name_bytes);
    const PortAddress made = with_rails(wanted.rails, wanted.name_bytes);
    const MeetingHandle bytes = handle_encode(made);
    const PortAddress back = handle_parse(bytes).value();
    CHECK(back.port == made.port);
    CHECK(back.rails == with_rails(wanted.kept, wanted.name_bytes).rails);
    CHECK(std::all_of(bytes.begin() + meeting_handle_used, bytes.end(),
                      [](std::byte b) { return b == std::byte{0}; }));
}

TEST_CASE("handle: what is not one is refused by what is wrong") {
    const MeetingHandle good = handle_encode(with_rails(1, 32));
    const auto refusal = [&](size_t at, uint8_t bits) {
        MeetingHandle bad = good;
        bad[at] ^= std::byte{bits};
        return handle_parse(bad).error().what;
    };
    CHECK_THAT(refusal(0, 1), Catch::Contains("not one of Weft's fabric transport"));
    CHECK_THAT(refusal(4, 3), Catch::Contains("is of version 2, this is version 1"));
    CHECK_THAT(handle_parse({}).error().what, Catch::Contains("not one of Weft's"));
    CHECK_THAT(handle_parse(handle_encode({1, {}})).error().what, Catch::Contains("no endpoint"));
    CHECK_THAT(handle_parse(handle_encode(with_rails(0, 0))).error().what,
               Catch::Contains("no endpoint"));
    for (size_t at = 5; at < meeting_handle_used; ++at) {
        CAPTURE(at);
        CHECK_THAT(refusal(at, 0x10), Catch::Contains("changed on its way"));
    }
    for (size_t at = meeting_handle_used; at < meeting_handle_bytes; ++at) {
        MeetingHandle other = good;
        other[at] ^= std::byte{1};
        CHECK(handle_parse(other).ok());
    }
}

TEST_CASE("handle: a call says where to answer") {
    const Ask ask{7, 8, "endpoint", "provider=efa\n", std::string(2304, 'x')};
    CHECK(ask_parse(ask_encode(ask)) == ask);
    const std::string text = ask_encode(ask);
    CHECK_FALSE(ask_parse(text.substr(0, text.size() - 1)));
    CHECK_FALSE(ask_parse(text + "x"));
    CHECK_FALSE(ask_parse(ask_encode({7, 8, "", "", ""})));
    CHECK_FALSE(ask_parse(ask_encode({0, 8, "endpoint", "", ""})));
    CHECK_FALSE(ask_parse(ask_encode({7, 8, std::string(65, 'x'), "", ""})));
}

}  // namespace
}  // namespace weft::fabric
