// Runs started ranks to their end: output, signals, the first failure and what follows from it.
// Thread rule: single-threaded; owns the process's signal mask while it runs.
// Failure rule: the job's failures are reported on standard error and in the exit status.
#pragma once

#include <functional>
#include <vector>

#include "tools/run/ranks.h"

namespace weft::run {

struct Job {
    std::vector<Rank> ranks;
    Prefix prefix = Prefix::others;
    Nanos timeout = 0;  // 0: none
    Nanos grace = 2 * nanos_per_s;
    std::function<std::string(int host)> host_text;  // empty text: no need to say
    std::function<void()> kill_leftovers;            // ends what ranks have left running
};

int supervise(Job job);  // the exit status

}  // namespace weft::run
