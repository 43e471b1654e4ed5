// FIPS 180-4 examples and all cases of RFC 4231.
#include "src/base/sha256.h"

#include "src/base/log.h"
#include "tests/catch.h"

using namespace weft;

namespace {

std::string hex(const Digest& digest) {
    std::string text;
    for (const uint8_t byte : digest) {
        text += format("%02x", unsigned{byte});
    }
    return text;
}

std::string repeated(char byte, size_t count) {
    return std::string(count, byte);
}

}  // namespace

TEST_CASE("SHA-256 matches FIPS 180-4", "[base][sha256]") {
    CHECK(hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(hex(sha256(repeated('a', 1000000))) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("pieces of any size give the same digest", "[base][sha256]") {
    std::string text;
    for (int i = 0; i < 300; ++i) {
        text += static_cast<char>(i * 7);
    }
    for (size_t piece = 1; piece < 140; ++piece) {
        Sha256 hash;
        for (size_t at = 0; at < text.size(); at += piece) {
            hash.update(std::string_view(text).substr(at, piece));
        }
        CHECK(hash.finish() == sha256(text));
    }
}

TEST_CASE("HMAC-SHA-256 matches RFC 4231", "[base][sha256]") {
    CHECK(hex(hmac_sha256(repeated('\x0b', 20), "Hi There")) ==
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    CHECK(hex(hmac_sha256("Jefe", "what do ya want for nothing?")) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(hex(hmac_sha256(repeated('\xaa', 20), repeated('\xdd', 50))) ==
          "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    std::string counting;
    for (char byte = 1; byte <= 25; ++byte) {
        counting += byte;
    }
    CHECK(hex(hmac_sha256(counting, repeated('\xcd', 50))) ==
          "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
    CHECK(hex(hmac_sha256(repeated('\x0c', 20), "Test With Truncation")).substr(0, 32) ==
          "a3b6167473100ee06e0c796c2955552b");
    CHECK(hex(hmac_sha256(repeated('\xaa', 131),
                          "Test Using Larger Than Block-Size Key - Hash Key First")) ==
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    CHECK(hex(hmac_sha256(repeated('\xaa', 131),
                          "This is a test using a larger than block-size key and a larger than "
                          "block-size data. The key needs to be hashed before being used by the "
                          "HMAC algorithm.")) ==
          "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

TEST_CASE("digests are compared whole", "[base][sha256]") {
    CHECK(digest_equal("abc", "abc"));
    CHECK(!digest_equal("abc", "abd"));
    CHECK(!digest_equal("abc", "ab"));
    CHECK(digest_equal("", ""));
}
