// One rank on device memory, in a process of its own: `device-worker MODE [ARG...]`, started by
// weft-run with a driver in WEFT_LIBCUDA. Exit 0 when what the mode promises held on this rank;
// otherwise one line on stderr and exit 1.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "include/weft/nccl_device.h"
#include "include/weft/weft.h"
#include "perf/device.h"
#include "tests/fake_cuda/control.h"
#include "tests/multiproc/rank.h"

using namespace weft;
using namespace weft::multiproc;
using perf::Device;

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

void device_failed(const Error& error) {
    fail("%s", error.what.c_str());
}

int32_t* take(const Device& device, size_t count) {
    return reinterpret_cast<int32_t*>(device.take(count * sizeof(int32_t)));
}

// What programs do beside the driver's calls that the library makes.
FakeCudaControl& fake_found(const Device& device) {
    void* const library = dlopen(device.driver().path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    void* const found = library != nullptr ? dlsym(library, "fake_cuda_control") : nullptr;
    if (found == nullptr) {
        fail("WEFT_LIBCUDA is not the stand-in");
    }
    return *static_cast<FakeCudaControl*>(found);
}

int32_t value_of(int rank, size_t i) {
    return static_cast<int32_t>(rank * 1000 + static_cast<int>(i % 997));
}

// One call of each kind, all enqueued before any is waited for.
class Calls {
  public:
    Calls(const Device& device, size_t count) : device_(device), count_(count) {}

    void enqueue() {
        enqueue_windowed();
        enqueue_others();
    }
    // Those that use windows, with all their memory from `window` on: 4 ranks + 4 times the count.
    void enqueue_in(int32_t* window) {
        window_ = window;
        enqueue_windowed();
    }

    void check() const {
        for (const One& one : calls_) {
            for (size_t i = 0; i < one.elements; i++) {
                if (one.out[i] != one.want(i)) {
                    fail("%s of %zu: element %zu is %d, not %d", one.what, count_, i, one.out[i],
                         one.want(i));
                }
            }
        }
    }

  private:
    using Want = std::function<int32_t(size_t)>;
    struct One {
        const char* what;
        size_t elements;
        int32_t* out;
        Want want;
    };

    void enqueue_windowed() {
        const auto n = static_cast<size_t>(env.rank_count), me = static_cast<size_t>(env.rank);
        cudaStream_t const stream = device_.cuda_stream();
        const auto sum = [](size_t i) {
            int32_t total = 0;
            for (int rank = 0; rank < env.rank_count; rank++) {
                total += value_of(rank, i);
            }
            return total;
        };
        const size_t count = count_;
        add("all_reduce", 1, 1, sum, [&](const int32_t* in, int32_t* out) {
            return ncclAllReduce(in, out, count, ncclInt, ncclSum, comm, stream);
        });
        add(
            "all_gather", 1, n,
            [count](size_t i) { return value_of(static_cast<int>(i / count), i % count); },
            [&](const int32_t* in, int32_t* out) {
                return ncclAllGather(in, out, count, ncclInt, comm, stream);
            });
        add(
            "reduce_scatter", n, 1, [=](size_t i) { return sum(me * count + i); },
            [&](const int32_t* in, int32_t* out) {
                return ncclReduceScatter(in, out, count, ncclInt, ncclSum, comm, stream);
            });
        add(
            "alltoall", n, n,
            [=](size_t i) { return value_of(static_cast<int>(i / count), me * count + i % count); },
            [&](const int32_t* in, int32_t* out) {
                return ncclAlltoAll(in, out, count, ncclInt, comm, stream);
            });
    }

    void enqueue_others() {
        cudaStream_t const stream = device_.cuda_stream();
        const int root = env.rank_count - 1;
        const size_t count = count_;
        add(
            "broadcast", 1, 1, [=](size_t i) { return value_of(root, i); },
            [&](const int32_t* in, int32_t* out) {
                return ncclBroadcast(in, out, count, ncclInt, root, comm, stream);
            });
        const int next = (env.rank + 1) % env.rank_count,
                  prev = (env.rank + env.rank_count - 1) % env.rank_count;
        add(
            "sendrecv", 1, 1, [=](size_t i) { return value_of(prev, i); },
            [&](const int32_t* in, int32_t* out) {
                ncclGroupStart();
                ncclSend(in, count, ncclInt, next, comm, stream);
                ncclRecv(out, count, ncclInt, prev, comm, stream);
                return ncclGroupEnd();
            });
    }

    int32_t* buffer(size_t count) {
        return window_ != nullptr ? std::exchange(window_, window_ + count) : take(device_, count);
    }

    void add(const char* what, size_t in_blocks, size_t out_blocks, Want want,
             const std::function<ncclResult_t(const int32_t*, int32_t*)>& call) {
        int32_t* const in = buffer(in_blocks * count_);
        int32_t* const out = buffer(out_blocks * count_);
        for (size_t i = 0; i < in_blocks * count_; i++) {
            in[i] = value_of(env.rank, i);
        }
        std::fill_n(out, out_blocks * count_, -1);
        ok(call(in, out), what);
        calls_.push_back({what, out_blocks * count_, out, std::move(want)});
    }

    const Device& device_;
    const size_t count_;
    int32_t* window_ = nullptr;  // the next place
    std::vector<One> calls_;
};

void mode_collectives(const Device& device, size_t count) {
    Calls calls(device, count);
    calls.enqueue();
    device.synchronize();
    calls.check();
}

void barrier(const Device& device) {
    int32_t* const one = take(device, 1);
    *one = 1;
    ok(ncclAllReduce(one, one, 1, ncclInt, ncclSum, comm, device.cuda_stream()), "barrier");
    device.synchronize();
    if (*one != env.rank_count) {
        fail("the barrier summed %d of %d ranks", *one, env.rank_count);
    }
}

// What the communicator says when it has failed, which must hold `part`.
std::string failure_of(const std::string& part) {
    const double begun = now();
    ncclResult_t state = ncclSuccess;
    while (state == ncclSuccess && now() - begun < 30) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ok(ncclCommGetAsyncError(comm, &state), "ncclCommGetAsyncError");
    }
    const std::string text = ncclGetLastError(comm);
    if (text.find(part) == std::string::npos) {
        fail("result %d after %.1f s, said '%s'", state, now() - begun, text.c_str());
    }
    return text;
}

