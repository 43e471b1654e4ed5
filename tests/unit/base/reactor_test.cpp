#include "src/base/reactor.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "src/base/handle.h"
#include "tests/catch.h"

using namespace weft;

namespace {

// Runs on the service thread after everything posted before.
void barrier(Reactor& reactor) {
    std::promise<void> done;
    reactor.post([&] { done.set_value(); });
    done.get_future().wait();
}

Fd event_fd() {
    return Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void ring(const Fd& fd) {
    const uint64_t one = 1;
    REQUIRE(write(fd.get(), &one, sizeof one) == sizeof one);
}

void hush(const Fd& fd) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd.get(), &count, sizeof count);
}

}  // namespace

TEST_CASE("posted functions run in order on the service thread", "[base][reactor]") {
    const auto reactor = reactor_make();
    std::vector<int> order;
    bool on_thread = false;
    char name[16] = "";
    sigset_t blocked;
    sigemptyset(&blocked);
    for (int i = 0; i < 100; ++i) {
        reactor->post([&, i] { order.push_back(i); });
    }
    reactor->post([&] {
        on_thread = reactor->on_thread();
        pthread_getname_np(pthread_self(), name, sizeof name);
        pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        reactor->post([&] { order.push_back(1000); });
    });
    barrier(*reactor);
    barrier(*reactor);
    REQUIRE(order.size() == 101);
    for (int i = 0; i < 100; ++i) {
        CHECK(order[static_cast<size_t>(i)] == i);
    }
    CHECK(on_thread);
    CHECK(!reactor->on_thread());
    CHECK(std::string(name) == "weft-service");
    CHECK(sigismember(&blocked, SIGINT) == 1);
    CHECK(sigismember(&blocked, SIGUSR1) == 1);
}

TEST_CASE("timers fire in order of time, once, unless cancelled", "[base][reactor]") {
    const auto reactor = reactor_make();
    std::vector<int> order;
    const Nanos now = reactor->now();
    reactor->at(now + 30 * nanos_per_ms, [&] { order.push_back(3); });
    reactor->at(now + 10 * nanos_per_ms, [&] { order.push_back(1); });
    const auto cancelled = reactor->at(now + 15 * nanos_per_ms, [&] { order.push_back(99); });
    reactor->at(now + 20 * nanos_per_ms, [&] { order.push_back(2); });
    reactor->at(now - nanos_per_s, [&] { order.push_back(0); });  // past: at once
    reactor->cancel(cancelled);
    reactor->cancel(cancelled);
    reactor->cancel(0);
    std::promise<Nanos> last;
    reactor->at(now + 40 * nanos_per_ms, [&] { last.set_value(reactor->now()); });
    CHECK(last.get_future().get() >= now + 40 * nanos_per_ms);
    barrier(*reactor);
    CHECK(order == std::vector<int>{0, 1, 2, 3});
}

TEST_CASE("descriptors are watched until removed", "[base][reactor]") {
    const auto reactor = reactor_make();
    const Fd fd = event_fd();
    std::atomic<int> fired{0};
    const auto id = reactor->add(fd.get(), EPOLLIN, [&](uint32_t events) {
        hush(fd);
        fired += (events & EPOLLIN) != 0 ? 1 : 100;
    });
    REQUIRE(id != 0);
    ring(fd);
    while (fired == 0) {
        std::this_thread::yield();
    }
    reactor->modify(id, 0);
    ring(fd);
    barrier(*reactor);
    barrier(*reactor);
    CHECK(fired == 1);
    reactor->modify(id, EPOLLIN);
    while (fired == 1) {
        std::this_thread::yield();
    }
    reactor->remove(id);
    reactor->remove(id);
    ring(fd);
    barrier(*reactor);
    CHECK(fired == 2);
    CHECK(reactor->add(-1, EPOLLIN, [](uint32_t) {}) == 0);
}

TEST_CASE("after remove or cancel the callback never runs", "[base][reactor]") {
    const auto reactor = reactor_make();
    std::mt19937 random(5);
    std::atomic<bool> wrong{false};
    for (int round = 0; round < 200; ++round) {
        const Fd fd = event_fd();
        auto alive = std::make_unique<std::atomic<bool>>(true);
        const auto look = [&alive = *alive, &wrong] { wrong = wrong || !alive; };
        const auto watch = reactor->add(fd.get(), EPOLLIN, [look](uint32_t) { look(); });
        const auto timer = reactor->at(reactor->now() + random() % 50000, look);
        ring(fd);
        for (unsigned i = random() % 2000; i > 0; --i) {
            look();
        }
        reactor->remove(watch);
        reactor->cancel(timer);
        *alive = false;
        alive.reset();  // a use after free, if one of them still runs
    }
    CHECK(!wrong);
}

TEST_CASE("a callback may remove itself and add others", "[base][reactor]") {
    const auto reactor = reactor_make();
    const Fd fd = event_fd();
    std::promise<size_t> done;
    Reactor::Id id = 0;
    std::string captured(100, 'x');  // lives in the callback that removes itself
    reactor->post([&] {
        id = reactor->add(fd.get(), EPOLLIN, [&, captured](uint32_t) {
            reactor->remove(id);
            reactor->at(0, [&, size = captured.size()] {
                reactor->post([&, size] { done.set_value(size); });
            });
        });
    });
    ring(fd);
    CHECK(done.get_future().get() == 100);
}

TEST_CASE("an idle reactor burns no CPU", "[base][reactor]") {
    const auto reactor = reactor_make();
    const Fd fd = event_fd();
    reactor->add(fd.get(), EPOLLIN, [](uint32_t) {});
    reactor->at(reactor->now() + 3600 * nanos_per_s, [] {});
    std::promise<clockid_t> clock;
    reactor->post([&] {
        clockid_t id{};
        pthread_getcpuclockid(pthread_self(), &id);
        clock.set_value(id);
    });
    const clockid_t id = clock.get_future().get();
    const auto used = [&] {
        timespec time{};
        clock_gettime(id, &time);
        return time.tv_sec * nanos_per_s + time.tv_nsec;
    };
    barrier(*reactor);
    const Nanos before = used();
    std::promise<void> later;
    reactor->at(reactor->now() + 200 * nanos_per_ms, [&] { later.set_value(); });
    later.get_future().wait();
    CHECK(used() - before < 2 * nanos_per_ms);
}

TEST_CASE("stopping drops what has not run", "[base][reactor]") {
    auto token = std::make_shared<int>(1);
    {
        const auto reactor = reactor_make();
        reactor->at(reactor->now() + 3600 * nanos_per_s, [token] {});
        barrier(*reactor);
        CHECK(token.use_count() == 2);
    }
    CHECK(token.use_count() == 1);
}
