#include "src/base/thread.h"

#include <memory>
#include <string>

#include "tests/catch.h"

using namespace weft;

namespace {

bool takes(int signal) {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return sigismember(&now, signal) == 0;
}

}  // namespace

TEST_CASE("a thread of the library has its name and takes no signals") {
    std::string name;
    bool signals = true;
    // What moves only may be its work's.
    auto given = std::make_unique<int>(7);
    std::thread thread = thread_start("weft-test", [&, given = std::move(given)] {
        char found[16] = {};
        pthread_getname_np(pthread_self(), found, sizeof(found));
        name = found + std::to_string(*given);
        signals = takes(SIGUSR1) || takes(SIGTERM);
    });
    CHECK(takes(SIGUSR1));
    thread.join();
    CHECK(name == "weft-test7");
    CHECK_FALSE(signals);
    CHECK(takes(SIGTERM));
}
