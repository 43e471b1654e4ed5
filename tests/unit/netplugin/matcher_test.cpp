// Labels: the j-th of a tag on either side.
#include "src/netplugin/matcher.h"

#include "tests/catch.h"

namespace weft::netplugin {
namespace {

TEST_CASE("net plugin: tags count apart") {
    TagOrder order;
    CHECK(order.next(5) == Label{5, 0});
    CHECK(order.next(-1) == Label{UINT32_MAX, 0});
    CHECK(order.next(5) == Label{5, 1});
    CHECK(order.posted({5, 1}));
    CHECK_FALSE(order.posted({5, 2}));
    CHECK_FALSE(order.posted({6, 0}));
    CHECK(order.posted({UINT32_MAX, 0}));
}

TEST_CASE("net plugin: what waits is taken once, by its label") {
    LabelTable<int, 3> table;
    CHECK(table.add({1, 0}, 10));
    CHECK(table.add({1, 1}, 11));
    CHECK(table.add({2, 0}, 20));
    CHECK_FALSE(table.add({2, 1}, 21));
    CHECK(table.take({1, 0}) == 10);
    CHECK_FALSE(table.take({1, 0}));
    CHECK(table.take({2, 0}) == 20);
    CHECK(table.take({1, 1}) == 11);
    CHECK(table.size() == 0);
}

}  // namespace
}  // namespace weft::netplugin
