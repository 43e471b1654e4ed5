// What a communicator is made for: the setting, a current context, a runtime that sees a device.
#include "src/gpu/kind.h"

#include <cstdlib>
#include <thread>

#include "src/gpu/context.h"
#include "tests/unit/gpu/fake.h"

using namespace weft;
using gpu::Kind;

TEST_CASE("the setting decides, and nothing is loaded to obey it") {
    CHECK(gpu::kind_find("host", "").kind == Kind::host);
    CHECK(gpu::kind_find("HOST", "").kind == Kind::host);
    CHECK(gpu::kind_find("cuda", "/nowhere").kind == Kind::device);
}

TEST_CASE("looking does not load the driver") {
    // Any library does; this one tells when it is loaded, and no other test keeps it.
    unsetenv("FAKE_CUDART_LOADED");
    CHECK(gpu::kind_find("", FAKE_CUDART).kind == Kind::host);
    CHECK(std::getenv("FAKE_CUDART_LOADED") == nullptr);
}

TEST_CASE("a context that is current on this thread, not on another") {
    FakeSwitches fake;
    const auto driver = gpu::driver_load(FAKE_CUDA);
    REQUIRE(driver.ok());
    CHECK(gpu::kind_find("", FAKE_CUDA).kind == Kind::host);
    REQUIRE(gpu::driver_init(driver.value()).ok());
    const auto context = gpu::PrimaryContext::retain(driver.value(), 0);
    REQUIRE(context.ok());
    CHECK(gpu::kind_find("", FAKE_CUDA).kind == Kind::host);
    const auto guard = gpu::ContextGuard::push(driver.value(), context.value().get());
    REQUIRE(guard.ok());
    CHECK(gpu::kind_find("", FAKE_CUDA).kind == Kind::device);
    CHECK(gpu::kind_find("host", FAKE_CUDA).kind == Kind::host);
    Kind elsewhere = Kind::device;
    std::thread([&] { elsewhere = gpu::kind_find("", FAKE_CUDA).kind; }).join();
    CHECK(elsewhere == Kind::host);
}

TEST_CASE("asking about a context initialises nothing") {
    FakeSwitches fake;
    const int before = fake->init_count;
    gpu::kind_find("", FAKE_CUDA);
    CHECK(fake->init_count == before);
}

TEST_CASE("a loaded runtime is asked, and is left without an error") {
    void* runtime = dlopen(FAKE_CUDART, RTLD_NOW);
    REQUIRE(runtime != nullptr);
    int& devices = *static_cast<int*>(dlsym(runtime, "fake_cudart_devices"));
    const int& error = *static_cast<int*>(dlsym(runtime, "fake_cudart_error"));
    CHECK(gpu::kind_find("", "").kind == Kind::device);
    devices = 0;
    CHECK(gpu::kind_find("", "").kind == Kind::host);
    CHECK(error == 0);
    devices = 1;
    dlclose(runtime);
    CHECK(gpu::kind_find("", "").kind == Kind::host);
}
