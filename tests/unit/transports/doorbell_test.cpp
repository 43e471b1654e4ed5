#include "transports/doorbell.h"

#include <poll.h>
#include <unistd.h>

#include <thread>

#include "tests/catch.h"

using namespace weft;

namespace {

bool event_pending(const Doorbell& bell) {
    pollfd readable{bell.event_fd(), POLLIN, 0};
    return ::poll(&readable, 1, 0) > 0;
}

}  // namespace

TEST_CASE("an awake owner is not rung") {
    const Doorbell bell = Doorbell::create().value();
    Doorbell::ring(*bell.word(), bell.event_fd());
    CHECK(bell.word()->rings == 0);
    CHECK_FALSE(event_pending(bell));
}

TEST_CASE("a ring between arming and sleeping ends the sleep at once") {
    Doorbell bell = Doorbell::create().value();
    bell.arm(SleepMode::on_futex);
    Doorbell::ring(*bell.word(), bell.event_fd());
    const Nanos before = clock_now();
    bell.sleep(10 * nanos_per_s);
    bell.disarm();
    CHECK(clock_now() - before < 5 * nanos_per_s);
}

TEST_CASE("a sleep ends at its time") {
    Doorbell bell = Doorbell::create().value();
    bell.arm(SleepMode::on_futex);
    bell.sleep(nanos_per_ms);
    bell.disarm();
    CHECK(bell.word()->mode == 0);
}

TEST_CASE("an eventfd is rung once and drained") {
    Doorbell bell = Doorbell::create().value();
    bell.arm(SleepMode::on_eventfd);
    Doorbell::ring(*bell.word(), bell.event_fd());
    Doorbell::ring(*bell.word(), bell.event_fd());
    CHECK(bell.word()->rings == 1);
    CHECK(event_pending(bell));
    bell.disarm();
    CHECK_FALSE(event_pending(bell));
}

TEST_CASE("ring_always wakes a sleeper of either kind, and one that sleeps next") {
    for (const SleepMode mode : {SleepMode::on_futex, SleepMode::on_eventfd}) {
        Doorbell bell = Doorbell::create().value();
        bell.arm(mode);
        std::thread other([&bell] { bell.ring_always(); });
        if (mode == SleepMode::on_futex) {
            bell.sleep(-1);
        } else {
            pollfd readable{bell.event_fd(), POLLIN, 0};
            ::poll(&readable, 1, -1);
        }
        other.join();
        bell.disarm();
    }
}

TEST_CASE("a peer opens the page by its descriptors and rings it") {
    Doorbell bell = Doorbell::create().value();
    auto page = DoorbellPage::open(Fd(::dup(bell.memfd())), Fd(::dup(bell.event_fd()))).value();
    bell.arm(SleepMode::on_eventfd);
    Doorbell::ring(*page->word, page->event.get());
    CHECK(event_pending(bell));
    bell.disarm();
}

TEST_CASE("a descriptor that is no page is refused") {
    int pipe_ends[2];
    REQUIRE(::pipe(pipe_ends) == 0);
    CHECK_FALSE(DoorbellPage::open(Fd(pipe_ends[0]), Fd(pipe_ends[1])).ok());
}
