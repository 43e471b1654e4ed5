#include "src/comm/group.h"

#include <optional>
#include <utility>
#include <vector>

#include "src/base/log.h"
#include "src/comm/bundle.h"
#include "src/comm/communicator.h"

namespace weft {

namespace {

struct Group {
    int depth = 0;
    std::optional<Error> error;    // the first one inside
    std::optional<bool> blocking;  // of the communicators in it
    std::vector<GroupCall> calls;
    std::vector<Job> jobs;
};

thread_local Group group;

Result<void> blocking_agrees(bool blocking) {
    if (group.blocking.value_or(blocking) != blocking) {
        return make_error(Code::invalid_argument, Scope::call,
                          "Blocking and nonblocking communicators are not allowed in the same "
                          "group");
    }
    group.blocking = blocking;
    return {};
}

Error mixed() {
    return make_error(Code::invalid_usage, Scope::call,
                      "Communication and init, split, finalize or destroy calls are not allowed in "
                      "the same group");
}

void jobs_drop(std::vector<Job>& jobs) {
    for (Job& job : jobs) {
        if (job.drop) {
            job.drop();
        }
    }
}

// Starts all, then waits for those that block.
Result<void> jobs_run(std::vector<Job> jobs) {
    std::optional<Error> first;
    bool unfinished = false;
    const auto note = [&](Result<void> result) {
        if (!result.ok() && !first) {
            first = std::move(result).error();
        }
    };
    std::vector<Job*> started;
    for (Job& job : jobs) {
        Result<void> start = job.start();
        if (start.ok()) {
            started.push_back(&job);
        }
        note(std::move(start));
    }
    for (Job* job : started) {
        if (job->blocking || job->always_blocks) {
            note(job->finish());
        } else {
            unfinished = true;
        }
    }
    if (first) {
        return *first;
    }
    if (unfinished) {
        return make_error(Code::in_progress, Scope::call, "");
    }
    return {};
}

Error no_group(const char* function) {
    return make_error(Code::invalid_usage, Scope::call,
                      format("%s: not in a group call, ncclGroupStart was not called", function));
}

// Host memory figures, to give an order of magnitude: a start-up time per call and bytes over a
// typical copy rate.
float estimate_us(const std::vector<GroupCall>& calls) {
    constexpr double start_us = 2, bytes_per_us = 8000;
    double total = 0;
    for (const GroupCall& given : calls) {
        total += start_us +
                 static_cast<double>(given.call.count * size_of(given.call.type)) / bytes_per_us;
    }
    return static_cast<float>(total);
}

}  // namespace

void group_start() {
    group.depth++;
}

bool group_open() {
    return group.depth > 0;
}

void group_remember(const Error& error) {
    if (group.depth > 0 && !group.error) {
        // Logged by the call that returned it: a wider scope keeps it from being logged again.
        group.error = make_error(error.code, Scope::communicator, error.what, error.sys);
    }
}

Result<void> group_end() {
    if (group.depth == 0) {
        return no_group("ncclGroupEnd");
    }
    if (group.depth > 1) {
        group.depth--;
        return {};
    }
    Group ended = std::exchange(group, Group());
    if (ended.error) {
        jobs_drop(ended.jobs);
        return *ended.error;
    }
    if (!ended.jobs.empty()) {
        return jobs_run(std::move(ended.jobs));
    }
    return bundles_run(std::move(ended.calls));
}

Result<float> group_simulate_end() {
    if (group.depth == 0) {
        return no_group("ncclGroupSimulateEnd");
    }
    if (group.depth > 1) {
        group.depth--;
        return 0.0F;
    }
    Group ended = std::exchange(group, Group());
    jobs_drop(ended.jobs);
    if (ended.error) {
        return *ended.error;
    }
    return estimate_us(ended.calls);
}

Result<void> group_call(CommRef& comm, ncclComm* handle, const Call& call, CallStream stream) {
    if (group.depth == 0) {
        return bundle_run_one(comm, handle, call, std::move(stream));
    }
    if (!group.jobs.empty()) {
        return mixed();
    }
    TRY(blocking_agrees(comm->blocking()));
    group.calls.push_back(GroupCall{handle, call, std::move(stream)});
    return {};
}

Result<void> group_job(Job job) {
    if (group.depth == 0) {
        std::vector<Job> one;
        one.push_back(std::move(job));
        return jobs_run(std::move(one));
    }
    Result<void> allowed;
    if (!group.calls.empty()) {
        allowed = mixed();
    } else if (!job.always_blocks) {
        allowed = blocking_agrees(job.blocking);
    }
    if (allowed.ok()) {
        group.jobs.push_back(std::move(job));
    } else if (job.drop) {
        job.drop();
    }
    return allowed;
}

}  // namespace weft
