#include "transports/shm/frames.h"

#include "tests/catch.h"

using namespace weft;
using namespace weft::shm;

namespace {

ByteReader after_type(const std::string& frame, FrameType type) {
    ByteReader body(frame);
    REQUIRE(static_cast<FrameType>(body.u8().value()) == type);
    return body;
}

OfferFrame offer_sample() {
    OfferFrame offer;
    offer.ends = {3, 4};
    offer.group = 5;
    offer.rank_count = 6;
    offer.block = 2;
    offer.probe = 0x7f0011223344;
    offer.nonce.fill(9);
    offer.hello = std::string(hello_bytes_max, 'h');
    return offer;
}

}  // namespace

TEST_CASE("frames read back as they were written") {
    const std::string greet = frame_greet("weft-12-0123456789abcdef");
    ByteReader greeting = after_type(greet, FrameType::greet);
    CHECK(greet_read(greeting).value() == "weft-12-0123456789abcdef");

    const std::string text = frame_offer(offer_sample());
    ByteReader body = after_type(text, FrameType::offer);
    const OfferFrame offer = offer_read(body).value();
    CHECK(offer.ends.from == 3);
    CHECK(offer.ends.to == 4);
    CHECK(offer.block == 2);
    CHECK(offer.probe == offer_sample().probe);
    CHECK(offer.nonce == offer_sample().nonce);
    CHECK(offer.hello == offer_sample().hello);
    CHECK(text.size() <= 1024);

    const std::string range_text = frame_range({7, 0x1000, 8192});
    ByteReader range_body = after_type(range_text, FrameType::range);
    CHECK(range_read(range_body).value().bytes == 8192);
}

TEST_CASE("a cut or lengthened frame is refused at every length") {
    const std::string whole = frame_offer(offer_sample()).substr(1);
    for (size_t size = 0; size < whole.size(); size++) {
        ByteReader body(std::string_view(whole).substr(0, size));
        CHECK_FALSE(offer_read(body).ok());
    }
    const std::string longer = whole + "x";
    ByteReader body(longer);
    CHECK_FALSE(offer_read(body).ok());
}

TEST_CASE("a hello too long and a name that is no name are refused") {
    OfferFrame offer = offer_sample();
    offer.hello.push_back('h');
    const std::string text = frame_offer(offer).substr(1);
    ByteReader body(text);
    CHECK_FALSE(offer_read(body).ok());
    for (const char* name : {"", "other-1", "weft-1/../x", "weft-\n"}) {
        const std::string greet = frame_greet(name).substr(1);
        ByteReader greeting(greet);
        CHECK_FALSE(greet_read(greeting).ok());
    }
}

TEST_CASE("addresses read back, and nothing else does") {
    const ShmAddress address{"weft-7-00ff", 12};
    const ShmAddress read = address_read(address_write(address)).value();
    CHECK(read.hub == address.hub);
    CHECK(read.wire == 12);
    for (const char* text : {"", "shm:", "shm:weft-1:", "shm:weft-1:x", "shm:weft-1:1x",
                             "tcp:weft-1:1", "shm:WEFT:1", "shm:weft-1:99999999999999999999"}) {
        CHECK_FALSE(address_read(text).ok());
    }
}
