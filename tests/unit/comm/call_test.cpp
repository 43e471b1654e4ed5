#include "src/comm/call.h"

#include "tests/catch.h"

using namespace weft;

namespace {

float buffer[4];
const RedOpTable operators(1);

CallArgs args(Coll coll) {
    CallArgs made;
    made.name = "Test";
    made.coll = coll;
    made.send = buffer;
    made.recv = buffer;
    made.count = 4;
    made.type = static_cast<int>(DataType::float32);
    return made;
}

// The error line, empty when the call is good.
std::string refusal(const CallArgs& given, int32_t rank = 0) {
    Call call;
    const auto checked = call_check(given, rank, 4, operators, call);
    if (checked.ok()) {
        return "";
    }
    CHECK(checked.error().code == Code::invalid_argument);
    return checked.error().what;
}

}  // namespace

TEST_CASE("wrong values are named") {
    CallArgs given = args(Coll::all_reduce);
    CHECK(refusal(given).empty());
    given.type = 12;
    CHECK(refusal(given).find("invalid type 12") != std::string::npos);
    given.type = -1;
    CHECK_FALSE(refusal(given).empty());
    given = args(Coll::reduce);
    given.root = 4;
    CHECK(refusal(given).find("invalid root 4") != std::string::npos);
    given = args(Coll::send_recv);
    given.root = -1;
    CHECK(refusal(given).find("invalid peer -1") != std::string::npos);
    given = args(Coll::all_reduce);
    given.op = 5;
    CHECK(refusal(given).find("operator 5") != std::string::npos);
    given.op = -1;
    CHECK_FALSE(refusal(given).empty());
    given = args(Coll::all_gather);
    given.op = 99;  // not a reduction: the operator is not looked at
    CHECK(refusal(given).empty());
    given.count = SIZE_MAX / 8;
    CHECK(refusal(given).find("count") != std::string::npos);
}

TEST_CASE("NULL where this rank does not look") {
    for (const Coll coll : {Coll::reduce, Coll::gather}) {
        CallArgs given = args(coll);
        given.root = 1;
        given.recv = nullptr;
        CHECK(refusal(given, 0).empty());
        CHECK(refusal(given, 1).find("recvbuff") != std::string::npos);
    }
    for (const Coll coll : {Coll::broadcast, Coll::scatter}) {
        CallArgs given = args(coll);
        given.root = 1;
        given.send = nullptr;
        CHECK(refusal(given, 0).empty());
        CHECK(refusal(given, 1).find("sendbuff") != std::string::npos);
    }
}

TEST_CASE("nothing to do") {
    CallArgs given = args(Coll::all_reduce);
    given.count = 0;
    given.send = given.recv = nullptr;
    Call call;
    CHECK_FALSE(call_check(given, 0, 4, operators, call).value());
    given.coll = Coll::send_recv;
    CHECK(call_check(given, 0, 4, operators, call).value());
}
