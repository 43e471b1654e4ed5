// One rank of the multi-process tests: `cluster-worker MODE [ARG...]`, started by weft-run. Uses
// the public API only. Exit 0 when what the mode promises held on this rank; otherwise one line on
// stderr and exit 1.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weft/nccl.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/multiproc/rank.h"

using namespace weft::multiproc;

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

double cpu_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

void barrier() {
    int one = 1, sum = 0;
    ok(ncclAllReduce(&one, &sum, 1, ncclInt, ncclSum, comm, nullptr), "barrier");
    if (sum != env.rank_count) {
        fail("the barrier summed %d of %d ranks", sum, env.rank_count);
    }
}

// Whoever ends the communicator after a barrier waits until nobody is in it any more: a rank that
// has not returned yet would hear of the end in there.
void all_out_of_barrier() {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
}

int32_t value(int rank, size_t i) {
    return static_cast<int32_t>(rank * 1000 + static_cast<int>(i % 997));
}

int32_t sum_of(size_t i) {
    int32_t total = 0;
    for (int r = 0; r < env.rank_count; r++) {
        total += value(r, i);
    }
    return total;
}

// Every collective, several sizes, against its definition; `lib` memory or the heap's.
void mode_collectives(bool lib) {
    const auto n = static_cast<size_t>(env.rank_count);
    const size_t largest = 300'001;
    std::vector<int32_t> heap_in(n * largest), heap_out(n * largest);
    int32_t *in = heap_in.data(), *out = heap_out.data();
    if (lib) {
        ok(ncclMemAlloc(reinterpret_cast<void**>(&in), n * largest * 4), "ncclMemAlloc");
        ok(ncclMemAlloc(reinterpret_cast<void**>(&out), n * largest * 4), "ncclMemAlloc");
    }
    const auto me = static_cast<size_t>(env.rank);
    for (const size_t count : {size_t{1}, size_t{1000}, size_t{30'000}, largest}) {
        const int root = static_cast<int>(count % n);
        const auto fill = [&](size_t blocks) {
            for (size_t i = 0; i < blocks * count; i++) {
                in[i] = value(env.rank, i);
            }
            std::memset(out, 0xee, n * count * 4);
        };
        const auto expect = [&](const char* what, size_t elements,
                                const std::function<int32_t(size_t)>& want) {
            for (size_t i = 0; i < elements; i++) {
                if (out[i] != want(i)) {
                    fail("%s of %zu: element %zu is %d, not %d", what, count, i, out[i], want(i));
                }
            }
        };
        fill(1);
        ok(ncclAllReduce(in, out, count, ncclInt, ncclSum, comm, nullptr), "ncclAllReduce");
        expect("all_reduce", count, sum_of);
        fill(1);
        ok(ncclAllGather(in, out, count, ncclInt, comm, nullptr), "ncclAllGather");
        expect("all_gather", n * count,
               [&](size_t i) { return value(static_cast<int>(i / count), i % count); });
        fill(n);
        ok(ncclReduceScatter(in, out, count, ncclInt, ncclSum, comm, nullptr), "ncclReduceScatter");
        expect("reduce_scatter", count, [&](size_t i) { return sum_of(me * count + i); });
        fill(1);
        ok(ncclBroadcast(in, out, count, ncclInt, root, comm, nullptr), "ncclBroadcast");
        expect("broadcast", count, [&](size_t i) { return value(root, i); });
        fill(1);
        ok(ncclReduce(in, out, count, ncclInt, ncclSum, root, comm, nullptr), "ncclReduce");
        expect("reduce", env.rank == root ? count : 0, sum_of);
        fill(n);
        ok(ncclAlltoAll(in, out, count, ncclInt, comm, nullptr), "ncclAlltoAll");
        expect("alltoall", n * count, [&](size_t i) {
            return value(static_cast<int>(i / count), me * count + i % count);
        });
        fill(1);
        ok(ncclGather(in, out, count, ncclInt, root, comm, nullptr), "ncclGather");
        expect("gather", env.rank == root ? n * count : 0,
               [&](size_t i) { return value(static_cast<int>(i / count), i % count); });
        fill(n);
        ok(ncclScatter(in, out, count, ncclInt, root, comm, nullptr), "ncclScatter");
        expect("scatter", count, [&](size_t i) { return value(root, me * count + i); });
        fill(1);
        const int next = (env.rank + 1) % env.rank_count,
                  prev = (env.rank + env.rank_count - 1) % env.rank_count;
        ok(ncclGroupStart(), "ncclGroupStart");
        ok(ncclSend(in, count, ncclInt, next, comm, nullptr), "ncclSend");
        ok(ncclRecv(out, count, ncclInt, prev, comm, nullptr), "ncclRecv");
        ok(ncclGroupEnd(), "ncclGroupEnd");
        expect("sendrecv", count, [&](size_t i) { return value(prev, i); });
    }
    if (lib) {
        ok(ncclMemFree(in), "ncclMemFree");
        ok(ncclMemFree(out), "ncclMemFree");
    }
}

// Loops until an error; it must come within `limit` seconds of the cause and name `named`.
void until_error(ncclComm_t on, double cause, double limit, const std::string& named) {
    std::vector<float> data(100'000, 1.0f);
    ncclResult_t result = ncclSuccess;
    while (result == ncclSuccess && now() - cause < 60) {
        result =
            ncclAllReduce(data.data(), data.data(), data.size(), ncclFloat, ncclMax, on, nullptr);
    }
    const double took = now() - cause;
    const std::string text = ncclGetLastError(on);
    if (result == ncclSuccess || took > limit || text.find(named) == std::string::npos) {
        fail("result %d after %.1f s, said '%s', wanted an error naming '%s' within %.0f s", result,
             took, text.c_str(), named.c_str(), limit);
    }
    std::printf("result %d after %.2f s: %s\n", result, took, text.c_str());
}

void until_error(double cause, double limit, const std::string& named) {
    until_error(comm, cause, limit, named);
}

// A child that inherits everything, does nothing with it and outlives its parent.
void child_leave_behind() {
    if (fork() == 0) {
        for (int stdio = 0; stdio < 3; stdio++) {
            close(stdio);  // or the launcher waits for it
        }
        std::this_thread::sleep_for(std::chrono::seconds(15));
        std::_Exit(0);
    }
}

void mode_kill(int victim, bool has_child) {
    barrier();
    if (env.rank == victim) {
        if (has_child) {
            child_leave_behind();
        }
        all_out_of_barrier();
        raise(SIGKILL);
    }
    until_error(now(), 5, "rank " + std::to_string(victim));
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// Two communicators, each with an operation in flight that waits for the victim: both end.
void mode_kill_two(int victim) {
    ncclComm_t other = nullptr;
    ok(ncclCommSplit(comm, 0, env.rank, &other, nullptr), "ncclCommSplit");
    barrier();
    if (env.rank == victim) {
        all_out_of_barrier();
        raise(SIGKILL);
    }
    const std::string named = "rank " + std::to_string(victim);
    std::thread second([&] { until_error(other, now(), 5, named); });
    until_error(now(), 5, named);
    second.join();
    ok(ncclCommAbort(other), "ncclCommAbort");
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// The network does not let the first operation through: it ends, on every rank, and says what to
// do. Each rank stays until all have heard: one that goes is a cause of its own.
void mode_unreached() {
    until_error(now(), 45, "WEFT_INIT_TIMEOUT");
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::seconds(2));
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// The last rank comes to the first operation, which connects, later than any rank may be cut off.
void mode_late_first(int seconds) {
    if (env.rank == env.rank_count - 1) {
        std::this_thread::sleep_for(std::chrono::seconds(seconds));
    }
    barrier();
}

// The same, stopped with all its threads as by a debugger; a child lets it go on.
void mode_stopped_first(int seconds) {
    if (env.rank == env.rank_count - 1) {
        const pid_t stopped = getpid();
        if (fork() == 0) {
            std::this_thread::sleep_for(std::chrono::seconds(seconds));
            kill(stopped, SIGCONT);
            std::_Exit(0);
        }
        raise(SIGSTOP);
    }
    barrier();
}

// A rank dies while it waits in init for rank 1, which comes 3 s later: those who wait hear of it
// at once, the late one when it comes.
void mode_kill_init(int victim) {
    const double begin = now();
    const auto pause = [](int seconds) {
        std::this_thread::sleep_for(std::chrono::seconds(seconds));
    };
    ncclUniqueId id;
    ok(ncclGetUniqueId(&id), "ncclGetUniqueId");
    if (env.rank == victim) {
        std::thread([&] { ncclCommInitRank(&comm, env.rank_count, id, env.rank); }).detach();
        pause(1);
        raise(SIGKILL);
    }
    if (env.rank == 1) {
        pause(3);
    }
    const ncclResult_t result = ncclCommInitRank(&comm, env.rank_count, id, env.rank);
    const double took = now() - begin - (env.rank == 1 ? 3 : 1);
    const std::string text = ncclGetLastError(nullptr);
    if (result == ncclSuccess || took > 5 ||
        text.find("rank " + std::to_string(victim)) == std::string::npos) {
        fail("init: result %d %.1f s after the cause, said '%s'", result, took, text.c_str());
    }
    std::printf("result %d after %.2f s: %s\n", result, took, text.c_str());
    std::fflush(stdout);
    comm = nullptr;
    pause(5);
}

void mode_abort(int who) {
    barrier();
    if (env.rank == who) {
        all_out_of_barrier();
        ok(ncclCommAbort(comm), "ncclCommAbort");
        comm = nullptr;
        std::this_thread::sleep_for(std::chrono::seconds(2));
        return;
    }
    until_error(now(), 5, "rank " + std::to_string(who));
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// One rank asks for another count: everybody hears of both.
void mode_mismatch() {
    barrier();
    all_out_of_barrier();
    std::vector<float> data(70'000, 1.0f);
    const size_t count = env.rank == 1 ? 60'000 : 70'000;
    const double begin = now();
    const ncclResult_t result =
        ncclAllReduce(data.data(), data.data(), count, ncclFloat, ncclSum, comm, nullptr);
    const std::string text = ncclGetLastError(comm);
    if (result == ncclSuccess || now() - begin > 5 || text.find("60000") == std::string::npos ||
        text.find("70000") == std::string::npos) {
        fail("a mismatch gave %d after %.1f s: '%s'", result, now() - begin, text.c_str());
    }
    ok(ncclCommAbort(comm), "ncclCommAbort");
    comm = nullptr;
}

// The root's part is done when its call returns; while it computes, the others must not wait for
// it.
void mode_computing() {
    std::vector<int32_t> data(2'000'000, 7 + env.rank);
    barrier();
    const double begin = now();
    ok(ncclBroadcast(data.data(), data.data(), data.size(), ncclInt, 0, comm, nullptr),
       "ncclBroadcast");
    if (env.rank == 0) {
        while (now() - begin < 3) {
        }
    } else if (now() - begin > 2) {
        fail("a broadcast took %.1f s while its root computed", now() - begin);
    }
    if (data.back() != 7) {
        fail("broadcast gave %d", data.back());
    }
    barrier();
}

void mode_idle() {
    barrier();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const double before = cpu_seconds();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const double used = cpu_seconds() - before;
    if (used > 0.02) {
        fail("an idle communicator used %.3f s of CPU in one second", used);
    }
    barrier();
}

// A rank that arrives late is waited for, and the wait costs no CPU.
void mode_late() {
    barrier();
    const double before = cpu_seconds();
    if (env.rank == 0) {
        std::this_thread::sleep_for(std::chrono::seconds(3));
    }
    barrier();
    if (cpu_seconds() - before > 0.3) {
        fail("waiting 3 s for a late rank used %.2f s of CPU", cpu_seconds() - before);
    }
}

// `bytes` of address space over one small file, so that counts above 4 GiB cost little memory.
// Every alias sees the same bytes, whose value depends on the address modulo the period only.
int8_t* aliased(size_t bytes, size_t period) {
    const int fd = memfd_create("alias", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(period)) != 0) {
        fail("no memfd");
    }
    auto* base =
        static_cast<int8_t*>(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t at = 0; at < bytes; at += period) {
        if (mmap(base + at, period, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED) {
            fail("no alias at %zu", at);
        }
    }
    close(fd);
    return base;
}

void mode_big() {
    const size_t period = size_t{16} << 20;
    const size_t bytes = (size_t{4} << 30) + 2 * period;
    int8_t* in = aliased(bytes, period);
    int8_t* out = aliased(bytes, period);
    for (size_t i = 0; i < period; i++) {
        in[i] = static_cast<int8_t>(i % 31 + static_cast<size_t>(env.rank));
    }
    const size_t count = bytes - 5;  // odd, and above 2^32
    ok(ncclAllReduce(in, out, count, ncclInt8, ncclSum, comm, nullptr), "ncclAllReduce");
    for (size_t i = 0; i < period; i++) {
        int want = 0;
        for (int r = 0; r < env.rank_count; r++) {
            want += static_cast<int>(i % 31) + r;
        }
        if (out[i] != static_cast<int8_t>(want)) {
            fail("big all_reduce: byte %zu is %d, not %d", i, out[i], want);
        }
    }
    std::memset(out, 0, period);
    ok(ncclBroadcast(in, out, count, ncclInt8, 0, comm, nullptr), "ncclBroadcast");
    for (size_t i = 0; i < period; i++) {
        if (out[i] != static_cast<int8_t>(i % 31)) {
            fail("big broadcast: byte %zu is %d", i, out[i]);
        }
    }
}

// 16 MiB all-reduces only, for counting what WEFT_STATS prints.
void mode_count() {
    int32_t* data = nullptr;
    const size_t count = 4 << 20;
    ok(ncclMemAlloc(reinterpret_cast<void**>(&data), count * 4), "ncclMemAlloc");
    for (size_t i = 0; i < count; i++) {
        data[i] = value(env.rank, i);
    }
    ok(ncclAllReduce(data, data, count, ncclInt, ncclSum, comm, nullptr), "ncclAllReduce");
    for (size_t i = 0; i < count; i++) {
        if (data[i] != sum_of(i)) {
            fail("element %zu is %d", i, data[i]);
        }
    }
    ok(ncclMemFree(data), "ncclMemFree");
}

// What this virtual host has sent over its rails, headers included; -1 if it has none.
long long rails_sent() {
    std::FILE* file = std::fopen("/proc/net/dev", "r");
    char line[512];
    long long total = -1;
    while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
        char name[32];
        long long sent = 0;
        const char* format = " %31[^:]: %*d %*d %*d %*d %*d %*d %*d %*d %lld";
        if (std::sscanf(line, format, name, &sent) == 2 && std::strncmp(name, "rail", 4) == 0) {
            total = std::max(total, 0LL) + sent;
        }
    }
    if (file != nullptr) {
        std::fclose(file);
    }
    return total;
}

// One collective of 64 MiB (the larger side) on library memory, out of place, its result checked;
// prints what crossed the host's rails meanwhile. Counters are read from WEFT_STATS.
void mode_traffic(const std::string& what) {
    const auto n = static_cast<size_t>(env.rank_count);
    const size_t whole = (16 << 20) / n * n, block = whole / n;  // elements
    int32_t *in = nullptr, *out = nullptr;
    ok(ncclMemAlloc(reinterpret_cast<void**>(&in), whole * 4), "ncclMemAlloc");
    ok(ncclMemAlloc(reinterpret_cast<void**>(&out), whole * 4), "ncclMemAlloc");
    for (size_t i = 0; i < whole; i++) {
        in[i] = value(env.rank, i);
    }
    const long long before = rails_sent();
    const auto me = static_cast<size_t>(env.rank);
    size_t checked = block;
    std::function<int32_t(size_t)> want;
    if (what == "all_gather") {
        ok(ncclAllGather(in, out, block, ncclInt, comm, nullptr), "ncclAllGather");
        checked = whole;
        want = [&](size_t i) { return value(static_cast<int>(i / block), i % block); };
    } else if (what == "reduce_scatter") {
        ok(ncclReduceScatter(in, out, block, ncclInt, ncclSum, comm, nullptr), "ncclReduceScatter");
        want = [&](size_t i) { return sum_of(me * block + i); };
    } else {
        ok(ncclAllReduce(in, out, whole, ncclInt, ncclSum, comm, nullptr), "ncclAllReduce");
        checked = whole;
        want = sum_of;
    }
    all_out_of_barrier();  // the last acknowledgements, too
    std::printf("traffic %lld\n", before < 0 ? -1 : rails_sent() - before);
    for (size_t i = 0; i < checked; i += 97) {
        if (out[i] != want(i)) {
            fail("%s: element %zu is %d, not %d", what.c_str(), i, out[i], want(i));
        }
    }
    ok(ncclMemFree(in), "ncclMemFree");
    ok(ncclMemFree(out), "ncclMemFree");
}

// Rank 0's process outlives its communicator.
void mode_linger() {
    barrier();
    ok(ncclCommDestroy(comm), "ncclCommDestroy");
    comm = nullptr;
    if (env.rank == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(700));
    }
}

}  // namespace

int main(int argc, char** argv) {
    env = weft::launch_env_find();
    const std::string mode = argc > 1 ? argv[1] : "";
    const int argument = argc > 2 ? std::atoi(argv[2]) : 0;
    const std::map<std::string, std::function<void()>> modes = {
        {"collectives", [] { mode_collectives(false); }},
        {"collectives-lib", [] { mode_collectives(true); }},
        {"kill-init", [&] { mode_kill_init(argument); }},
        {"kill", [&] { mode_kill(argument, false); }},
        {"kill-parent", [&] { mode_kill(argument, true); }},
        {"kill-two", [&] { mode_kill_two(argument); }},
        {"unreached", [] { mode_unreached(); }},
        {"late-first", [&] { mode_late_first(argument); }},
        {"stopped-first", [&] { mode_stopped_first(argument); }},
        {"abort", [&] { mode_abort(argument); }},
        {"mismatch", [] { mode_mismatch(); }},
        {"computing", [] { mode_computing(); }},
        {"idle", [] { mode_idle(); }},
        {"late", [] { mode_late(); }},
        {"big", [] { mode_big(); }},
        {"count", [] { mode_count(); }},
        {"linger", [] { mode_linger(); }},
        {"traffic", [&] { mode_traffic(argc > 2 ? argv[2] : ""); }},
    };
    const auto found = modes.find(mode);
    if (found == modes.end()) {
        std::fprintf(stderr, "usage: cluster-worker MODE [ARG]\n");
        return 2;
    }
    if (mode != "kill-init") {
        comm = comm_of_all();
    }
    found->second();
    if (comm != nullptr) {
        ok(ncclCommDestroy(comm), "ncclCommDestroy");
    }
    return 0;
}
