#include "src/comm/split.h"

#include "tests/catch.h"

using namespace weft;

TEST_CASE("members of a colour by key, then by rank") {
    const std::vector<SplitKey> keys{{0, 5}, {1, 0}, {0, 5}, {0, -1}, {color_none, 0}};
    CHECK(split_members(keys, 0) == std::vector<int32_t>{3, 0, 2});
    CHECK(split_members(keys, 1) == std::vector<int32_t>{1});
    CHECK(split_members(keys, 2).empty());
}

TEST_CASE("survivors keep their order") {
    CHECK(shrink_members(5, 0, {3, 1}).value() == std::vector<int32_t>{0, 2, 4});
    CHECK_FALSE(shrink_members(5, 0, {}).ok());
    CHECK_FALSE(shrink_members(5, 0, {0}).ok());
    CHECK_FALSE(shrink_members(5, 0, {5}).ok());
    CHECK_FALSE(shrink_members(5, 0, {-1}).ok());
    CHECK_FALSE(shrink_members(5, 0, {2, 2}).ok());
}
