#include "src/base/lines.h"
#include "tests/catch.h"

namespace weft {
namespace {

TEST_CASE("lines: the first that differs") {
    struct Case {
        const char *a, *b, *name, *in_a, *in_b;
    };
    const Case c = GENERATE(
        Case{"", "", "", "", ""}, Case{"x=1\ny=2\n", "x=1\ny=2\n", "", "", ""},
        Case{"x=1\ny=2\n", "x=1\ny=3\n", "y", "2", "3"}, Case{"x=1\n", "x=1\ny=3\n", "y", "", "3"},
        Case{"x=1\ny=2\n", "x=1\n", "y", "2", ""}, Case{"x=1", "z=1", "x", "1", "1"});
    CAPTURE(c.a, c.b);
    const LineDifference found = lines_differ(c.a, c.b);
    CHECK(found.name == c.name);
    CHECK(found.a == c.in_a);
    CHECK(found.b == c.in_b);
}

}  // namespace
}  // namespace weft
