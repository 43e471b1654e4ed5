// Collectives whose buffers lie in symmetric windows, of memory that the library allocates and of a
// program's own: right results, nothing copied onto boards, and calls as before when they are gone.
#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/job.h"
#include "tools/gpu_suite/check/outcome.h"

namespace weft::suite {

namespace {

constexpr Coll direct[] = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                           Coll::all_to_all};

void in_and_out_check(Job& job, const Options& what) {
    const char* const form = what.in_place ? " in place" : "";
    const auto rounds = static_cast<uint64_t>(what.rounds > 0 ? what.rounds : 2);
    Buffers buffers(job, what);
    const uint64_t before = counted(job, &weftStats_t::copiedBytes);
    for (uint64_t salt = 1; salt <= rounds; salt++) {
        buffers.round_check(salt);
    }
    if (const uint64_t more = counted(job, &weftStats_t::copiedBytes) - before; more > 0) {
        fail("%s%s in windows of memory of the %s copied %llu bytes", to_string(what.coll), form,
             to_string(what.windows), static_cast<unsigned long long>(more));
    }
    buffers.windows_drop();
    const uint64_t dropped = counted(job, &weftStats_t::copiedBytes);
    buffers.round_check(rounds + 1);
    if (counted(job, &weftStats_t::copiedBytes) == dropped) {
        fail("%s%s copied nothing, but its windows were deregistered", to_string(what.coll), form);
    }
}

}  // namespace

void windows(const Device& device, const Options& options) {
    if (options.mode == Mode::process &&
        device.attribute(gpu::device_attribute::posix_descriptors) != 1) {
        finish(Verdict::skip, "the device has no memory that is given away as a descriptor");
    }
    Job job(device, options);
    deadline_set(options.deadline_s, Job::unlock);
    int cases = 0;
    for (const InWindows memory : {InWindows::library, InWindows::program}) {
        for (const Coll coll : direct) {
            for (const bool in_place : {false, true}) {
                Options what = options;
                what.windows = memory;
                what.coll = coll;
                what.in_place = in_place;
                if (!in_place || coll != Coll::all_to_all) {
                    in_and_out_check(job, what);
                    cases++;
                }
            }
        }
    }
    value_set("cases", cases);
    job.close();
}

}  // namespace weft::suite
