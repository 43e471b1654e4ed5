#include "src/base/bytes.h"

#include "tests/catch.h"

using namespace weft;

TEST_CASE("what is written is read back", "[base][bytes]") {
    const std::string wire = ByteWriter()
                                 .u8(0xfe)
                                 .u16(0x1234)
                                 .u32(0xdeadbeef)
                                 .u64(0x0123456789abcdef)
                                 .i32(-5)
                                 .i64(INT64_MIN)
                                 .text("hello")
                                 .raw("!")
                                 .take();
    CHECK(wire.substr(1, 2) == "\x34\x12");  // little endian
    ByteReader in(wire);
    CHECK(in.u8().value() == 0xfe);
    CHECK(in.u16().value() == 0x1234);
    CHECK(in.u32().value() == 0xdeadbeef);
    CHECK(in.u64().value() == 0x0123456789abcdef);
    CHECK(in.i32().value() == -5);
    CHECK(in.i64().value() == INT64_MIN);
    CHECK(in.text(5).value() == "hello");
    CHECK(!in.end().ok());
    CHECK(in.raw(1).value() == "!");
    CHECK(in.end().ok());
    CHECK(!in.u8().ok());
}

TEST_CASE("lengths are bounded and reading stops at the end", "[base][bytes]") {
    const std::string wire = ByteWriter().text("abcdef").take();
    CHECK(!ByteReader(wire).text(5).ok());
    CHECK(!ByteReader(std::string_view(wire).substr(0, 9)).text(6).ok());
    CHECK(!ByteReader(std::string_view(wire).substr(0, 3)).text(6).ok());
    CHECK(ByteReader(wire).count(6).value() == 6);
    CHECK(!ByteReader(wire).count(5).ok());
    const std::string huge = ByteWriter().u32(UINT32_MAX).take();
    const auto cut = ByteReader(huge).text(SIZE_MAX);
    REQUIRE(!cut.ok());
    CHECK(cut.error().code == Code::remote);
}
