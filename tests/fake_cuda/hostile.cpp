#include "tests/fake_cuda/hostile.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "tests/fake_cuda/block.h"
#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/memory.h"

FakeCudaHostile fake_cuda_hostile = {{0}, {0}, {0}, {0}, {0}, {0}};

namespace weft::gpu {

namespace {

std::mutex& peers_mutex = *new std::mutex;  // never destroyed, see streams.cpp
std::set<std::pair<Device, Device>>& peers = *new std::set<std::pair<Device, Device>>;

thread_local int halves_left = 0;  // of the vector that this thread stores

// A vector is loaded by three of them: two vectors, if they were in the middle of one.
constexpr uint64_t others_accesses = 8;
constexpr int turns_max = 1000;

// Until others had time to see the first half without the second; a while only, for there may be no
// others.
void come_late() {
    const std::atomic<uint64_t>& all = fake_cuda_hostile.accesses;
    const uint64_t enough = all + others_accesses;
    for (int turn = 0; turn < turns_max && all < enough; ++turn) {
        std::this_thread::yield();
    }
}

// What was opened was so for whoever reaches it.
bool reaches(Context context, const Allocation& memory) {
    if (context != nullptr && memory.use == MemoryUse::mapped) {
        return (memory.allowed >> context->device & 1) != 0;
    }
    const bool own = memory.use == MemoryUse::plain || memory.use == MemoryUse::pool;
    if (context == nullptr || !own || memory.device == context->device) {
        return true;
    }
    const std::lock_guard lock(peers_mutex);
    return peers.contains({context->device, memory.device});
}

}  // namespace

void kernel_access(const void* at, uint64_t bytes) {
    if (reinterpret_cast<uintptr_t>(at) % bytes != 0) {
        std::fprintf(stderr, "fake_cuda: a kernel moves %llu bytes at once at %p, no multiple\n",
                     static_cast<unsigned long long>(bytes), at);
        std::abort();
    }
    if (fake_cuda_hostile.torn != 0) {
        ++fake_cuda_hostile.accesses;
    }
    if (halves_left > 0 && --halves_left == 0) {
        come_late();
    }
    // Threads of a block run one kernel, so what was found last was found for this context.
    thread_local Address allowed = 0;
    const Allocation& found = memory_access_check(at, bytes);
    if (found.begin != allowed && !reaches(HostBlock::owner, found)) {
        std::fprintf(stderr, "fake_cuda: a kernel touches %p, which is memory of another context\n",
                     at);
        std::abort();
    }
    allowed = found.begin;
}

bool vector_torn(bool stores) {
    static std::atomic<unsigned> threads{0};
    static thread_local std::minstd_rand random(fake_cuda_hostile.torn * 64 + ++threads);
    if (fake_cuda_hostile.torn == 0) {
        return false;
    }
    halves_left = stores ? 2 : 0;
    return random() / 64 % 2 != 0;
}

void peer_enable(Device from, Device to) {
    const std::lock_guard lock(peers_mutex);
    peers.emplace(from, to);
}

void memory_poison(void* memory, uint64_t bytes) {
    auto* const to = static_cast<char*>(memory);
    for (uint64_t at = 0; at < bytes; at += 8) {
        const uint64_t word = 0xcbcb'cbcb'ffff'ffff - at / 8;
        std::memcpy(to + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
}

}  // namespace weft::gpu
