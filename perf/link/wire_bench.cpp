// What the memory wires cost by themselves, without links or plans: half the round trip of 8 bytes
// by value between two processes (shm) and two threads (loopback), the price of polling when
// nothing comes, and the rate of 1 MiB puts into library and private memory. Prints one line each;
// figures of a shared machine are worth comparing only within one run.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "perf/link/processes.h"
#include "perf/link/wire_end.h"
#include "transports/hubs.h"
#include "transports/memory.h"

namespace {

using namespace weft;
using bench::must;
using bench::now_us;
using bench::Pipes;
using bench::WireEnd;

constexpr int rounds = 100'000;
constexpr int samples = 200;  // short ones: the best were not interrupted
constexpr size_t put_bytes = 1 << 20;
constexpr int puts = 1000;

void ping_pong(WireEnd& side, const char* name) {
    Put put;
    put.peer = side.peer();
    uint64_t word = 0;
    put.from = &word;
    put.bytes = sizeof word;
    put.notify = false;
    std::vector<double> one_way;
    uint64_t wanted = side.arrived;
    side.swap(".");
    for (int sample = 0; sample < samples; sample++) {
        const double begin = now_us();
        for (int i = 0; i < rounds / samples; i++) {
            wanted++;
            if (side.rank() == 0) {
                side.post(put);
            }
            while (side.arrived < wanted) {
                side.drive();
            }
            if (side.rank() == 1) {
                side.post(put);
            }
        }
        one_way.push_back((now_us() - begin) * 1e3 / (2.0 * rounds / samples));
    }
    std::sort(one_way.begin(), one_way.end());
    const double begin = now_us();
    for (int i = 0; i < rounds; i++) {
        side.drive();
    }
    const double idle = (now_us() - begin) * 1e3 / rounds;
    if (side.rank() == 0) {
        std::printf(
            "%-10s 8 B by value, one way: median %.0f ns, best %.0f ns; idle progress "
            "%.1f ns\n",
            name, one_way[samples / 2], one_way[0], idle);
    }
}

void* memory_of(bool library) {
    void* at = library ? must(shared_alloc(put_bytes)) : std::aligned_alloc(4096, put_bytes);
    std::memset(at, 1, put_bytes);
    return at;
}

void memory_free(void* memory, bool library) {
    if (!library) {
        std::free(memory);
    } else if (const auto freed = shared_free(memory); !freed.ok()) {
        bench::stop(freed.error().what);
    }
}

void bandwidth(WireEnd& side, const char* name, bool library) {
    void* memory = memory_of(library);
    const Region region = must(side.wire().expose(memory, put_bytes));
    const RemoteRef mine = side.wire().ref(region, 0, side.peer());
    const std::string theirs =
        side.swap(std::string(reinterpret_cast<const char*>(&mine), sizeof mine));
    Put put;
    put.peer = side.peer();
    std::memcpy(&put.to, theirs.data(), sizeof put.to);
    put.from = memory;
    put.bytes = put_bytes;
    put.from_region = region;
    uint64_t delivered = side.delivered, arrived = side.arrived;
    side.swap(".");
    const uint64_t copied = side.wire().counters().copied_bytes;
    std::vector<double> rates;
    for (int sample = 0; sample < samples; sample++) {
        const double begin = now_us();
        delivered += puts / samples;
        arrived += puts / samples;
        for (int i = 0; side.rank() == 0 && i < puts / samples; i++) {
            side.post(put);
        }
        while (side.rank() == 0 ? side.delivered < delivered : side.arrived < arrived) {
            side.drive();
        }
        rates.push_back(put_bytes * (puts / samples) / (now_us() - begin) / 1e3);
    }
    std::sort(rates.begin(), rates.end());
    if (side.rank() == 0) {
        std::printf(
            "%-10s 1 MiB puts into %s memory: median %.1f GB/s, best %.1f GB/s, copied "
            "twice %.0f%%\n",
            name, library ? "library" : "private", rates[samples / 2], rates[samples - 1],
            100.0 * static_cast<double>(side.wire().counters().copied_bytes - copied) /
                (double{put_bytes} * puts));
    }
    side.swap(".");
    side.wire().conceal(region);
    memory_free(memory, library);
}

void both(const Pipes& pipes, uint32_t rank, WireHub& hub, const char* name) {
    WireEnd side(pipes.end[rank], rank, hub, WireEnd::Time::none);
    ping_pong(side, name);
    bandwidth(side, name, true);
    bandwidth(side, name, false);
    side.swap(".");
    std::fflush(stdout);
}

void bench_processes(const char* name, const ShmOptions& options) {
    Pipes pipes;
    const pid_t child = ::fork();
    const auto reactor = reactor_make();
    const auto hub = must(shm_hub_make(*reactor, options));
    both(pipes, child == 0 ? 1 : 0, *hub, name);
    if (child == 0) {
        std::_Exit(0);
    }
    ::waitpid(child, nullptr, 0);
}

void bench_threads() {
    Pipes pipes;
    const auto hub = loopback_hub_make();
    std::thread other([&] { both(pipes, 1, *hub, "loopback"); });
    both(pipes, 0, *hub, "loopback");
    other.join();
}

}  // namespace

int main() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    ShmOptions staged;
    staged.cma = false;
    bench_processes("shm", {});
    bench_processes("shm staged", staged);
    bench_threads();
    return 0;
}
