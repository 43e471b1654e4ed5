// What NCCL gets of an error: a code, and one line, once.
#include "src/netplugin/border.h"

#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "src/base/log_sink.h"
#include "tests/catch.h"

namespace weft::netplugin {
namespace {

std::vector<std::string> lines;

void line_note(weft::LogLevel, Subsys, const char*, int, std::string_view text) {
    lines.emplace_back(text);
}

struct Said {
    explicit Said(const std::function<Result<void>()>& body) {
        lines.clear();
        log_sink_set(line_note);
        code = at_border(body);
        log_sink_set(nullptr);
    }
    ncclResult_t code;
};

Error error_of(Code code, Scope scope) {
    return make_error(code, scope, "device 7: there are 2");
}

TEST_CASE("net plugin: every error is NCCL's code and one line") {
    const std::pair<Code, ncclResult_t> codes[] = {
        {Code::invalid_argument, ncclInvalidArgument},
        {Code::invalid_usage, ncclInvalidUsage},
        {Code::unsupported, ncclInvalidUsage},
        {Code::remote, ncclRemoteError},
        {Code::timeout, ncclRemoteError},
        {Code::aborted, ncclRemoteError},
        {Code::system, ncclSystemError},
        {Code::internal, ncclInternalError},
    };
    for (const auto& pair : codes) {
        const Said said([&pair] { return Result<void>(error_of(pair.first, Scope::call)); });
        CHECK(said.code == pair.second);
        CHECK(lines == std::vector<std::string>{"device 7: there are 2"});
    }
    const Said well([] { return Result<void>(); });
    CHECK(well.code == ncclSuccess);
    CHECK(lines.empty());
}

TEST_CASE("net plugin: what ended a connection was said when it ended") {
    const Said said([] { return Result<void>(error_of(Code::remote, Scope::communicator)); });
    CHECK(said.code == ncclRemoteError);
    CHECK(lines.empty());
}

TEST_CASE("net plugin: what is thrown does not pass, and is said") {
    const Said memory([]() -> Result<void> { throw std::bad_alloc(); });
    CHECK(memory.code == ncclSystemError);
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Catch::Contains("no memory"));
    const Said other([]() -> Result<void> { throw std::runtime_error("of another kind"); });
    CHECK(other.code == ncclInternalError);
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Catch::Contains("of another kind"));
    const Said null([] { return given(nullptr, "regMr"); });
    CHECK(null.code == ncclInvalidArgument);
    REQUIRE(lines.size() == 1);
    CHECK_THAT(lines[0], Catch::Contains("regMr: a pointer that must be given is null"));
}

}  // namespace
}  // namespace weft::netplugin
