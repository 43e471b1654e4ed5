// Parts of a range: places, room, neighbours that are joined again.
#include "src/gpu/arena.h"

#include "tests/catch.h"

using weft::gpu::Arena;

TEST_CASE("parts do not overlap, begin at whole units, and end with the range") {
    alignas(64) static char range[640];
    Arena arena(range, sizeof(range));
    auto* const first = static_cast<char*>(arena.take(1));
    auto* const second = static_cast<char*>(arena.take(65));
    auto* const third = static_cast<char*>(arena.take(0));
    CHECK(first == range);
    CHECK(second == range + 64);
    CHECK(third == range + 192);
    CHECK(arena.bytes_free() == 384);
    CHECK(arena.take(385) == nullptr);
    CHECK(arena.take(384) == range + 256);
    CHECK(arena.take(1) == nullptr);
}

TEST_CASE("what is given back in any order is one range again") {
    alignas(64) static char range[640];
    for (const int order : {0, 1, 2, 3, 4, 5}) {
        Arena arena(range, sizeof(range));
        void* parts[] = {arena.take(64), arena.take(128), arena.take(448)};
        const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
        for (const int part : orders[order]) {
            CHECK(arena.take(640) == nullptr);
            arena.give_back(parts[part]);
        }
        CHECK(arena.bytes_free() == 640);
        CHECK(arena.take(640) == range);
    }
}
