// What concerns the process as a whole: fork, exit, counters.
#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

namespace {

// Runs body in a forked child and returns its exit status.
int child_run(const std::function<int()>& body) {
    const pid_t child = fork();
    if (child == 0) {
        _exit(body());
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

TEST_CASE("a forked child's calls return invalid usage") {
    OneThread world(2);
    float x = 1;
    const int status = child_run([&] {
        int count = 0;
        ncclUniqueId id;
        ncclComm_t comm = nullptr;
        if (ncclCommCount(world[0], &count) != ncclInvalidUsage ||
            ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, world[0], nullptr) != ncclInvalidUsage ||
            ncclGetUniqueId(&id) != ncclInvalidUsage || ncclGroupStart() != ncclInvalidUsage ||
            ncclCommInitAll(&comm, 1, nullptr) != ncclInvalidUsage ||
            ncclCommDestroy(world[1]) != ncclInvalidUsage) {
            return 1;
        }
        return last_error_has("forked") ? 0 : 2;
    });
    CHECK(status == 0);
    // The parent goes on as if nothing had happened.
    float in[2] = {1, 2}, out[2] = {};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 2; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, world[r], nullptr) ==
              ncclSuccess);
    }
    CHECK(ncclGroupEnd() == ncclSuccess);
    CHECK(out[0] == 3);
}

TEST_CASE("a forked child's exit disturbs nobody") {
    OneThread world(2);
    const pid_t child = fork();
    if (child == 0) {
        exit(0);  // runs exit handlers, on purpose
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    for (int r = 0; r < 2; r++) {
        ncclResult_t state = ncclInProgress;
        CHECK(ncclCommGetAsyncError(world[r], &state) == ncclSuccess);
        CHECK(state == ncclSuccess);
    }
}

TEST_CASE("counters count") {
    ranks_run(2, [](int, ncclComm_t comm) {
        weftStats_t before = WEFT_STATS_INITIALIZER, after = WEFT_STATS_INITIALIZER;
        must(weftCommStats(comm, &before), "stats");
        sum_check(comm);
        must(weftCommStats(comm, &after), "stats");
        must(after.ops == before.ops + 1, "one operation more");
        must(after.messages > before.messages, "some messages more");
        must(weftCommStats(comm, nullptr), "no struct", ncclInvalidArgument);
        after.size = 0;
        must(weftCommStats(comm, &after), "size 0", ncclInvalidArgument);
    });
}

TEST_CASE("versions") {
    int version = 0;
    CHECK(weftGetVersion(nullptr) == ncclInvalidArgument);
    CHECK(weftGetVersion(&version) == ncclSuccess);
    CHECK(version > 0);
    CHECK(std::string(weftGetBuildInfo()).find("Weft ") == 0);
}
