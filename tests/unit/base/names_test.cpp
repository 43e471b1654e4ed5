#include "src/base/names.h"

#include "tests/catch.h"

using namespace weft;

TEST_CASE("edit distance counts insertions, deletions and changes") {
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("abc", "") == 3);
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("p5.48xl", "p5.48xlarge") == 4);
}

TEST_CASE("the nearest name, the first of several, whatever the length typed") {
    constexpr std::string_view names[] = {"ring", "rang", "direct"};
    CHECK(nearest_name("ringo", names) == "ring");
    CHECK(nearest_name("rung", names) == "ring");
    CHECK(nearest_name("direkt", names) == "direct");
    CHECK(nearest_name(std::string_view(), names) == "ring");
}
