#include "transports/common/ring.h"

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace weft;

namespace {

constexpr RingShape small{8, 1024};

// A ring in private memory and both its halves.
struct Ring {
    explicit Ring(RingShape shape)
        : memory(static_cast<std::byte*>(std::aligned_alloc(64, shape.bytes()))),
          view((std::memset(memory.get(), 0, shape.bytes()), memory.get()), shape),
          producer(view),
          consumer(view) {}

    struct Free {
        void operator()(std::byte* at) const { std::free(at); }
    };
    std::unique_ptr<std::byte, Free> memory;
    RingView view;
    RingProducer producer;
    RingConsumer consumer;
};

std::vector<std::byte> bytes_of(size_t count, uint32_t seed) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = static_cast<std::byte>(i * 7 + seed);
    }
    return bytes;
}

bool message_is(const RingMessage& message, uint32_t k, size_t size) {
    const auto expected = bytes_of(size, k);
    return message.imm == k && message.length == size &&
           (size == 0 || std::memcmp(message.data, expected.data(), size) == 0);
}

}  // namespace

TEST_CASE("messages of every size come out as they went in, lap after lap") {
    Ring ring(small);
    for (uint32_t k = 0; k < 1000; k++) {
        const size_t size = k * 37 % 500;
        REQUIRE(ring.producer.push(3, k, bytes_of(size, k)));
        RingMessage message;
        REQUIRE(ring.consumer.peek(&message) == RingConsumer::Peek::message);
        REQUIRE(message.kind == 3);
        REQUIRE(message_is(message, k, size));
        ring.consumer.pop();
        ring.consumer.publish();
        REQUIRE(ring.consumer.empty());
    }
}

TEST_CASE("a note rides beside the bytes") {
    Ring ring(small);
    const auto note = bytes_of(ring_note_bytes, 9);
    REQUIRE(ring.producer.push(1, 7, bytes_of(5, 7), note));
    RingMessage message;
    REQUIRE(ring.consumer.peek(&message) == RingConsumer::Peek::message);
    CHECK(message_is(message, 7, 5));
    CHECK(std::memcmp(message.note, note.data(), note.size()) == 0);
}

TEST_CASE("a full ring refuses, and says when there is room") {
    Ring ring(small);
    uint32_t pushed = 0;
    while (ring.producer.push(1, pushed, bytes_of(8, pushed))) {
        pushed++;
    }
    CHECK(pushed == small.cells);
    CHECK_FALSE(ring.producer.ready());
    CHECK(ring.consumer.available() == small.cells);
    bool rung = false;
    for (uint32_t k = 0; k < pushed; k++) {
        ring.consumer.pop();
        rung = ring.consumer.publish() || rung;
    }
    CHECK(rung);
    CHECK(ring.producer.ready());
    CHECK(ring.producer.drained());
}

TEST_CASE("a full byte area refuses with cells left, and small messages still pass") {
    Ring ring(small);
    REQUIRE(ring.producer.push(1, 0, bytes_of(600, 0)));
    CHECK_FALSE(ring.producer.push(1, 1, bytes_of(600, 1)));
    REQUIRE(ring.producer.push(1, 1, bytes_of(8, 1)));
    ring.consumer.pop();
    CHECK(ring.consumer.publish());  // the producer waits
    REQUIRE(ring.producer.push(1, 2, bytes_of(600, 2)));
    RingMessage message;
    ring.consumer.pop();
    REQUIRE(ring.consumer.peek(&message) == RingConsumer::Peek::message);
    CHECK(message_is(message, 2, 600));
}

TEST_CASE("an empty ring takes a message of the whole area, wherever it stood") {
    Ring ring(small);
    for (uint32_t k = 0; k < 20; k++) {
        const size_t size = k % 2 == 0 ? 100 : small.area_bytes;
        REQUIRE(ring.producer.push(1, k, bytes_of(size, k)));
        RingMessage message;
        REQUIRE(ring.consumer.peek(&message) == RingConsumer::Peek::message);
        CHECK(message_is(message, k, size));
        ring.consumer.pop();
        ring.consumer.publish();
    }
}

TEST_CASE("nonsense from the other side is seen") {
    Ring ring(small);
    REQUIRE(ring.producer.push(1, 0, bytes_of(100, 0)));
    RingMessage message;
    ring.view.cells[0].length = 5000;
    CHECK(ring.consumer.peek(&message) == RingConsumer::Peek::broken);
    ring.view.cells[0].length = 100;
    const uint32_t outside = 1000;
    std::memcpy(ring.view.cells[0].payload, &outside, sizeof outside);
    CHECK(ring.consumer.peek(&message) == RingConsumer::Peek::broken);
    ring.view.cells[0].in_area = 0;
    CHECK(ring.consumer.peek(&message) == RingConsumer::Peek::broken);
    ring.view.control->consumed = 77;
    CHECK_FALSE(ring.producer.drained());
    CHECK(ring.producer.broken());
}

TEST_CASE("two threads, a hundred thousand messages") {
    Ring ring({64, 1 << 14});
    constexpr uint32_t count = 100'000;
    std::thread consumer([&ring] {
        RingMessage message;
        for (uint32_t k = 0; k < count;) {
            if (ring.consumer.peek(&message) != RingConsumer::Peek::message) {
                ring.consumer.publish();
                std::this_thread::yield();
                continue;
            }
            if (!message_is(message, k, k * 13 % 700)) {
                throw std::runtime_error("a message is not what was sent");
            }
            ring.consumer.pop();
            k++;
        }
    });
    for (uint32_t k = 0; k < count;) {
        if (ring.producer.push(1, k, bytes_of(k * 13 % 700, k))) {
            k++;
        } else {
            std::this_thread::yield();
        }
    }
    consumer.join();
}
