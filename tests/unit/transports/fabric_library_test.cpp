#include "transports/fabric/library.h"

#include "src/base/log.h"
#include "tests/unit/transports/fake_machine.h"

namespace weft::fabric {
namespace {

using test::FakeFabric;
using test::TempFolder;

TEST_CASE("library: what is no libfabric, or too old a one, is refused in one line") {
    const auto refused = [](const std::string& path) {
        const auto library = library_load(path);
        return library.ok() ? std::string() : library.error().what;
    };
    CHECK_THAT(refused("/nowhere/libfabric.so.1"),
               Catch::Contains("WEFT_LIBFABRIC=/nowhere/libfabric.so.1") &&
                   Catch::Contains("correct the path or unset it"));
    CHECK_THAT(refused("libc.so.6"), Catch::Contains("libc.so.6 is not libfabric"));
    FakeFabric fake;
    fake.world.version = FI_VERSION(1, 16);
    CHECK_THAT(refused(FAKE_LIBFABRIC_PATH), Catch::Contains("is libfabric 1.16") &&
                                                 Catch::Contains("at least 1.17") &&
                                                 Catch::Contains("upgrade"));
}

TEST_CASE("library: the path is the one that the loader took") {
    CHECK(FakeFabric().library.path == FAKE_LIBFABRIC_PATH);
}

TEST_CASE("library: two copies in one process are reported with the one that is used") {
    FakeFabric fake;
    const TempFolder folder;
    const std::string copy = folder.path / "libfabric.so.1";
    std::filesystem::copy_file(FAKE_LIBFABRIC_PATH, copy);
    void* second = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE(second != nullptr);
    log_warn("nothing yet");
    REQUIRE(library_load(FAKE_LIBFABRIC_PATH).ok());
    CHECK_THAT(log_last_error(),
               Catch::Contains("2 copies of libfabric") && Catch::Contains(copy) &&
                   Catch::Contains(std::string("this library uses ") + FAKE_LIBFABRIC_PATH) &&
                   Catch::Contains("WEFT_LIBFABRIC"));
    dlclose(second);
    log_warn("nothing yet");
    REQUIRE(library_load(FAKE_LIBFABRIC_PATH).ok());
    CHECK_THAT(log_last_error(), Catch::Contains("nothing yet"));
}

}  // namespace
}  // namespace weft::fabric
