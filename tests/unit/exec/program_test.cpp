// The cache of programs: what is asked again is not planned again.
#include "src/exec/program.h"

#include <chrono>
#include <cstdio>

#include "tests/catch.h"

using namespace weft;

namespace {

plan::Request request_of(uint64_t count) {
    plan::Request request;
    request.rank_count = 4;
    request.count = count;
    request.elem_bytes = 4;
    return request;
}

}  // namespace

TEST_CASE("a request is planned once, and by the planner that was given") {
    int planned = 0;
    const plan::Planner rule = plan::planner_by_rule({}, 0);
    ProgramCache cache([&](const plan::Request& request) {
        planned++;
        return rule(request);
    });
    const Program* const first = cache.get(request_of(2)).value();
    const Program* const second = cache.get(request_of(1 << 20)).value();
    CHECK(planned == 2);
    CHECK(cache.get(request_of(2)).value() == first);
    CHECK(cache.get(request_of(1 << 20)).value() == second);
    CHECK(planned == 2);
    plan::Request wrong = request_of(2);
    wrong.elem_bytes = 3;
    CHECK_FALSE(cache.get(wrong).ok());
}

TEST_CASE("how long a look-up takes", "[.speed]") {
    ProgramCache cache(plan::planner_by_rule({}, 0));
    for (uint64_t count = 1; count <= 200; count++) {
        REQUIRE(cache.get(request_of(count)).ok());
    }
    constexpr int rounds = 100'000;
    for (const uint64_t kinds : {1, 200}) {
        const auto begin = std::chrono::steady_clock::now();
        for (int i = 0; i < rounds; i++) {
            if (!cache.get(request_of(1 + static_cast<uint64_t>(i) * 7 % kinds)).ok()) {
                FAIL("not found");
            }
        }
        const std::chrono::duration<double, std::nano> took =
            std::chrono::steady_clock::now() - begin;
        std::printf("%3llu kinds of calls in turn: %.0f ns a look-up\n",
                    static_cast<unsigned long long>(kinds), took.count() / rounds);
    }
}
