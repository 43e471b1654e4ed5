// Devices of the stand-in as tests of memory use them: contexts, a stream, the copying kernel; and
// what is the same in all of these tests. Thread-bound. Lifetime: the stream goes with it.
#pragma once

#include <dirent.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "src/gpu/context.h"
#include "src/gpu/device/move.h"
#include "src/gpu/images.h"
#include "tests/other_process.h"
#include "tests/unit/gpu/fake.h"

namespace weft::gpu {

using test::letter_receive;
using test::letter_send;
using test::OtherProcess;

inline constexpr size_t count = 3000;      // of the numbers that tests write and look for
inline constexpr uint64_t unit = 2 << 20;  // the stand-in's granularity

// Memory of the first device, as a program asks for it.
inline MemoryProperties wanted_of(int handle_types) {
    MemoryProperties wanted{};
    wanted.type = allocation_type::pinned;
    wanted.handle_types = handle_types;
    wanted.location = {location_type::device, 0};
    return wanted;
}

class Places {
  public:
    explicit Places(int devices = 1) : driver_(driver_load(FAKE_CUDA).value()) {
        fake->devices = devices;
        REQUIRE(driver_init(driver_).ok());
        for (int device = 0; device < devices; device++) {
            contexts_.push_back(
                std::make_unique<PrimaryContext>(PrimaryContext::retain(driver_, device).value()));
        }
        guard_ = std::make_unique<ContextGuard>(
            ContextGuard::push(driver_, contexts_[0]->get()).value());
        const auto image = move_image();
        const char none[] = "";
        const void* const data = image.ok() ? static_cast<const void*>(image.value().data()) : none;
        REQUIRE(driver_.cuModuleLoadData(&module_, data) == status::success);
        REQUIRE(driver_.cuModuleGetFunction(&kernel_, module_, "move_rows") == status::success);
        REQUIRE(driver_.cuStreamCreateWithPriority(&stream_, stream_flag::non_blocking, 0) ==
                status::success);
        stop_ = take(sizeof(uint64_t));
        fill(stop_, 0, sizeof(uint64_t));
    }
    ~Places() {
        driver_.cuStreamDestroy(stream_);
        for (const Address each : memory_) {
            driver_.cuMemFree(each);
        }
        driver_.cuModuleUnload(module_);
    }
    Places(const Places&) = delete;
    Places& operator=(const Places&) = delete;

    const Driver* operator->() const { return &driver_; }
    DevicePlace at(int device = 0) const { return contexts_[static_cast<size_t>(device)]->place(); }
    // Another table of functions, as a driver found when it is loaded now.
    void load_again() { driver_ = driver_load(FAKE_CUDA).value(); }

    Address take(size_t bytes) {
        Address address = 0;
        REQUIRE(driver_.cuMemAlloc(&address, bytes) == status::success);
        memory_.push_back(address);
        return address;
    }
    void give_back(Address address) {
        REQUIRE(driver_.cuMemFree(address) == status::success);
        std::erase(memory_, address);
    }
    void fill(Address at, unsigned char value, size_t bytes) {
        REQUIRE(driver_.cuMemsetD8Async(at, value, bytes, stream_) == status::success);
        REQUIRE(driver_.cuStreamSynchronize(stream_) == status::success);
    }
    // By a kernel, which may reach only what devices may.
    void copy(Address to, Address from, uint64_t bytes) {
        device::MoveLaunch launch{};
        launch.stop = reinterpret_cast<const uint64_t*>(stop_);
        launch.block_count = 1;
        launch.move_count = 1;
        launch.moves[0] = {to, from, bytes, 1, bytes, bytes};
        void* arguments[] = {&launch};
        REQUIRE(driver_.cuLaunchKernel(kernel_, 1, 1, 1, 64, 1, 1, 0, stream_, arguments,
                                       nullptr) == status::success);
        REQUIRE(driver_.cuStreamSynchronize(stream_) == status::success);
    }
    // Numbers from `first` on, written by a kernel.
    void put(Address to, uint32_t first, size_t count) {
        std::vector<uint32_t> values(count);
        for (size_t i = 0; i < count; i++) {
            values[i] = first + static_cast<uint32_t>(i);
        }
        const Address staged = take(count * sizeof(uint32_t));
        std::memcpy(reinterpret_cast<void*>(staged), values.data(), count * sizeof(uint32_t));
        copy(to, staged, count * sizeof(uint32_t));
        give_back(staged);
    }
    // How many are there, as a kernel reads them.
    size_t matching(Address from, uint32_t first, size_t count) {
        const Address staged = take(count * sizeof(uint32_t));
        copy(staged, from, count * sizeof(uint32_t));
        const auto* const values = reinterpret_cast<const uint32_t*>(staged);
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
            found += values[i] == first + static_cast<uint32_t>(i) ? 1 : 0;
        }
        give_back(staged);
        return found;
    }
    unsigned long long buffer_id(Address address) {
        int attribute = pointer_attribute::buffer_id;
        unsigned long long id = 0;
        void* values[] = {&id};
        REQUIRE(driver_.cuPointerGetAttributes(1, &attribute, values, address) == status::success);
        return id;
    }

    FakeSwitches fake;

  private:
    Driver driver_;
    std::vector<std::unique_ptr<PrimaryContext>> contexts_;
    std::unique_ptr<ContextGuard> guard_;
    Module module_ = nullptr;
    Function kernel_ = nullptr;
    Stream stream_ = nullptr;
    Address stop_ = 0;
    std::vector<Address> memory_;
};

// What must be as before: memory of all kinds, and descriptors of this process.
struct Held {
    explicit Held(const Places& places)
        : allocations(places.fake->live_allocations),
          physicals(places.fake->live_physicals),
          reservations(places.fake->live_reservations),
          descriptors(count()) {}
    auto operator<=>(const Held&) const = default;
    static int count() {
        DIR* const folder = opendir("/proc/self/fd");
        int entries = 0;
        while (readdir(folder) != nullptr) {
            entries++;
        }
        closedir(folder);
        return entries;
    }
    int allocations, physicals, reservations, descriptors;
};

}  // namespace weft::gpu
