#include "tests/fake_cuda/memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <shared_mutex>

#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/hostile.h"

namespace weft::gpu {

namespace {

constexpr size_t page = 4096;

// Never destroyed: the library may let go of a device while the process ends.
std::shared_mutex& mutex = *new std::shared_mutex;
std::map<Address, Allocation>& allocations = *new std::map<Address, Allocation>;
std::atomic<uint64_t> changes{1};  // of the table, so that a thread may keep what it found last

size_t pages_of(size_t bytes) {
    return (bytes + page - 1) / page * page;
}

// Under the mutex.
Allocation find_locked(Address address) {
    const auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) {
        return {};
    }
    const Allocation& found = std::prev(after)->second;
    return address - found.begin < found.bytes ? found : Allocation{};
}

}  // namespace

Status memory_take(Address* address, size_t bytes, Context context, bool host) {
    if (bytes == 0 || address == nullptr) {
        return status::invalid_value;
    }
    void* const memory =
        mmap(nullptr, pages_of(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return status::out_of_memory;
    }
    memory_poison(memory, bytes);
    *address = reinterpret_cast<Address>(memory);
    const std::lock_guard lock(mutex);
    allocations[*address] = {*address, bytes, context, host, false};
    fake_cuda_control.live_allocations++;
    changes++;
    return status::success;
}

// The addresses are not used again, so that whoever keeps one is found.
Status memory_free(Address address, bool host) {
    const std::lock_guard lock(mutex);
    const auto found = allocations.find(address);
    if (found == allocations.end() || found->second.host != host || found->second.registered) {
        return status::invalid_value;
    }
    void* const memory = reinterpret_cast<void*>(address);
    const size_t bytes = pages_of(found->second.bytes);
    madvise(memory, bytes, MADV_DONTNEED);
    mprotect(memory, bytes, PROT_NONE);
    allocations.erase(found);
    fake_cuda_control.live_allocations--;
    changes++;
    return status::success;
}

Status memory_register(Address address, size_t bytes, Context context) {
    const std::lock_guard lock(mutex);
    if (address == 0 || bytes == 0 || find_locked(address).begin != 0) {
        return status::invalid_value;
    }
    allocations[address] = {address, bytes, context, true, true};
    fake_cuda_control.live_allocations++;
    changes++;
    return status::success;
}

Status memory_unregister(Address address) {
    const std::lock_guard lock(mutex);
    const auto found = allocations.find(address);
    if (found == allocations.end() || !found->second.registered) {
        return status::invalid_value;
    }
    allocations.erase(found);
    fake_cuda_control.live_allocations--;
    changes++;
    return status::success;
}

Allocation memory_find(Address address) {
    const std::shared_lock lock(mutex);
    return find_locked(address);
}

bool memory_holds(Address address, size_t bytes) {
    const Allocation found = memory_find(address);
    return found.begin != 0 && address + bytes <= found.begin + found.bytes;
}

const Allocation& memory_access_check(const void* at, uint64_t bytes) {
    thread_local Allocation last;
    thread_local uint64_t seen = 0;
    const auto address = reinterpret_cast<Address>(at);
    const auto inside = [&] {
        return last.begin != 0 && address >= last.begin &&
               address + bytes <= last.begin + last.bytes;
    };
    if (seen == changes.load(std::memory_order_acquire) && inside()) {
        return last;
    }
    seen = changes.load(std::memory_order_acquire);
    last = memory_find(address);
    if (!inside()) {
        std::fprintf(stderr, "fake_cuda: a kernel touches %p, which is no memory of a device\n",
                     at);
        std::abort();
    }
    return last;
}

}  // namespace weft::gpu
