// Rates of large operations against the best copy of the same run, and times of small ones.
#include <algorithm>
#include <vector>

#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/job.h"
#include "tools/gpu_suite/check/outcome.h"

namespace weft::suite {

namespace {

constexpr double giga = 1e9;
constexpr double micro = 1e-6;

// Seconds of the fastest of some rounds: what else runs on the machine only ever adds.
double fastest(Job& job, const Buffers& buffers, int rounds) {
    double best = 0;
    const gpu::Stream stream = job.stream(job.first());
    for (int round = 0; round < rounds + 2; round++) {
        Stopwatch watch(job.device(), stream);
        job.each(
            [&](int rank, gpu::Stream own) { return buffers.call(rank, job.comm(rank), own); });
        job.synchronize();
        const double seconds = watch.seconds();
        best = round == 0 ? seconds : std::min(best, seconds);
    }
    return best;
}

double copy_rate(const Device& device, uint64_t bytes, int rounds) {
    const gpu::Address from = device.take(bytes), to = device.take(bytes);
    const gpu::Stream stream = device.stream_make();
    double best = 0;
    for (int round = 0; round < rounds + 2; round++) {
        Stopwatch watch(device, stream);
        device.done(device->cuMemcpyAsync(to, from, bytes, stream), "copying");
        best = std::max(best, 2.0 * static_cast<double>(bytes) / watch.seconds() / giga);
    }
    device->cuMemFree(from);
    device->cuMemFree(to);
    return best;
}

// Bytes that must be read and written for a whole of `bytes`.
double moved(Coll coll, double bytes, int ranks) {
    return coll == Coll::reduce_scatter ? (ranks + 1) * bytes : 2.0 * ranks * bytes;
}

// Seconds of a call; in windows it has nothing to copy.
double seconds_of(Job& job, const Options& what, int rounds) {
    const Buffers buffers(job, what);
    const bool counts = what.windows != InWindows::none;
    const uint64_t before = counts ? counted(job, &weftStats_t::copiedBytes) : 0;
    const double seconds = fastest(job, buffers, rounds);
    if (counts && counted(job, &weftStats_t::copiedBytes) != before) {
        fail("%s in windows was copied onto boards", to_string(what.coll));
    }
    return seconds;
}

// Its time, and its rate by itself and against the best copy.
void rate_set(const std::string& name, double bytes, double seconds, double copy) {
    const double rate = bytes / seconds / giga;
    value_set(name + "_us", seconds / micro);
    value_set(name + "_GBps", rate);
    value_set(name + "_ratio", rate / copy);
}

}  // namespace

void rates(const Device& device, const Options& options) {
    deadline_set(options.deadline_s, Job::unlock);
    const uint64_t bytes = options.bytes > 0 ? options.bytes : 64 << 20;
    const int rounds = options.rounds > 0 ? options.rounds : 10;
    const double copy = copy_rate(device, bytes, rounds);
    value_set("copy_GBps", copy);
    value_set("bytes", static_cast<double>(bytes));
    Options what = options;
    what.type = DataType::float32;
    Job job(device, what);
    for (const Coll coll : {Coll::all_gather, Coll::all_reduce, Coll::reduce_scatter}) {
        what.coll = coll;
        const uint64_t block =
            coll == Coll::all_reduce ? bytes : bytes / static_cast<uint64_t>(what.ranks);
        what.count = block / size_of(what.type);
        const double total = moved(coll, static_cast<double>(bytes), what.ranks);
        const std::string name = to_string(coll);
        what.windows = InWindows::none;
        const double seconds = seconds_of(job, what, rounds);
        rate_set(name, total, seconds, copy);
        if (options.windows != InWindows::none) {
            what.windows = options.windows;
            const double in_windows = seconds_of(job, what, rounds);
            rate_set(name + "_windows", total, in_windows, copy);
            value_set(name + "_windows_gain", seconds / in_windows);
        }
    }
    job.close();
}

namespace {

double eager_us(Job& job, const Buffers& buffers, int rounds) {
    const gpu::Stream stream = job.stream(job.first());
    Stopwatch watch(job.device(), stream);
    for (int round = 0; round < rounds; round++) {
        job.each(
            [&](int rank, gpu::Stream own) { return buffers.call(rank, job.comm(rank), own); });
    }
    job.synchronize();
    return watch.seconds() / rounds / micro;
}

double graph_us(Job& job, const Buffers& buffers, int rounds) {
    constexpr int operations = 32;
    const Device& device = job.device();
    const gpu::Stream stream = job.stream(job.first());
    device.done(device.program().cuStreamBeginCapture(stream, gpu::capture_mode::global),
                "beginning a capture");
    for (int i = 0; i < operations; i++) {
        job.each([&](int rank, gpu::Stream) { return buffers.call(rank, job.comm(rank), stream); });
    }
    const gpu::GraphExec ready = device.capture_end(stream);
    device.done(device.program().cuGraphLaunch(ready, stream), "launching the graph");
    device.synchronize(stream);
    Stopwatch watch(device, stream);
    for (int round = 0; round < rounds; round++) {
        device.done(device.program().cuGraphLaunch(ready, stream), "launching the graph");
    }
    const double seconds = watch.seconds();
    device.done(device.program().cuGraphExecDestroy(ready), "destroying the graph");
    return seconds / rounds / operations / micro;
}

}  // namespace

// Small all-reduces one after the other: all ranks in one group on one stream.
void latency(const Device& device, const Options& options) {
    Options what = options;
    what.type = DataType::float32;
    what.coll = Coll::all_reduce;
    Job job(device, what);
    deadline_set(options.deadline_s, Job::unlock);
    const int rounds = options.rounds > 0 ? options.rounds : 200;
    const bool graphs = device.program().cuGraphInstantiateWithFlags != nullptr;
    double worst_eager = 0, worst_graph = 0;
    for (const uint64_t bytes : {8ull, 256ull, 8192ull}) {
        what.count = bytes / size_of(what.type);
        Buffers buffers(job, what);
        buffers.fill(1);
        eager_us(job, buffers, std::max(1, rounds / 10));
        const double eager = eager_us(job, buffers, rounds);
        const double replayed = graphs ? graph_us(job, buffers, std::max(1, rounds / 20)) : 0;
        value_set("eager_" + std::to_string(bytes) + "_us", eager);
        value_set("graph_" + std::to_string(bytes) + "_us", replayed);
        worst_eager = std::max(worst_eager, eager);
        worst_graph = std::max(worst_graph, replayed);
    }
    value_set("eager_us", worst_eager);
    value_set("graph_us", worst_graph);
    job.close();
}

}  // namespace weft::suite
