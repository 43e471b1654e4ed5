// Memory as a GPU has it, for the libfabric of tests: NICs reach it, and whoever else touches it
// ends the process.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/unit/transports/fake_machine.h"

namespace weft::test {

// NICs that reach memory of GPUs where `caps` has FI_HMEM.
inline FakeInfo gpu_nic(int index, uint64_t caps = FI_HMEM) {
    return {"efa", "efa-direct", "rdmap" + std::to_string(index) + "s0-rdm", caps};
}

// Whole pages by two addresses: `base` is what a program knows, which only a NIC may follow unless
// the memory is the host's; at `at` tests look at it. Of one FakeFabric, which outlives it.
struct MappedBytes {
    MappedBytes(FakeLibfabric& world, size_t bytes, bool host = false) : size(bytes) {
        const int file = memfd_create("weft-test-gpu", MFD_CLOEXEC);
        REQUIRE(ftruncate(file, static_cast<off_t>(bytes)) == 0);
        base = map(file, host ? PROT_READ | PROT_WRITE : PROT_NONE);
        at = host ? base : map(file, PROT_READ | PROT_WRITE);
        close(file);
        if (!host) {
            const std::lock_guard guard(fake_lock());
            world.device_memory.push_back({base, bytes, at});
        }
    }
    ~MappedBytes() {
        munmap(at, size);
        if (at != base) {
            munmap(base, size);
        }
    }
    MappedBytes(const MappedBytes&) = delete;
    MappedBytes& operator=(const MappedBytes&) = delete;
    std::byte* map(int file, int protection) const {
        void* mapped = mmap(nullptr, size, protection, MAP_SHARED, file, 0);
        REQUIRE(mapped != MAP_FAILED);
        return static_cast<std::byte*>(mapped);
    }
    void write(size_t from, const std::string& text) const {
        std::memcpy(at + from, text.data(), text.size());
    }
    std::string read(size_t from, size_t bytes) const {
        return {reinterpret_cast<const char*>(at) + from, bytes};
    }
    size_t size;
    std::byte *base = nullptr, *at = nullptr;
};

// Ends the oldest read that is held (FakeLibfabric::reads_held); whether there is another.
inline bool read_release(FakeLibfabric& world) {
    const std::lock_guard guard(fake_lock());
    const auto read = world.reads_waiting.front();
    world.reads_waiting.pop_front();
    fi_cq_data_entry entry{};
    entry.op_context = read.context;
    world.queues[read.queue].push_back(entry);
    return !world.reads_waiting.empty();
}

// The one word of the fake that tests change while it works.
template <class T>
void fake_tell(T& word, T value) {
    const std::lock_guard guard(fake_lock());
    word = value;
}

}  // namespace weft::test
