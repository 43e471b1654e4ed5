// The set of descriptors a sleeper sleeps on, on eventfds.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/log.h"
#include "tests/catch.h"
#include "transports/fabric/wait_set.h"

using namespace weft;
using fabric::WaitSet;

namespace {
struct Event {
    Event() : fd(eventfd(0, EFD_NONBLOCK)) {}
    void ring() const {
        const uint64_t one = 1;
        REQUIRE(write(fd.get(), &one, sizeof one) == sizeof one);
    }
    Fd fd;
};

bool readable(const WaitSet& set) {
    pollfd one{set.fd(), POLLIN, 0};
    return poll(&one, 1, 0) == 1;
}
}  // namespace

TEST_CASE("wait set: rails wake while they are watched, and only then") {
    Event a, b;
    WaitSet set;
    REQUIRE(set.add(a.fd.get(), "a").ok());
    REQUIRE(set.add(b.fd.get(), "b").ok());
    CHECK(!readable(set));
    b.ring();
    CHECK(readable(set));

    REQUIRE(set.leave());
    CHECK(!readable(set));
    set.watch();  // what came meanwhile is seen
    CHECK(readable(set));
    set.watch();
    CHECK(readable(set));
}

TEST_CASE("wait set: nobody leaves while somebody sleeps") {
    Event a;
    WaitSet set;
    REQUIRE(set.add(a.fd.get(), "a").ok());
    REQUIRE(set.leave());
    set.sleeper_add();
    set.sleeper_add();
    a.ring();
    CHECK(readable(set));
    CHECK(!set.leave());
    set.sleeper_remove();
    CHECK(!set.leave());
    CHECK(readable(set));
    set.sleeper_remove();
    CHECK(set.leave());
    CHECK(!readable(set));
}

TEST_CASE("wait set: a rail that comes while none is watched is watched with the others") {
    Event a, b;
    WaitSet set;
    REQUIRE(set.add(a.fd.get(), "a").ok());
    REQUIRE(set.leave());
    REQUIRE(set.add(b.fd.get(), "b").ok());
    b.ring();
    CHECK(!readable(set));
    set.watch();
    CHECK(readable(set));
}

TEST_CASE("wait set: a rail with the number of its old descriptor, which somebody watched before") {
    Event a;
    WaitSet set;
    REQUIRE(set.add(a.fd.get(), "a").ok());
    REQUIRE(set.leave());
    set.watch();
    log_warn("nothing yet");
    set.replace(a.fd.get(), a.fd.get());
    CHECK_THAT(log_last_error(), Catch::Contains("nothing yet"));
    a.ring();
    CHECK(readable(set));
}

TEST_CASE("wait set: all rails can wake, or none") {
    Event a;
    WaitSet none;
    REQUIRE(none.add(-1, "a").ok());
    REQUIRE(none.add(-1, "b").ok());
    CHECK(none.fd() == -1);
    WaitSet some;
    REQUIRE(some.add(a.fd.get(), "a").ok());
    const auto refused = some.add(-1, "eth7");
    REQUIRE(!refused.ok());
    CHECK(refused.error().what.find("eth7") != std::string::npos);
}
