// One rank of the memory tests: `memory-worker MODE`, started by weft-run, two ranks that talk over
// libfabric only. Uses the public API. Exit 0 when what the mode promises held on this rank;
// otherwise one line on stderr and exit 1.
#include <sys/mman.h>
#include <weft/nccl.h>
#include <weft/weft.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/multiproc/rank.h"

using namespace weft::multiproc;

namespace {

constexpr size_t mib = 1 << 20;

ncclComm_t world = nullptr;  // the tests use a copy of it: `comm`
uint64_t ops_called = 0;     // on `comm`

ncclComm_t comm_new() {
    ncclComm_t made = nullptr;
    ok(ncclCommSplit(world, 0, env.rank, &made, nullptr), "ncclCommSplit");
    return made;
}

// The library answers with older numbers while somebody else drives: asked again until it knows of
// every call.
weftStats_t stats() {
    for (int i = 0; i < 1'000'000; i++) {
        weftStats_t now = WEFT_STATS_INITIALIZER;
        ok(weftCommStats(comm, &now), "weftCommStats");
        if (now.ops == ops_called) {
            return now;
        }
    }
    fail("the counters never knew of %llu operations", static_cast<unsigned long long>(ops_called));
}

struct Difference {
    uint64_t registrations, deregistrations, hits, copied, put;
};

Difference between(const weftStats_t& before, const weftStats_t& after) {
    return {after.registrations - before.registrations,
            after.deregistrations - before.deregistrations,
            after.registrationHits - before.registrationHits,
            after.copiedBytes - before.copiedBytes, after.putBytes - before.putBytes};
}

void expect(const char* what, uint64_t seen, uint64_t wanted) {
    if (seen != wanted) {
        fail("%s: %llu, not %llu", what, static_cast<unsigned long long>(seen),
             static_cast<unsigned long long>(wanted));
    }
}

void expect_some(const char* what, uint64_t seen) {
    if (seen == 0) {
        fail("%s: none", what);
    }
}

int32_t value(int rank, size_t i, int salt) {
    return static_cast<int32_t>(rank * 100'003 + salt * 7 + static_cast<int>(i % 9973));
}

struct Pair {
    int32_t *in, *out;
};

// All kinds of calls on a buffer pair of `count` elements each, every result checked. The buffers
// are whole, so nothing needs to be copied.
class Calls {
  public:
    Calls(Pair buffers, size_t count) : in_(buffers.in), out_(buffers.out), count_(count) {}

    void all_reduce(int salt) {
        fill(salt);
        ok(ncclAllReduce(in_, out_, count_, ncclInt, ncclSum, comm, nullptr), "ncclAllReduce");
        ops_called++;
        check("all_reduce", count_,
              [&](size_t i) { return value(0, i, salt) + value(1, i, salt); });
    }
    void all_gather(int salt) {
        const size_t block = count_ / 2;
        int32_t* own = out_ + static_cast<size_t>(env.rank) * block;
        for (size_t i = 0; i < block; i++) {
            own[i] = value(env.rank, i, salt);
        }
        ok(ncclAllGather(own, out_, block, ncclInt, comm, nullptr), "ncclAllGather");
        ops_called++;
        check("all_gather", 2 * block,
              [&](size_t i) { return value(static_cast<int>(i / block), i % block, salt); });
    }
    void reduce_scatter(int salt) {
        const size_t block = count_ / 2;
        fill(salt);
        ok(ncclReduceScatter(in_, out_, block, ncclInt, ncclSum, comm, nullptr),
           "ncclReduceScatter");
        ops_called++;
        const size_t at = static_cast<size_t>(env.rank) * block;
        check("reduce_scatter", block,
              [&](size_t i) { return value(0, at + i, salt) + value(1, at + i, salt); });
    }
    void broadcast(int salt) {
        int32_t* at = env.rank == 0 ? in_ : out_;
        fill(salt);
        ok(ncclBroadcast(at, at, count_, ncclInt, 0, comm, nullptr), "ncclBroadcast");
        ops_called++;
        if (env.rank == 1) {
            check("broadcast", count_, [&](size_t i) { return value(0, i, salt); });
        }
    }
    void exchange(int salt) {
        fill(salt);
        ok(ncclGroupStart(), "ncclGroupStart");
        ok(ncclSend(in_, count_, ncclInt, 1 - env.rank, comm, nullptr), "ncclSend");
        ok(ncclRecv(out_, count_, ncclInt, 1 - env.rank, comm, nullptr), "ncclRecv");
        ok(ncclGroupEnd(), "ncclGroupEnd");
        ops_called += 2;
        check("exchange", count_, [&](size_t i) { return value(1 - env.rank, i, salt); });
    }
    void all(int salt) {
        all_reduce(salt);
        all_gather(salt);
        reduce_scatter(salt);
        broadcast(salt);
        exchange(salt);
    }

  private:
    void fill(int salt) {
        for (size_t i = 0; i < count_; i++) {
            in_[i] = value(env.rank, i, salt);
        }
        std::memset(out_, 0xee, count_ * sizeof *out_);
    }
    void check(const char* what, size_t count, const std::function<int32_t(size_t)>& want) const {
        for (size_t i = 0; i < count; i++) {
            if (out_[i] != want(i)) {
                fail("%s: element %zu is %d, not %d", what, i, out_[i], want(i));
            }
        }
    }

    int32_t *in_, *out_;
    size_t count_;
};

int32_t* lib_new(size_t bytes) {
    void* memory = nullptr;
    ok(ncclMemAlloc(&memory, bytes), "ncclMemAlloc");
    return static_cast<int32_t*>(memory);
}

// Lives to the end of the process unless it is freed here: communicators go first.
std::map<const void*, std::unique_ptr<void, decltype(&std::free)>> heap;

int32_t* heap_new(size_t bytes) {
    void* memory = std::aligned_alloc(4096, bytes);
    if (memory == nullptr) {
        fail("no memory");
    }
    heap.emplace(memory, std::unique_ptr<void, decltype(&std::free)>(memory, &std::free));
    std::memset(memory, 0, bytes);
    return static_cast<int32_t*>(memory);
}

// Memory of the process that is shared: what the library has in its pools, and ncclMemAlloc.
uint64_t shared_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("RssShmem:")) {
            return std::strtoull(line.c_str() + 9, nullptr, 10) << 10;
        }
    }
    fail("no RssShmem in /proc/self/status");
}

