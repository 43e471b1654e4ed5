#include "src/comm/group.h"

#include <string>
#include <thread>

#include "src/comm/bundle.h"
#include "tests/catch.h"

using namespace weft;

namespace {

Error some_error(Code code) {
    return make_error(code, Scope::call, "for a test");
}

// A job that writes what happens to it.
Job job(std::string& log, char name, bool blocking = true) {
    Job made;
    made.blocking = blocking;
    made.start = [&log, name]() -> Result<void> {
        log += std::string("start ") + name + ";";
        return {};
    };
    made.finish = [&log, name]() -> Result<void> {
        log += std::string("finish ") + name + ";";
        return {};
    };
    made.drop = [&log, name] { log += std::string("drop ") + name + ";"; };
    return made;
}

Call pair(int32_t peer, bool is_send) {
    Call call;
    call.coll = Coll::send_recv;
    call.root = peer;
    call.is_send = is_send;
    return call;
}

}  // namespace

TEST_CASE("an end needs a start") {
    CHECK(group_end().error().code == Code::invalid_usage);
    CHECK_FALSE(group_open());
    group_start();
    group_start();
    CHECK(group_open());
    CHECK(group_end().ok());
    CHECK(group_open());
    CHECK(group_end().ok());
    CHECK_FALSE(group_open());
}

TEST_CASE("all jobs start before one is waited for") {
    std::string log;
    CHECK(group_job(job(log, 'a')).ok());
    CHECK(log == "start a;finish a;");
    log.clear();
    group_start();
    CHECK(group_job(job(log, 'a')).ok());
    CHECK(group_job(job(log, 'b')).ok());
    CHECK(log.empty());
    CHECK(group_end().ok());
    CHECK(log == "start a;start b;finish a;finish b;");
}

TEST_CASE("nonblocking jobs are not waited for") {
    std::string log;
    CHECK(group_job(job(log, 'a', false)).error().code == Code::in_progress);
    CHECK(log == "start a;");
}

TEST_CASE("the first error is returned and nothing runs") {
    std::string log;
    group_start();
    CHECK(group_job(job(log, 'a')).ok());
    group_remember(some_error(Code::invalid_argument));
    group_remember(some_error(Code::internal));
    const Result<void> ended = group_end();
    CHECK(ended.error().code == Code::invalid_argument);
    CHECK(log == "drop a;");
    CHECK(group_end().error().code == Code::invalid_usage);
    group_remember(some_error(Code::internal));  // outside a group: nothing to remember
    group_start();
    CHECK(group_end().ok());
}

TEST_CASE("jobs of blocking and nonblocking communicators do not mix") {
    std::string log;
    group_start();
    CHECK(group_job(job(log, 'a')).ok());
    CHECK(group_job(job(log, 'b', false)).error().code == Code::invalid_argument);
    CHECK(log == "drop b;");
    Job always = job(log, 'c', false);
    always.always_blocks = true;
    CHECK(group_job(std::move(always)).ok());
    CHECK(group_end().ok());
    CHECK(log == "drop b;start a;start c;finish a;finish c;");
}

TEST_CASE("a failed job does not keep others from finishing") {
    std::string log;
    group_start();
    Job bad = job(log, 'a');
    bad.start = []() -> Result<void> { return some_error(Code::system); };
    CHECK(group_job(std::move(bad)).ok());
    CHECK(group_job(job(log, 'b')).ok());
    CHECK(group_end().error().code == Code::system);
    CHECK(log == "start b;finish b;");
}

TEST_CASE("groups belong to their thread") {
    group_start();
    std::thread([] { CHECK_FALSE(group_open()); }).join();
    CHECK(group_end().ok());
}

TEST_CASE("a simulated end gives an estimate and drops") {
    std::string log;
    group_start();
    CHECK(group_job(job(log, 'a')).ok());
    CHECK(group_simulate_end().ok());
    CHECK(log == "drop a;");
}

TEST_CASE("sends to oneself need receives") {
    CHECK(self_pairs_check({}, 0).ok());
    CHECK(self_pairs_check(std::vector<Call>{pair(1, true), pair(1, true)}, 0).ok());
    CHECK(self_pairs_check(std::vector<Call>{pair(0, true), pair(0, false)}, 0).ok());
    CHECK(self_pairs_check(std::vector<Call>{pair(0, true)}, 0).error().what ==
          "Trying to send to self without a matching recv");
    CHECK_FALSE(self_pairs_check(std::vector<Call>{pair(0, false)}, 0).ok());
    CHECK_FALSE(
        self_pairs_check(std::vector<Call>{pair(0, true), pair(0, true), pair(0, false)}, 0).ok());
}
