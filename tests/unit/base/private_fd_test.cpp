#include "src/base/private_fd.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace weft;

namespace {

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

int event_open() {
    return eventfd(0, EFD_CLOEXEC);
}

// What `body` returns in a forked child.
int child_says(const std::function<int()>& body) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(body());
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a forked child has none of the private descriptors", "[base][private_fd]") {
    std::vector<PrivateFd> mine;
    for (int i = 0; i < 200; i++) {  // several words of the table
        mine.push_back(private_fd(event_open));
        REQUIRE(is_open(mine.back().get()));
    }
    const Fd shared(event_open());
    CHECK(child_says([&] {
              int open = is_open(shared.get()) ? 0 : 100;
              for (const PrivateFd& fd : mine) {
                  open += is_open(fd.get()) ? 1 : 0;
              }
              return open;
          }) == 0);
    for (const PrivateFd& fd : mine) {
        CHECK(is_open(fd.get()));  // the parent keeps them
    }
}

TEST_CASE("a number that was private once is an ordinary one after", "[base][private_fd]") {
    PrivateFd mine = private_fd(event_open);
    const int number = mine.get();
    mine.reset();
    CHECK_FALSE(is_open(number));
    const Fd other(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, number));
    REQUIRE(other.get() == number);
    CHECK(child_says([&] { return is_open(number) ? 0 : 1; }) == 0);
}

TEST_CASE("a child does not close a number a second time", "[base][private_fd]") {
    PrivateFd mine = private_fd(event_open);
    CHECK(child_says([&] {
              const int number = mine.get();
              const int again = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, number);
              mine.reset();
              return again == number && is_open(number) ? 0 : 1;
          }) == 0);
}

TEST_CASE("a descriptor that cannot be opened says why", "[base][private_fd]") {
    const PrivateFd none = private_fd([] { return open("/nonexistent/x", O_RDONLY | O_CLOEXEC); });
    CHECK(errno == ENOENT);
    CHECK_FALSE(none);
}

TEST_CASE("forks between opening and closing see all or nothing", "[base][private_fd]") {
    std::atomic<bool> stop{false};
    std::atomic<int> number{-1};
    std::thread churn([&] {
        while (!stop) {
            const PrivateFd fd = private_fd(event_open);
            number = fd.get();
        }
    });
    while (number < 0) {
        std::this_thread::yield();
    }
    for (int i = 0; i < 50; i++) {
        // Nothing else opens descriptors here: the number the other thread uses is closed.
        CHECK(child_says([&] { return is_open(number) ? 1 : 0; }) == 0);
    }
    stop = true;
    churn.join();
}