// After the first rounds nothing is registered any more, wherever in the memory the buffers are;
// and not a byte is copied.
void warm_then_nothing(int32_t* in, int32_t* out, size_t bytes) {
    const auto round = [&](size_t shift) {
        Calls({in + shift, out + shift}, bytes / sizeof *in - 4096).all(static_cast<int>(shift));
    };
    for (size_t i = 0; i < 3; i++) {
        round(i * 1000);
    }
    const weftStats_t before = stats();
    expect_some("registrations of the first rounds", before.registrations);
    for (size_t i = 0; i < 4; i++) {
        round(4 + i * 1016);
    }
    const Difference seen = between(before, stats());
    expect("registrations after the first rounds", seen.registrations, 0);
    expect("deregistrations", seen.deregistrations, 0);
    expect("bytes copied", seen.copied, 0);
    expect_some("memory found registered", seen.hits);
    expect_some("bytes put", seen.put);
}

void mode_lib() {
    int32_t *in = lib_new(3 * mib), *out = lib_new(3 * mib);
    warm_then_nothing(in, out, 3 * mib);
    // It ends with the memory, not before.
    const weftStats_t before = stats();
    ok(ncclMemFree(in), "ncclMemFree");
    const weftStats_t first = stats();
    expect_some("deregistrations by ncclMemFree", between(before, first).deregistrations);
    ok(ncclMemFree(out), "ncclMemFree");
    expect_some("deregistrations by ncclMemFree", between(first, stats()).deregistrations);
}

void mode_named() {
    int32_t *in = heap_new(3 * mib), *out = heap_new(3 * mib);
    void *in_handle = nullptr, *out_handle = nullptr;
    ok(ncclCommRegister(comm, in, 3 * mib, &in_handle), "ncclCommRegister");
    ok(ncclCommRegister(comm, out, 3 * mib, &out_handle), "ncclCommRegister");
    warm_then_nothing(in, out, 3 * mib);
    const weftStats_t before = stats();
    ok(ncclCommDeregister(comm, in_handle), "ncclCommDeregister");
    expect_some("deregistrations by ncclCommDeregister", between(before, stats()).deregistrations);
    // The other one is left to ncclCommDestroy, and its memory is gone after that.
    ok(ncclCommDestroy(comm), "ncclCommDestroy");
    heap.erase(out);
    comm = comm_new();
    ops_called = 0;
    int32_t* again = heap_new(3 * mib);
    Calls({in, again}, 3 * mib / sizeof *in).all(1);
    const weftStats_t after = stats();
    Calls({in, again}, 3 * mib / sizeof *in).exchange(2);
    expect_some("registrations of memory nobody names", between(after, stats()).registrations);
}

// Large buffers nobody has told the library of: registered for the call, not copied, nothing left.
void mode_heap() {
    Calls calls({heap_new(24 * mib), heap_new(24 * mib)}, 24 * mib / sizeof(int32_t));
    calls.exchange(1);
    calls.all_gather(1);
    const weftStats_t before = stats();
    const uint64_t shared = shared_bytes();
    for (int i = 2; i < 5; i++) {
        calls.exchange(i);
        calls.all_gather(i);
    }
    const Difference seen = between(before, stats());
    expect_some("registrations", seen.registrations);
    expect("deregistrations", seen.deregistrations, seen.registrations);
    expect("bytes copied", seen.copied, 0);
    if (shared_bytes() > shared + mib) {
        fail("the library's memory grew from %llu to %llu bytes",
             static_cast<unsigned long long>(shared),
             static_cast<unsigned long long>(shared_bytes()));
    }
}

