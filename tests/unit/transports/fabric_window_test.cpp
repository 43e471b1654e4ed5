// A rail's window on rails of many rates, on a clock of its own.
#include "transports/fabric/window.h"

#include <deque>

#include "tests/catch.h"

namespace weft::fabric {
namespace {

constexpr uint64_t KiB = 1024, MiB = 1024 * KiB;
constexpr WindowSpan span{64 * KiB, 1 * MiB, 64 * MiB, 10 * nanos_per_ms};

// A rail that takes puts one after the other at a rate, and a sender that keeps the window full.
struct RailModel {
    explicit RailModel(double mbit, uint64_t put_bytes = 64 * KiB)
        : rate(mbit * 1e6 / 8), put(put_bytes) {}
    double rate;            // bytes a second
    Nanos delay = 100'000;  // from the last byte until the sender is at it again
    uint64_t put;           // bytes of each
    Window window;
    struct Under {
        Window::Mark mark;
        uint64_t bytes;
        Nanos end;
    };
    std::deque<Under> under;
    uint64_t under_way = 0;
    Nanos now = nanos_per_s, free = 0;

    void post(uint64_t bytes) {
        const Window::Mark mark = window.posted(span, under_way, bytes, now);
        under_way += bytes;
        free = std::max(free, now) + static_cast<Nanos>(static_cast<double>(bytes) / rate * 1e9);
        under.push_back({mark, bytes, free + delay});
    }
    void finish() {
        const Under first = under.front();
        under.pop_front();
        now = std::max(now, first.end);
        window.finished(span, first.mark, first.bytes, now);
        under_way -= first.bytes;
    }
    void run(Nanos time) {
        const Nanos end = now + time;
        while (now < end) {
            while (under_way == 0 || under_way <= window.bytes(span)) {
                post(put);
            }
            finish();
        }
    }
    // Only a few bytes now and then, each alone.
    void trickle(Nanos time) {
        drain();
        for (const Nanos end = now + time; now < end; now += 5 * nanos_per_ms) {
            post(put / 4);
            finish();
        }
    }
    void drain() {
        while (!under.empty()) {
            finish();
        }
    }
    // What the window holds, as time.
    double milliseconds() const { return static_cast<double>(window.bytes(span)) / rate * 1e3; }
};

TEST_CASE("window: rails from 250 Mbit/s to 25 Gbit/s hold the same time") {
    for (const double mbit : {250., 1'000., 5'000., 25'000.}) {
        INFO(mbit);
        RailModel model(mbit);
        CHECK(model.window.bytes(span) == span.first);
        model.run(nanos_per_s);
        CHECK(model.milliseconds() > 8);
        CHECK(model.milliseconds() < 11);
    }
}

TEST_CASE("window: a very fast rail has the most, a very slow one the least") {
    RailModel fast(100'000, 512 * KiB);
    fast.run(nanos_per_s / 2);
    CHECK(fast.window.bytes(span) == span.most);
    RailModel slow(10);
    slow.run(4 * nanos_per_s);
    CHECK(slow.window.bytes(span) == span.least);
}

TEST_CASE("window: a rail that others begin to share is followed, and so is their end") {
    RailModel model(1'000);
    model.run(nanos_per_s);
    const uint64_t alone = model.window.bytes(span);
    model.rate /= 2;
    model.run(nanos_per_s / 2);
    CHECK(model.window.bytes(span) > alone * 4 / 10);
    CHECK(model.window.bytes(span) < alone * 6 / 10);
    model.rate *= 2;
    model.run(nanos_per_s / 2);
    CHECK(model.window.bytes(span) > alone * 9 / 10);
}

TEST_CASE("window: idle gaps do not shrink it") {
    RailModel model(1'000);
    model.run(nanos_per_s);
    const uint64_t before = model.window.bytes(span);
    for (int i = 0; i < 20; i++) {
        model.drain();
        model.now += nanos_per_s;
        model.run(20 * nanos_per_ms);
        CHECK(model.window.bytes(span) > before * 9 / 10);
    }
}

TEST_CASE("window: who asks for little learns nothing of the rail") {
    RailModel model(1'000);
    model.run(nanos_per_s);
    const uint64_t before = model.window.bytes(span);
    model.trickle(10 * nanos_per_s);
    CHECK(model.window.bytes(span) >= before);
}

TEST_CASE("window: where no time is given, it is the first for ever") {
    constexpr WindowSpan fixed{10 * MiB, 10 * MiB, 10 * MiB, 0};
    Window window;
    const Window::Mark mark = window.posted(fixed, 0, MiB, 1);
    window.finished(fixed, mark, MiB, nanos_per_s);
    CHECK(window.bytes(fixed) == 10 * MiB);
}

}  // namespace
}  // namespace weft::fabric
