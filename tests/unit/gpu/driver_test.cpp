// Loading the driver, its refusals one line each, and contexts, on the stand-in driver.
#include "src/gpu/driver.h"

#include <algorithm>
#include <string_view>

#include "src/gpu/context.h"
#include "tests/unit/gpu/fake.h"

using namespace weft;

namespace {

std::string refusal(const std::string& path) {
    const auto driver = gpu::driver_load(path);
    return driver.ok() ? "loaded" : driver.error().what;
}

bool says(const std::string& text, std::initializer_list<const char*> parts) {
    return std::all_of(parts.begin(), parts.end(), [&](const char* part) {
        return text.find(part) != std::string::npos && text.find('\n') == std::string::npos;
    });
}

gpu::Driver load() {
    auto driver = gpu::driver_load(FAKE_CUDA);
    REQUIRE(driver.ok());
    return driver.value();
}

}  // namespace

TEST_CASE("loading fills the whole table and initialises nothing") {
    FakeSwitches fake;
    const int before = fake->init_count;
    const gpu::Driver driver = load();
    CHECK(fake->init_count == before);
    CHECK(driver.version == 12080);
    CHECK(gpu::version_text(driver.version) == "12.8");
    CHECK(driver.path == FAKE_CUDA);
#define CHECK_FILLED(need, name, version, ...) CHECK(driver.name != nullptr);
    WEFT_CUDA_FUNCTIONS(CHECK_FILLED)
#undef CHECK_FILLED
}

TEST_CASE("a driver too old for a required function is refused by the function's name") {
    FakeSwitches fake;
    fake->version = 11020;
    const std::string text = refusal(FAKE_CUDA);
    INFO(text);
    CHECK(says(text, {FAKE_CUDA, "CUDA 11.2", "lacks cuStreamGetCaptureInfo of CUDA 11.3",
                      "update it to CUDA 11.3"}));
}

TEST_CASE("a required function that should be there and is not") {
    FakeSwitches fake;
    fake->lacking = "cuLaunchKernel";
    const std::string text = refusal(FAKE_CUDA);
    INFO(text);
    CHECK(says(text, {"lacks cuLaunchKernel", "WEFT_LIBCUDA"}));
}

TEST_CASE("an optional function that is missing is a null pointer") {
    FakeSwitches fake;
    fake->lacking = "cuFuncLoad";
    CHECK(load().cuFuncLoad == nullptr);
    fake->lacking = nullptr;
    fake->version = 12030;
    const gpu::Driver older = load();
    CHECK(older.cuFuncLoad == nullptr);
    CHECK(older.cuDeviceGetUuid != nullptr);
}

TEST_CASE("what is not a driver is told apart") {
    FakeSwitches fake;
    CHECK(
        says(refusal("/nowhere/libcuda.so.1"), {"WEFT_LIBCUDA=/nowhere/libcuda.so.1", "correct"}));
    CHECK(says(refusal(FAKE_CUDA_NONE), {FAKE_CUDA_NONE, "is not the CUDA driver"}));
    CHECK(says(refusal(FAKE_CUDA_OLD), {FAKE_CUDA_OLD, "older than CUDA 11.3", "update"}));
    fake->stub = 1;
    CHECK(says(refusal(FAKE_CUDA), {FAKE_CUDA, "stub", "LD_LIBRARY_PATH"}));
}

TEST_CASE("without a device initialising says where to look") {
    FakeSwitches fake;
    const gpu::Driver driver = load();
    fake->devices = 0;
    const auto none = gpu::driver_init(driver);
    REQUIRE(!none.ok());
    INFO(none.error().what);
    CHECK(says(none.error().what, {"sees no device", "CUDA_VISIBLE_DEVICES", "WEFT_DEVICE=host"}));
    fake->devices = 2;
    const auto two = gpu::driver_init(driver);
    REQUIRE(two.ok());
    CHECK(two.value() == 2);
}

TEST_CASE("a failed call names the call, the error and its text") {
    FakeSwitches fake;
    const gpu::Driver driver = load();
    REQUIRE(gpu::driver_init(driver).ok());
    const auto context = gpu::PrimaryContext::retain(driver, 7);
    REQUIRE(!context.ok());
    INFO(context.error().what);
    CHECK(says(context.error().what,
               {"CUDA device 7", "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}));
    CHECK(context.error().sys == gpu::status::invalid_device);
    // An error the driver itself has no words for.
    const auto unknown = gpu::driver_check(driver, 4242, "cuFoo");
    CHECK(says(unknown.error().what, {"cuFoo", "an error without a name"}));
}

TEST_CASE("primary contexts are released as often as retained, also when moved") {
    FakeSwitches fake;
    const gpu::Driver driver = load();
    REQUIRE(gpu::driver_init(driver).ok());
    const int before = fake->primary_refs;
    {
        auto first = gpu::PrimaryContext::retain(driver, 0);
        auto second = gpu::PrimaryContext::retain(driver, 0);
        REQUIRE(first.ok());
        REQUIRE(second.ok());
        CHECK(fake->primary_refs == before + 2);
        const gpu::PrimaryContext moved = std::move(first).value();
        CHECK(moved.get() == second.value().get());
        CHECK(fake->primary_refs == before + 2);
    }
    CHECK(fake->primary_refs == before);
}

TEST_CASE("a guard leaves the thread's context as it was") {
    FakeSwitches fake;
    fake->devices = 2;
    const gpu::Driver driver = load();
    REQUIRE(gpu::driver_init(driver).ok());
    const auto outer = gpu::PrimaryContext::retain(driver, 0);
    const auto inner = gpu::PrimaryContext::retain(driver, 1);
    REQUIRE(outer.ok());
    REQUIRE(inner.ok());
    gpu::Context current = nullptr;
    const auto now = [&] {
        CHECK(driver.cuCtxGetCurrent(&current) == gpu::status::success);
        return current;
    };
    CHECK(now() == nullptr);
    {
        const auto first = gpu::ContextGuard::push(driver, outer.value().get());
        REQUIRE(first.ok());
        {
            auto second = gpu::ContextGuard::push(driver, inner.value().get());
            REQUIRE(second.ok());
            const gpu::ContextGuard moved = std::move(second).value();
            CHECK(now() == inner.value().get());
        }
        CHECK(now() == outer.value().get());
    }
    CHECK(now() == nullptr);
}