// The stream ends, and 100,000 elements are sevens as before.
void runs_out(const Device& device, const int32_t* data) {
    const double begun = now();
    while (!device.idle() && now() - begun < 30) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const auto as_before = std::count(data, data + 100'000, 7);
    if (!device.idle() || as_before != 100'000) {
        fail("the stream %s, %td elements are as before", device.idle() ? "ran out" : "still waits",
             as_before);
    }
}

// A peer dies while this rank's stream waits for it: the error names it, the stream runs out.
void mode_kill(const Device& device, int victim) {
    int32_t* const data = take(device, 100'000);
    std::fill_n(data, 100'000, 7);
    barrier(device);
    if (env.rank == victim) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        raise(SIGKILL);
    }
    const double begun = now();
    ok(ncclAllReduce(data, data, 100'000, ncclInt, ncclSum, comm, device.cuda_stream()),
       "all_reduce");
    const std::string text = failure_of("rank " + std::to_string(victim));
    runs_out(device, data);
    std::printf("result after %.2f s: %s\n", now() - begun, text.c_str());
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// One rank's arguments are not those of the others: every rank hears of it, nothing is stored.
void mode_mismatch(const Device& device) {
    int32_t* const in = take(device, 100'001);
    int32_t* const out = take(device, 100'001);
    std::fill_n(in, 100'001, 1);
    std::fill_n(out, 100'001, 7);
    barrier(device);
    const size_t count = env.rank == 1 ? 100'001 : 100'000;
    ok(ncclAllReduce(in, out, count, ncclInt, ncclSum, comm, device.cuda_stream()), "all_reduce");
    failure_of("mismatched arguments");
    runs_out(device, out);
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// The first rank gives up a call that nobody else makes.
void mode_abort(const Device& device) {
    int32_t* const data = take(device, 100'000);
    std::fill_n(data, 100'000, 7);
    barrier(device);
    if (env.rank == 0) {
        // An abort also ends what others have not ended: the barrier.
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        ok(ncclAllReduce(data, data, 100'000, ncclInt, ncclSum, comm, device.cuda_stream()),
           "all_reduce");
    } else {
        failure_of("rank 0");
    }
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
    runs_out(device, data);
}

// Every rank replays its graph 16 times, in a row but for the last rank, which lags.
void mode_replay(const Device& device) {
    constexpr size_t count = 120'000;  // by shares, where there are boards
    int32_t* const data = take(device, count);
    std::fill_n(data, count, 1);
    barrier(device);
    FakeCudaControl& fake = fake_found(device);
    gpu::Stream const stream = device.stream();
    fake.capture_begin(stream, gpu::capture_mode::thread_local_);
    ok(ncclAllReduce(data, data, count, ncclInt, ncclSum, comm, device.cuda_stream()),
       "all_reduce");
    gpu::Graph const graph = fake.capture_end(stream);
    int32_t want = 1;
    for (int replay = 0; replay < 16; replay++) {
        want *= env.rank_count;
        if (graph == nullptr || fake.graph_launch(graph, stream) != gpu::status::success) {
            fail("replay %d was refused", replay);
        }
        if (env.rank == env.rank_count - 1) {
            device.synchronize();
        }
    }
    device.synchronize();
    if (std::count(data, data + count, want) != count) {
        fail("%td of %zu elements are %d", std::count(data, data + count, want), count, want);
    }
    barrier(device);
    fake.graph_destroy(graph);
}

uint64_t copied() {
    weftStats_t stats = WEFT_STATS_INITIALIZER;
    ok(weftCommStats(comm, &stats), "weftCommStats");
    return stats.copiedBytes;
}

// Collectives on a window of `bytes` from `base` on; and that peers see each other's part.
void window_use(const Device& device, int32_t* base, size_t bytes) {
    ncclWindow_t window = nullptr;
    ok(ncclCommWindowRegister(comm, base, bytes, &window, NCCL_WIN_COLL_SYMMETRIC), "window");
    if (window == nullptr) {
        fail("there is no window of %zu bytes", bytes);
    }
    *base = 1000 + env.rank;
    barrier(device);
    for (int peer = 0; peer < env.rank_count; peer++) {
        void* theirs = nullptr;
        ok(ncclGetPeerDevicePointer(window, 0, peer, &theirs), "ncclGetPeerDevicePointer");
        if (*static_cast<const int32_t*>(theirs) != 1000 + peer) {
            fail("rank %d's part shows %d", peer, *static_cast<const int32_t*>(theirs));
        }
    }
    barrier(device);
    const uint64_t before = copied();
    const size_t count = bytes / 4 / (4 * static_cast<size_t>(env.rank_count) + 4);
    for (int round = 0; round < 3; round++) {
        Calls calls(device, count);
        calls.enqueue_in(base);
        device.synchronize();
        calls.check();
    }
    if (copied() != before) {
        fail("%llu bytes were copied", static_cast<unsigned long long>(copied() - before));
    }
    ok(ncclCommWindowDeregister(comm, window), "ncclCommWindowDeregister");
    barrier(device);
}

// Memory of ncclMemAlloc, plain memory and a part of plain memory, freed and taken again.
void mode_windows(const Device& device) {
    constexpr size_t bytes = 12 << 20;
    for (int round = 0; round < 2; round++) {
        void* memory = nullptr;
        ok(ncclMemAlloc(&memory, bytes), "ncclMemAlloc");
        window_use(device, static_cast<int32_t*>(memory), bytes);
        ok(ncclMemFree(memory), "ncclMemFree");
        int32_t* const plain = take(device, bytes / 2);
        window_use(device, plain, bytes);
        window_use(device, plain + 5, bytes + 8192);
        device.give_back(reinterpret_cast<gpu::Address>(plain));
    }
}

// Every process has two ranks of one communicator, of one thread, on a stream each.
void mode_double(const Device& device) {
    ncclUniqueId id;
    if (env.rank == 0) {
        ok(ncclGetUniqueId(&id), "ncclGetUniqueId");
    }
    const gpu::Address told = device.take(sizeof(id));
    device.put(told, &id, sizeof(id));
    auto* const at = reinterpret_cast<void*>(told);
    ok(ncclBroadcast(at, at, sizeof(id), ncclUint8, 0, comm, device.cuda_stream()), "broadcast");
    device.synchronize();
    device.get(&id, told, sizeof(id));

    constexpr size_t count = 400'000;
    const int ranks = 2 * env.rank_count;
    ncclComm_t comms[2];
    gpu::Stream streams[2];
    int32_t* memory[2];
    ok(ncclGroupStart(), "ncclGroupStart");
    for (int i = 0; i < 2; i++) {
        ok(ncclCommInitRank(&comms[i], ranks, id, 2 * env.rank + i), "ncclCommInitRank");
    }
    ok(ncclGroupEnd(), "ncclGroupEnd");
    for (int i = 0; i < 2; i++) {
        streams[i] = device.stream_make();
        memory[i] = take(device, count);
        std::fill_n(memory[i], count, 2 * env.rank + i + 1);
    }
    int32_t want = ranks * (ranks + 1) / 2;
    for (int round = 0; round < 3; round++, want *= ranks) {
        ok(ncclGroupStart(), "ncclGroupStart");
        for (int i = 0; i < 2; i++) {
            ok(ncclAllReduce(memory[i], memory[i], count, ncclInt, ncclSum, comms[i],
                             reinterpret_cast<cudaStream_t>(streams[i])),
               "all_reduce");
        }
        ok(ncclGroupEnd(), "ncclGroupEnd");
        for (int i = 0; i < 2; i++) {
            device.synchronize(streams[i]);
            if (std::count(memory[i], memory[i] + count, want) != count) {
                fail("round %d: element 0 is %d, not %d", round, memory[i][0], want);
            }
        }
    }
    for (ncclComm_t each : comms) {
        ok(ncclCommDestroy(each), "ncclCommDestroy");
    }
}

}  // namespace

int main(int argc, char** argv) {
    env = launch_env_find();
    const std::string mode = argc > 1 ? argv[1] : "";
    const Device device(device_failed, [](const gpu::Driver&, int) { return 0; });
    comm = comm_of_all();
    if (mode == "collectives" && argc == 3) {
        mode_collectives(device, std::stoul(argv[2]));
    } else if (mode == "kill" && argc == 3) {
        mode_kill(device, std::stoi(argv[2]));
    } else if (mode == "mismatch") {
        mode_mismatch(device);
    } else if (mode == "abort") {
        mode_abort(device);
    } else if (mode == "replay") {
        mode_replay(device);
    } else if (mode == "windows") {
        mode_windows(device);
    } else if (mode == "double") {
        mode_double(device);
    } else {
        fail(
            "usage: device-worker collectives COUNT | kill RANK | mismatch | abort | replay | "
            "windows | double");
    }
    if (comm != nullptr) {
        ok(ncclCommDestroy(comm), "ncclCommDestroy");
    }
    return 0;
}
