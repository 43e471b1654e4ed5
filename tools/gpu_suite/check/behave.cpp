// Correct results one call at a time, graphs and their replays, an abort of what waits.
#include <chrono>
#include <cstring>
#include <thread>

#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/job.h"
#include "tools/gpu_suite/check/outcome.h"

namespace weft::suite {

namespace {

// Some rounds with other inputs, so that nothing old can pass for new.
void rounds_check(Job& job, const Options& what) {
    Buffers buffers(job, what);
    const int rounds = what.rounds > 0 ? what.rounds : 2;
    for (int round = 0; round < rounds; round++) {
        buffers.round_check(static_cast<uint64_t>(round) + 1);
    }
}

bool possible(const Options& what) {
    return what.op != RedOp::avg || !is_float(what.type) || (what.ranks & (what.ranks - 1)) == 0;
}

int cross(Job& job, Options what) {
    int cases = 0;
    for (int type = 0; type < data_type_count; type++) {
        for (int op = 0; op <= static_cast<int>(RedOp::pre_mul_sum); op++) {
            what.type = static_cast<DataType>(type);
            what.op = static_cast<RedOp>(op);
            if (possible(what)) {
                rounds_check(job, what);
                cases++;
            }
        }
    }
    return cases;
}

}  // namespace

void correct(const Device& device, const Options& options) {
    Job job(device, options);
    deadline_set(options.deadline_s, Job::unlock);
    const uint64_t before = options.foreign ? 0 : counted(job, &weftStats_t::ops);
    int cases = 1;
    if (options.all) {
        cases = cross(job, options);
    } else if (possible(options)) {
        rounds_check(job, options);
    } else {
        finish(Verdict::skip, "an average over these ranks is not exact");
    }
    value_set("cases", cases);
    if (!options.foreign && options.count > 0 && counted(job, &weftStats_t::ops) == before) {
        fail("the library's counters did not move");
    }
    job.close();
}

// A capture of three operations, replayed, with calls outside of the graph between.
void graph(const Device& device, const Options& options) {
    const gpu::ProgramTable& cuda = device.program();
    if (cuda.cuStreamBeginCapture == nullptr || cuda.cuGraphInstantiateWithFlags == nullptr) {
        finish(Verdict::skip, "the driver has no cuGraphInstantiateWithFlags");
    }
    Job job(device, options);
    deadline_set(options.deadline_s, Job::unlock);
    const int replays = options.rounds > 0 ? options.rounds : 16;
    Options small = options, gathered = options;
    small.count = 33;
    gathered.coll = Coll::all_gather;
    Buffers first(job, options), second(job, small), third(job, gathered);
    const gpu::Stream stream = job.stream(job.first());
    const auto enqueue = [&](const Buffers& buffers) {
        job.each([&](int rank, gpu::Stream) { return buffers.call(rank, job.comm(rank), stream); });
    };
    device.done(cuda.cuStreamBeginCapture(stream, gpu::capture_mode::global),
                "beginning a capture");
    for (const Buffers* buffers : {&first, &second, &third}) {
        enqueue(*buffers);
    }
    const gpu::GraphExec ready = device.capture_end(stream);
    for (int replay = 0; replay < replays; replay++) {
        const auto salt = static_cast<uint64_t>(replay) + 1;
        for (Buffers* buffers : {&first, &second, &third}) {
            buffers->fill(salt);
        }
        device.done(cuda.cuGraphLaunch(ready, stream), "launching the graph");
        device.synchronize(stream);
        for (const Buffers* buffers : {&first, &second, &third}) {
            buffers->check(salt);
        }
        if (replay % 4 == 3) {
            first.fill(1000 + salt);
            enqueue(first);
            device.synchronize(stream);
            first.check(1000 + salt);
        }
    }
    device.done(cuda.cuGraphExecDestroy(ready), "destroying the graph");
    value_set("replays", replays);
    job.close();
}

// Rank 0 calls, the others never do; after a while all are aborted and rank 0's stream must run
// out.
void abort_waiting(const Device& device, const Options& options) {
    Options own = options;
    own.mode = Mode::threads;
    Job job(device, own);
    deadline_set(options.deadline_s, Job::unlock);
    Buffers buffers(job, own);
    buffers.fill(1);
    ok(buffers.call(0, job.comm(0), job.stream(0)), "enqueuing");
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (device->cuStreamQuery(job.stream(0)) == gpu::status::success) {
        fail("an operation of one rank of %d ended", options.ranks);
    }
    const double begun = wall_seconds();
    Job::unlock();
    device.synchronize(job.stream(0));
    value_set("stream_ran_out_s", wall_seconds() - begun);
}

}  // namespace weft::suite
