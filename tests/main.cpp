// The one test main, of Catch2 v2 and v3. A binary that runs nothing has not passed: one whose
// names or tags match no case fails (2, which only v3 does by itself). No v2 case can skip itself;
// a test that lacks what it needs exits 77, which Meson reports as SKIP, and is therefore a Meson
// test of its own (tests/unit/sim/nccl_test.cpp has one). v3 says 4 where every case was skipped.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
    Catch::Session session;
    if (const int refused = session.applyCommandLine(argc, argv); refused != 0) {
        return refused;
    }
#if __has_include(<catch2/catch_all.hpp>)
    constexpr int all_skipped = 4;
    const int code = session.run();
    return code == all_skipped ? 77 : code;
#else
    auto& warnings = session.configData().warnings;
    warnings = static_cast<Catch::WarnAbout::What>(warnings | Catch::WarnAbout::NoTests);
    return session.run();
#endif
}
