#include "src/bootstrap/channel.h"

#include <random>

#include "src/bootstrap/wire.h"
#include "tests/catch.h"

using namespace weft;

namespace {

const Realm ours = realm_of_secret(std::string(32, 'o'));

const Realm* know_ours(const RealmId& id) {
    return id == ours.id ? &ours : nullptr;
}

struct Pair {
    explicit Pair(const Realm& realm = ours) : near(realm, {1}), far(know_ours, {2}) {}
    Channel near, far;

    // Passes bytes both ways until none are left; false if one side gave up.
    bool settle(size_t piece = SIZE_MAX) {
        for (int i = 0; i < 4; ++i) {
            if (!pass(near, far, piece) || !pass(far, near, piece)) {
                return false;
            }
        }
        return true;
    }
    static bool pass(Channel& from, Channel& to, size_t piece) {
        const std::string bytes = from.out();
        for (size_t at = 0; at < bytes.size();) {
            const std::string_view part = std::string_view(bytes).substr(at, piece);
            if (!to.feed(part).ok()) {
                return false;
            }
            at += part.size();
        }
        return true;
    }
};

}  // namespace

TEST_CASE("both sides prove the secret, then talk", "[bootstrap][channel]") {
    const size_t piece = GENERATE(size_t{1}, size_t{7}, SIZE_MAX);
    Pair pair;
    REQUIRE(pair.settle(piece));
    CHECK(pair.near.open());
    CHECK(pair.far.open());
    CHECK(pair.far.realm() == ours.id);
    pair.near.send("one");
    pair.near.send("");
    pair.far.send(std::string(message_bytes_max, 'x'));
    REQUIRE(pair.settle(piece == 1 ? 1000 : piece));
    CHECK(pair.far.take_messages() == std::vector<std::string>{"one", ""});
    CHECK(pair.near.take_messages() ==
          std::vector<std::string>{std::string(message_bytes_max, 'x')});
}

TEST_CASE("another secret gets nowhere, on either side", "[bootstrap][channel]") {
    Realm wrong = ours;
    wrong.secret[0] ^= 1;
    Pair client_wrong(wrong);
    CHECK(!client_wrong.settle());
    CHECK(!client_wrong.near.open());
    CHECK(!client_wrong.far.open());
    Pair unknown(realm_of_secret(std::string(32, 'u')));
    CHECK(!unknown.settle());
    // A client that does not check, only claims.
    Pair liar;
    Pair::pass(liar.near, liar.far, SIZE_MAX);
    CHECK(!liar.far.feed(std::string(32, 'p')).ok());
}

TEST_CASE("foreign protocols are known by their first bytes", "[bootstrap][channel]") {
    for (const char* text : {"G", "GET / HTTP/1.1\r\n", "WEFTX", "\x16\x03\x01", "WEFTBYE2"}) {
        Channel channel(know_ours, {2});
        CHECK(!channel.feed(text).ok());
        CHECK(!channel.quit());
    }
    Channel half(know_ours, {2});
    CHECK(half.feed("WEFTCTL1").ok());
    CHECK(half.feed("only half").ok());
    Channel leaving(know_ours, {2});
    CHECK(leaving.feed(Channel::farewell().substr(0, 5)).ok());
    CHECK(!leaving.feed(Channel::farewell().substr(5)).ok());
    CHECK(leaving.quit());
}

TEST_CASE("no frame can be changed, repeated, dropped or swapped", "[bootstrap][channel]") {
    const auto attack = [](const std::function<std::string(std::string, std::string)>& tamper) {
        Pair pair;
        REQUIRE(pair.settle());
        pair.near.send("first");
        const std::string first = pair.near.out();
        pair.near.send("second");
        const std::string second = pair.near.out();
        return pair.far.feed(tamper(first, second)).ok();
    };
    CHECK(attack([](auto first, auto second) { return first + second; }));
    CHECK(!attack([](auto first, auto second) { return second + first; }));
    CHECK(!attack([](auto first, auto) { return first + first; }));
    CHECK(!attack([](auto, auto second) { return second; }));
    for (size_t at = 0; at < 9; ++at) {
        CHECK(!attack([at](auto first, auto second) {
            first[at] = static_cast<char>(first[at] ^ 0x40);
            return first + second + std::string(1 << 20, 'x');
        }));
    }
    CHECK(!attack([](auto, auto) { return std::string(4, '\xff'); }));  // an absurd length
    // Not even back to its sender.
    Pair pair;
    REQUIRE(pair.settle());
    pair.near.send("mirror");
    CHECK(!pair.near.feed(pair.near.out()).ok());
}
