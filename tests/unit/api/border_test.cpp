// What the border makes of errors, with the library linked in statically.
#include "src/api/border.h"

#include <new>
#include <stdexcept>

#include "tests/catch.h"

using namespace weft;

namespace {

ncclResult_t throws_in_group(bool memory) {
    group_start();
    const ncclResult_t called = at_border_grouped([&]() -> Result<void> {
        if (memory) {
            throw std::bad_alloc();
        }
        throw std::runtime_error("for a test");
    });
    const Result<void> ended = group_end();
    REQUIRE_FALSE(ended.ok());
    CHECK(code_to_result(ended.error().code) == called);
    return called;
}

}  // namespace

TEST_CASE("an exception inside a group ends it like any other error") {
    CHECK(throws_in_group(true) == ncclSystemError);
    CHECK(throws_in_group(false) == ncclInternalError);
    CHECK_FALSE(group_open());
}

TEST_CASE("the text of an error inside a group is kept for its end") {
    group_start();
    CHECK(at_border_grouped([]() -> Result<void> {
              return make_error(Code::timeout, Scope::call, "for a test");
          }) == ncclTimeout);
    const Result<void> ended = group_end();
    REQUIRE_FALSE(ended.ok());
    CHECK(ended.error().code == Code::timeout);
    CHECK(ended.error().what == "for a test");
}

TEST_CASE("what is in progress is no error of its group") {
    group_start();
    CHECK(grouped(ncclInProgress) == ncclInProgress);
    CHECK(grouped(ncclSuccess) == ncclSuccess);
    CHECK(group_end().ok());
}

TEST_CASE("result codes and codes translate into each other") {
    for (const ncclResult_t result : {ncclSystemError, ncclInternalError, ncclInvalidArgument,
                                      ncclInvalidUsage, ncclRemoteError, ncclTimeout}) {
        CHECK(code_to_result(result_to_code(result)) == result);
    }
    CHECK(result_to_code(ncclUnhandledCudaError) == Code::device);
}
