// How a grant is cut into pieces, and how much of it travels.
#include <cstring>

#include "tests/catch.h"
#include "transports/link.h"

namespace weft {
namespace {

Caps caps_with(uint32_t rails) {
    Caps caps;
    caps.piece_bytes = 256 << 10;
    caps.piece_bytes_min = 64 << 10;
    caps.piece_align = 128;
    caps.rails = rails;
    return caps;
}

TEST_CASE("pieces: small enough for all rails, never below the least, aligned") {
    CHECK(piece_bytes_for(caps_with(1), 1 << 20) == 256 << 10);
    CHECK(piece_bytes_for(caps_with(4), 1 << 20) == 256 << 10);
    CHECK(piece_bytes_for(caps_with(8), 1 << 20) == 128 << 10);
    CHECK(piece_bytes_for(caps_with(32), 1 << 20) == 64 << 10);
    CHECK(piece_bytes_for(caps_with(32), 100) == 64 << 10);
    for (uint64_t bytes = 1; bytes < (1u << 30); bytes = bytes * 3 + 7) {
        for (uint32_t rails : {1u, 2u, 3u, 4u, 32u}) {
            const uint64_t piece = piece_bytes_for(caps_with(rails), bytes);
            CHECK(piece % 128 == 0);
            CHECK(piece >= 64 << 10);
            CHECK((bytes + piece - 1) / piece <= piece_count_max);
        }
    }
}

TEST_CASE("pieces: a wire of one rail cuts at its own size only") {
    Caps caps;
    caps.piece_bytes = 512 << 10;
    CHECK(piece_bytes_for(caps, 100 << 10) >= 100 << 10);
    CHECK(piece_bytes_for(caps, 100 << 20) == 512 << 10);
    CHECK(piece_bytes_for(caps, uint64_t{1} << 30) == 4 << 20);
}

TEST_CASE("grants: only the words in use travel") {
    GrantBody body;
    body.bytes = 77;
    body.ref.words[0] = 1;
    body.ref.words[2] = 3;
    CHECK(body.message_bytes() == 16 + 3 * 8);
    std::byte bytes[sizeof body + 8];
    std::memset(bytes, 0xff, sizeof bytes);
    std::memcpy(bytes, &body, body.message_bytes());
    GrantBody read;
    REQUIRE(GrantBody::read(&read, bytes, body.message_bytes()));
    CHECK(read.ref == body.ref);
    CHECK(read.bytes == 77);
    for (size_t wrong : {size_t{0}, size_t{15}, size_t{17}, sizeof body + 8}) {
        CHECK_FALSE(GrantBody::read(&read, bytes, wrong));
    }
    CHECK(RemoteRef{}.none());
    CHECK_FALSE(body.ref.none());
}

}  // namespace
}  // namespace weft
