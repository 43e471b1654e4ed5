#include "tests/fake_cuda/memory.h"

#include <sys/mman.h>
#include <unistd.h>

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
constexpr size_t large_page = 2 << 20;
constexpr uint64_t magic = 0x63756461'66696c65;

// Never destroyed: the library may let go of a device while the process ends.
std::shared_mutex& mutex = *new std::shared_mutex;
std::map<Address, Allocation>& allocations = *new std::map<Address, Allocation>;
std::multimap<size_t, Address>& freed = *new std::multimap<size_t, Address>;  // by size in pages
std::atomic<uint64_t> changes{1};  // of the table, so that a thread may keep what it found last
std::atomic<uint64_t> next_id{1};

size_t pages_of(size_t bytes) {
    return (bytes + page - 1) / page * page;
}

void* pointer(Address address) {
    return reinterpret_cast<void*>(address);
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

void add_locked(Allocation added) {
    added.id = added.id != 0 ? added.id : memory_id();
    allocations[added.begin] = added;
    fake_cuda_control.live_allocations++;
    changes++;
}

// Only where tests ask for it is an address used again.
Address place_locked(size_t bytes) {
    const auto later = freed.upper_bound(pages_of(bytes));
    if (fake_cuda_control.addresses_again != 0 && later != freed.begin() &&
        std::prev(later)->first == pages_of(bytes)) {
        const Address address = std::prev(later)->second;  // the last that was freed
        freed.erase(std::prev(later));
        return address;
    }
    void* const memory = mmap(nullptr, pages_of(bytes), PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? 0 : reinterpret_cast<Address>(memory);
}

bool private_map(Address at, size_t bytes) {
    return mmap(pointer(at), pages_of(bytes), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace

uint64_t memory_id() {
    return next_id++;
}

int file_make(size_t bytes, int device, int handle_types) {
    const int file = memfd_create("fake_cuda", MFD_CLOEXEC);
    const FileNote note{magic, bytes, device, handle_types};
    const auto end = static_cast<off_t>(pages_of(bytes));
    if (file >= 0 && ftruncate(file, end) == 0 &&
        pwrite(file, &note, sizeof(note), end) == static_cast<ssize_t>(sizeof(note))) {
        return file;
    }
    close(file);
    return -1;
}

bool file_note(int file, FileNote* note) {
    const off_t end = lseek(file, 0, SEEK_END);
    const auto bytes = static_cast<off_t>(sizeof(*note));
    return end > bytes && pread(file, note, sizeof(*note), end - bytes) == bytes &&
           note->magic == magic;
}

bool file_map(int file, Address at, size_t bytes) {
    return mmap(pointer(at), pages_of(bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file,
                0) != MAP_FAILED;
}

Address space_reserve(size_t bytes) {
    // Forked processes would find the same places free.
    const size_t shift = large_page * static_cast<size_t>(1 + getpid() % 1021);
    void* const found = mmap(nullptr, pages_of(bytes) + shift + large_page, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) {
        return 0;
    }
    return (reinterpret_cast<Address>(found) + shift) / large_page * large_page + large_page;
}

void space_close(Address address, size_t bytes) {
    mmap(pointer(address), pages_of(bytes), PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

Status memory_take(Address* address, size_t bytes, Device device, MemoryUse use) {
    if (bytes == 0 || address == nullptr) {
        return status::invalid_value;
    }
    const std::lock_guard lock(mutex);
    Allocation taken{place_locked(bytes), bytes, device, use, -1, 0};
    if (taken.begin == 0) {
        return status::out_of_memory;
    }
    if (use == MemoryUse::plain) {
        taken.file = file_make(bytes, device, 0);
    }
    if (use == MemoryUse::plain ? taken.file < 0 || !file_map(taken.file, taken.begin, bytes)
                                : !private_map(taken.begin, bytes)) {
        return status::out_of_memory;
    }
    memory_poison(pointer(taken.begin), bytes);
    *address = taken.begin;
    add_locked(taken);
    return status::success;
}

// The addresses are not used again, so that whoever keeps one is found; nor may a process that has
// opened the memory go on.
Status memory_free(Address address, MemoryUse use) {
    const std::lock_guard lock(mutex);
    const auto found = allocations.find(address);
    if (found == allocations.end() || found->second.use != use) {
        return status::invalid_value;
    }
    const Allocation gone = found->second;
    if (gone.file >= 0) {
        if (ftruncate(gone.file, 0) != 0) {
            return status::invalid_value;
        }
        close(gone.file);
    }
    space_close(address, gone.bytes);
    freed.emplace(pages_of(gone.bytes), address);
    allocations.erase(found);
    fake_cuda_control.live_allocations--;
    changes++;
    return status::success;
}

Status memory_add(Address address, size_t bytes, Device device, MemoryUse use, uint64_t id) {
    const std::lock_guard lock(mutex);
    if (address == 0 || bytes == 0 || find_locked(address).begin != 0) {
        return status::invalid_value;
    }
    add_locked({address, bytes, device, use, -1, id, 0});
    return status::success;
}

void memory_allow(Address address, uint64_t devices) {
    const std::lock_guard lock(mutex);
    allocations.at(address).allowed = devices;
    changes++;
}

Status memory_remove(Address address, MemoryUse use) {
    const std::lock_guard lock(mutex);
    const auto found = allocations.find(address);
    if (found == allocations.end() || found->second.use != use) {
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
    const Address end = address + bytes;
    const std::shared_lock lock(mutex);
    do {
        const Allocation found = find_locked(address);
        if (found.begin == 0) {
            return false;
        }
        address = found.begin + found.bytes;
    } while (address < end);
    return true;
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
    if (!inside() && !memory_holds(address, bytes)) {
        std::fprintf(stderr, "fake_cuda: a kernel touches %p, which is no memory of a device\n",
                     at);
        std::abort();
    }
    return last;
}

}  // namespace weft::gpu
