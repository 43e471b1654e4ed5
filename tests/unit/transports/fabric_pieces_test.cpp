// The parts of the fabric wire that need no libfabric object: tokens, messages, choice of rails.
#include <cerrno>
#include <cstring>

#include "tests/catch.h"
#include "transports/fabric/inbox.h"
#include "transports/fabric/message.h"
#include "transports/fabric/provider.h"
#include "transports/fabric/tokens.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {
namespace {

TEST_CASE("tokens: ranges are apart and reused late") {
    TokenSpace space;
    uint32_t a = space.reserve(100).value();
    uint32_t b = space.reserve(1).value();
    CHECK(a % token_block == 0);
    CHECK(b >= a + 100);
    space.release(a, 100);
    uint32_t c = space.reserve(16).value();
    CHECK(c > b);
    uint32_t left = token_count_max - c - 16;
    uint32_t d = space.reserve(left).value();
    CHECK(d == c + 16);
    CHECK(space.reserve(100).value() == a);  // the end is reached: only now the freed range
    CHECK_FALSE(space.reserve(16).ok());
}

TEST_CASE("tokens: neighbours merge, too much is refused in one line") {
    TokenSpace space;
    uint32_t a = space.reserve(32).value(), b = space.reserve(32).value(),
             c = space.reserve(32).value();
    space.release(a, 32);
    space.release(c, 32);
    space.release(b, 32);
    CHECK(space.reserve(token_count_max - 96).ok());
    CHECK(space.reserve(96).value() == a);
    auto refused = space.reserve(token_count_max + 1);
    REQUIRE_FALSE(refused.ok());
    CHECK_THAT(refused.error().what, Catch::Contains("tokens"));
}

TEST_CASE("message: a header must agree with its length") {
    std::byte bytes[64] = {};
    MessageHeader header;
    header.kind = MessageKind::value;
    header.bytes = 32;
    std::memcpy(bytes, &header, sizeof header);
    CHECK(message_parse(bytes, 64).has_value());
    CHECK_FALSE(message_parse(bytes, 63).has_value());
    CHECK_FALSE(message_parse(bytes, 31).has_value());
    bytes[0] = std::byte{99};
    CHECK_FALSE(message_parse(bytes, 64).has_value());
    bytes[0] = std::byte{1};
    bytes[1] = std::byte{rails_max};
    CHECK_FALSE(message_parse(bytes, 64).has_value());
}

TEST_CASE("message: where a rail has moved to, and what is no such thing") {
    const std::string name(rail_name_max, 'n');
    const uint64_t word = moved_word({31, 0xffffffff, {}});
    const auto moved = moved_parse(word, name);
    REQUIRE(moved.has_value());
    CHECK(moved->rail == 31);
    CHECK(moved->incarnation == 0xffffffff);
    CHECK(moved->endpoint == name);
    CHECK(moved_word(*moved) == word);
    CHECK_FALSE(moved_parse(word, "").has_value());
    CHECK_FALSE(moved_parse(word, name + "n").has_value());
    CHECK_FALSE(moved_parse(32, name).has_value());
    CHECK_FALSE(moved_parse(word | uint64_t{1} << 40, name).has_value());
}

TEST_CASE("message: addresses round-trip and every cut is refused") {
    WireAddress address{0x1234567890abcdef, 42, {"one", std::string(rail_name_max, 'x')}};
    std::string text = address_encode(address);
    CHECK(text.size() <= wire_address_bytes_max);
    WireAddress widest{1, 2, std::vector(rails_max, std::string(rail_name_max, 'x'))};
    CHECK(address_encode(widest).size() <= wire_address_bytes_max);
    CHECK(address_parse(address_encode(widest)).value() == widest);
    CHECK(address_parse(text).value() == address);
    for (size_t cut = 0; cut < text.size(); ++cut) {
        CHECK_FALSE(address_parse(text.substr(0, cut)).ok());
    }
    CHECK_FALSE(address_parse(text + "x").ok());
    std::string hello = hello_encode({7, 9, "blob"});
    CHECK(hello_parse(hello)->blob == "blob");
    CHECK_FALSE(hello_parse(hello.substr(0, 15)).has_value());
    CHECK_FALSE(hello_parse(hello + std::string(hello_bytes_max, 'y')).has_value());
}

const std::vector<Interface> machine = {
    {"lo", "127.0.0.1", true, true, false, false},
    {"eth0", "fe80::1", true, false, true, true},
    {"eth0", "fd00::2", true, false, false, true},
    {"eth0", "192.0.2.2", true, false, false, false},
    {"eth1", "fd00::3", true, false, false, true},
    {"eth2", "192.0.2.9", false, false, false, false},
    {"eth3", "169.254.1.1", true, false, true, false},
};

TEST_CASE("rails: one per usable interface, IPv4 first, never link-local") {
    CHECK(sources_choose(machine, {}).value() == std::vector<std::string>{"192.0.2.2", "fd00::3"});
    CHECK(sources_choose({machine[0]}, {}).value() == std::vector<std::string>{"127.0.0.1"});
    CHECK_FALSE(sources_choose({}, {}).ok());
}

TEST_CASE("rails: names and addresses as asked, a wrong one is refused with the choice") {
    std::vector<std::string> wanted = {"127.0.0.2", "eth1"};
    CHECK(sources_choose(machine, wanted).value() ==
          std::vector<std::string>{"127.0.0.2", "fd00::3"});
    for (const char* wrong : {"eth2", "eth3", "eth9"}) {
        auto refused = sources_choose(machine, {wrong});
        REQUIRE_FALSE(refused.ok());
        CHECK_THAT(refused.error().what, Catch::Contains(wrong) && Catch::Contains("eth0, eth1"));
    }
}

TEST_CASE("translate: the known errors say what to do") {
    CHECK_THAT(hint_for(ETIMEDOUT), Catch::Contains("security group"));
    CHECK_THAT(hint_for(ENOMEM), Catch::Contains("ulimit -l"));
    CHECK(std::string(hint_for(0)).empty());
}

}  // namespace
}  // namespace weft::fabric
