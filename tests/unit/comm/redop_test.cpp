#include "src/comm/redop.h"

#include <cstring>

#include "tests/catch.h"

using namespace weft;

TEST_CASE("built-in operators mean themselves") {
    const RedOpTable table(12345);
    for (int op = 0; op < red_op_builtin_count; op++) {
        CHECK(table.look_up(op, DataType::float32).value().op == static_cast<RedOp>(op));
    }
    CHECK_FALSE(table.look_up(red_op_builtin_count, DataType::float32).ok());
    CHECK_FALSE(table.look_up(INT32_MAX, DataType::float32).ok());
}

TEST_CASE("made operators, for any salt") {
    const uint64_t salts[] = {0, 1, 5, 7, 0x7fffffff, 0x80000000, 0xdeadbeefcafe, ~uint64_t{0}};
    for (const uint64_t salt : salts) {
        RedOpTable table(salt);
        std::vector<int> handles;
        for (int i = 0; i < 20; i++) {
            const float scalar = static_cast<float>(i);
            handles.push_back(table.create(DataType::float32, &scalar, true));
            CHECK(handles.back() >= red_op_builtin_count);
        }
        for (int i = 0; i < 20; i++) {
            const auto found = table.look_up(handles[i], DataType::float32);
            REQUIRE(found.ok());
            float scalar = -1;
            std::memcpy(&scalar, found.value().scalar.bytes, sizeof scalar);
            CHECK(scalar == static_cast<float>(i));
            CHECK(found.value().op == RedOp::pre_mul_sum);
            CHECK_FALSE(table.look_up(handles[i], DataType::float64).ok());
        }
        CHECK(table.destroy(handles[3]).ok());
        CHECK_FALSE(table.destroy(handles[3]).ok());
        CHECK_FALSE(table.look_up(handles[3], DataType::float32).ok());
        CHECK(table.look_up(handles[4], DataType::float32).ok());
        CHECK_FALSE(table.destroy(0).ok());
    }
}

TEST_CASE("a scalar may be read later") {
    RedOpTable table(99);
    int64_t scalar = 1;
    const int handle = table.create(DataType::int64, &scalar, false);
    CHECK(table.look_up(handle, DataType::int64).value().scalar_at == &scalar);
}

TEST_CASE("an operator of another communicator is foreign") {
    RedOpTable mine(111111), other(222222);
    const float scalar = 2;
    const int handle = mine.create(DataType::float32, &scalar, true);
    other.create(DataType::float32, &scalar, true);
    CHECK_FALSE(other.look_up(handle, DataType::float32).ok());
    CHECK_FALSE(other.destroy(handle).ok());
}
