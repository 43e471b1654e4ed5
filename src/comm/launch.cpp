#include "src/comm/launch.h"

#include <time.h>

#include <algorithm>

#include "src/comm/comm_handle.h"
#include "src/comm/communicator.h"

namespace weft {

bool Launch::finished() const {
    switch (state.load(std::memory_order_acquire)) {
        case State::queued:
            return false;
        case State::refused:
            return true;
        case State::submitted:
            return ticket->state() != Ticket::State::pending;
    }
    return true;
}

const Error* Launch::failure() const {
    if (state.load(std::memory_order_acquire) == State::refused) {
        return &*error;
    }
    return ticket->state() == Ticket::State::failed ? &ticket->error() : nullptr;
}

void LaunchQueue::start(Launch& launch) {
    Result<TicketPtr> ticket =
        cause_ ? Result<TicketPtr>(*cause_) : shard_.submit(std::move(launch.calls));
    launch.calls.clear();
    launch.after.clear();  // a chain of thousands must not be freed recursively
    if (ticket.ok()) {
        launch.ticket = std::move(ticket).value();
        launch.state.store(Launch::State::submitted, std::memory_order_release);
        if (!launch.attended) {
            shard_.background();
        }
    } else {
        launch.error = std::move(ticket).error();
        launch.state.store(Launch::State::refused, std::memory_order_release);
    }
}

bool LaunchQueue::pump_locked() {
    while (!queue_.empty()) {
        Launch& launch = *queue_.front();
        const auto finished = [](const LaunchPtr& before) { return before->finished(); };
        if (!cause_ && !std::all_of(launch.after.begin(), launch.after.end(), finished)) {
            return true;
        }
        start(launch);
        queue_.pop_front();
        length_.store(queue_.size(), std::memory_order_release);
    }
    return false;
}

bool LaunchQueue::add(LaunchPtr launch) {
    const std::lock_guard lock(mutex_);
    if (queue_.empty() && launch->after.empty()) {
        start(*launch);
        return false;
    }
    queue_.push_back(std::move(launch));
    length_.store(queue_.size(), std::memory_order_release);
    return pump_locked();
}

bool LaunchQueue::pump() {
    const std::lock_guard lock(mutex_);
    return pump_locked();
}

std::vector<LaunchPtr> LaunchQueue::blockers() const {
    const std::lock_guard lock(mutex_);
    std::vector<LaunchPtr> found;
    if (!queue_.empty()) {
        for (const LaunchPtr& before : queue_.front()->after) {
            if (!before->finished()) {
                found.push_back(before);
            }
        }
    }
    return found;
}

void LaunchQueue::fail(const Error& cause) {
    const std::lock_guard lock(mutex_);
    if (!cause_) {
        cause_ = cause;
    }
    pump_locked();
}

namespace {

// Only between the closing of a handle and the end of its operations: bounded and short.
void pause_briefly() {
    const timespec pause{0, 50'000};
    nanosleep(&pause, nullptr);
}

// Waits for launches that are all submitted.
void submitted_wait(std::span<const LaunchPtr> launches) {
    std::vector<CommRef> refs;
    std::vector<Waitable> waits;
    for (const LaunchPtr& launch : launches) {
        if (launch->finished()) {
            continue;
        }
        CommRef ref = CommRef::enter_quietly(launch->handle);
        while (!ref && !launch->finished()) {
            pause_briefly();
        }
        if (!ref) {
            continue;
        }
        Shard* shard = &ref->shard();
        const auto same = [&](const Waitable& wait) { return wait.shard == shard; };
        // A shard finishes its tickets in order: the last one stands for all.
        if (auto known = std::find_if(waits.begin(), waits.end(), same); known != waits.end()) {
            known->ticket = launch->ticket.get();
            continue;
        }
        waits.push_back({shard, launch->ticket.get()});
        refs.push_back(std::move(ref));
    }
    if (!waits.empty()) {
        // Errors are read from each launch by the caller.
        (void)wait_all(waits);
    }
}

// Drives what stands before a queued launch until it is submitted. A stack instead of recursion: a
// chain may be thousands long.
void submission_wait(const LaunchPtr& target) {
    std::vector<LaunchPtr> stack{target};
    while (!stack.empty()) {
        const LaunchPtr launch = stack.back();
        if (!launch->queued()) {
            stack.pop_back();
            continue;
        }
        std::vector<LaunchPtr> blockers;
        if (CommRef ref = CommRef::enter_quietly(launch->handle)) {
            blockers = ref->queue().blockers();
            if (blockers.empty()) {
                ref->queue().pump();
                continue;
            }
        } else {
            pause_briefly();
            continue;
        }
        size_t deeper = 0;
        for (const LaunchPtr& blocker : blockers) {
            if (blocker->queued()) {
                stack.push_back(blocker);
                deeper++;
            }
        }
        if (deeper == 0) {
            submitted_wait(blockers);
        }
    }
}

}  // namespace

Result<void> launches_wait(std::span<const LaunchPtr> launches) {
    for (const LaunchPtr& launch : launches) {
        submission_wait(launch);
    }
    submitted_wait(launches);
    for (const LaunchPtr& launch : launches) {
        if (const Error* failure = launch->failure()) {
            return *failure;
        }
    }
    return {};
}

bool launches_poke(std::span<const LaunchPtr> launches) {
    bool all = true;
    for (const LaunchPtr& launch : launches) {
        if (launch->finished()) {
            continue;
        }
        if (CommRef ref = CommRef::enter_quietly(launch->handle)) {
            ref->queue().pump();
            ref->shard().poke();
        }
        all = launch->finished() && all;
    }
    return all;
}

}  // namespace weft