// Small ones go through the library's memory: nothing is registered, each byte is copied once in
// and once out.
void mode_small() {
    constexpr size_t bytes = 512 << 10;
    Calls calls({heap_new(bytes), heap_new(bytes)}, bytes / sizeof(int32_t));
    for (int i = 0; i < 3; i++) {
        calls.all(i);
    }
    const weftStats_t before = stats();
    for (int i = 3; i < 6; i++) {
        calls.exchange(i);
    }
    const weftStats_t middle = stats();
    expect("registrations", between(before, middle).registrations, 0);
    expect("bytes copied", between(before, middle).copied, uint64_t{3} * 2 * bytes);
    for (int i = 6; i < 9; i++) {
        calls.all(i);
    }
    expect("registrations", between(middle, stats()).registrations, 0);
}

// Many small ones at once do not grow the library's memory without end: what does not fit is
// registered for the call.
void mode_many() {
    constexpr size_t bytes = mib - 4096, pairs = 100;
    std::vector<int32_t*> in, out;
    for (size_t i = 0; i < pairs; i++) {
        in.push_back(heap_new(bytes));
        out.push_back(heap_new(bytes));
        std::memset(in.back(), static_cast<int>(i + 1), bytes);
    }
    uint64_t copied = 0;
    for (int round = 0; round < 2; round++) {
        const weftStats_t before = stats();
        ok(ncclGroupStart(), "ncclGroupStart");
        for (size_t i = 0; i < pairs; i++) {
            ok(ncclSend(in[i], bytes, ncclInt8, 1 - env.rank, comm, nullptr), "ncclSend");
            ok(ncclRecv(out[i], bytes, ncclInt8, 1 - env.rank, comm, nullptr), "ncclRecv");
        }
        ok(ncclGroupEnd(), "ncclGroupEnd");
        ops_called += 2 * pairs;
        for (size_t i = 0; i < pairs; i++) {
            if (std::memcmp(in[i], out[i], bytes) != 0) {
                fail("pair %zu: wrong bytes", i);
            }
        }
        copied = between(before, stats()).copied;
    }
    expect_some("bytes copied", copied);
    const uint64_t shared = shared_bytes();
    if (shared > 64 * mib + 8 * mib) {
        fail("%zu pairs took %llu bytes of library memory", pairs,
             static_cast<unsigned long long>(shared));
    }
    std::printf("library memory %llu MiB, copied %llu MiB\n",
                static_cast<unsigned long long>(shared / mib),
                static_cast<unsigned long long>(copied / mib));
}

// With room for 8 MiB, buffers of 4 MiB used in turn push each other out, and all is right.
void mode_budget() {
    std::vector<Calls> calls;
    for (int i = 0; i < 3; i++) {
        calls.emplace_back(Pair{lib_new(4 * mib), lib_new(4 * mib)}, mib);
        calls.back().exchange(i);
    }
    weftStats_t before = stats();
    for (int i = 0; i < 6; i++) {
        calls[static_cast<size_t>(i % 3)].exchange(i);
    }
    const Difference seen = between(before, stats());
    expect_some("registrations", seen.registrations);
    expect("deregistrations", seen.deregistrations, seen.registrations);
    calls[0].exchange(7);
    before = stats();
    for (int i = 0; i < 3; i++) {
        calls[0].exchange(i);
    }
    expect("registrations of what fits", between(before, stats()).registrations, 0);
}

// A communicator that is aborted leaves the others' registrations alone.
void mode_abort() {
    const ncclComm_t other = comm_new();
    const ncclComm_t stays = comm;
    Calls calls({lib_new(2 * mib), lib_new(2 * mib)}, 2 * mib / sizeof(int32_t));
    calls.all(1);
    const uint64_t stays_called = ops_called;
    comm = other;
    calls.all(2);
    comm = stays;
    ops_called = stays_called;
    calls.all_reduce(0);  // nobody is in the other one any more
    const weftStats_t before = stats();
    ok(ncclCommAbort(other), "ncclCommAbort");
    for (int i = 3; i < 5; i++) {
        calls.all(i);
    }
    expect("registrations", between(before, stats()).registrations, 0);
    expect("deregistrations", between(before, stats()).deregistrations, 0);
}

}  // namespace

int main(int argc, char** argv) {
    env = weft::launch_env_find();
    const std::map<std::string, std::function<void()>> modes = {
        {"lib", mode_lib},   {"named", mode_named},   {"heap", mode_heap},   {"small", mode_small},
        {"many", mode_many}, {"budget", mode_budget}, {"abort", mode_abort},
    };
    const auto found = modes.find(argc > 1 ? argv[1] : "");
    if (found == modes.end() || env.rank_count != 2) {
        std::fprintf(stderr, "usage: weft-run -n 2 -- memory-worker MODE\n");
        return 2;
    }
    world = comm_of_all();
    comm = comm_new();
    found->second();
    ok(ncclCommDestroy(comm), "ncclCommDestroy");
    ok(ncclCommDestroy(world), "ncclCommDestroy");
    return 0;
}
