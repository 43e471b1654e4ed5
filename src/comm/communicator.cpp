#include "src/comm/communicator.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <utility>

#include "src/base/log.h"
#include "src/comm/comm_job.h"
#include "src/comm/process.h"

namespace weft {

namespace {

constexpr const char* busy_text =
    "Attempt to use communicator before the previous operation returned ncclSuccess";

// Salts the operator handles; any value that differs between communicators of a process will do.
uint64_t salt_next() {
    static std::atomic<uint64_t> count{0};
    return (count.fetch_add(1, std::memory_order_relaxed) + 1) * 0x9e3779b97f4a7c15 >> 20;
}

}  // namespace

Communicator::Communicator(CommIdentity identity)
    : identity_(std::move(identity)), operators_(salt_next()) {
}

// On the service thread, which makes no CUDA calls.
Communicator::~Communicator() {
    device_end(false);
}

std::shared_ptr<Communicator> Communicator::create(CommIdentity identity) {
    // Shared: the handle owns it, callbacks under way hold it for their time.
    return {new Communicator(std::move(identity)),
            [](Communicator* comm) { Process::get().reactor().post([comm] { delete comm; }); }};
}

std::string Communicator::name() const {
    return format("rank %d of comm %p", rank(), static_cast<void*>(handle()));
}

// Errors of the shard begin with the name, which would then be said twice.
std::string Communicator::unnamed(const std::string& what) const {
    const std::string own = name() + ": ";
    return what.compare(0, own.size(), own) == 0 ? what.substr(own.size()) : what;
}

CommState Communicator::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

Error Communicator::busy_error() const {
    return make_error(Code::invalid_argument, Scope::call,
                      format("%s (%s)", busy_text, name().c_str()));
}

// Repeats the first cause without being logged again: its scope is not the call's.
Error Communicator::earlier_failure_locked() const {
    return make_error(
        error_->code, Scope::communicator,
        format("%s has failed earlier: %s", name().c_str(), unnamed(error_->what).c_str()),
        error_->sys);
}

bool Communicator::busy_locked() {
    std::erase_if(pending_, [](const LaunchPtr& launch) {
        return launch->finished() && launch->failure() == nullptr;
    });
    return !pending_.empty() || (!blocking() && !jobs_.empty());
}

Result<void> Communicator::usable() {
    const std::lock_guard lock(mutex_);
    switch (state_) {
        case CommState::ready:
            break;
        case CommState::initialising:
        case CommState::finalizing:
            return busy_error();
        case CommState::finalized:
            return make_error(Code::invalid_usage, Scope::call,
                              format("%s was finalized: it can only be destroyed", name().c_str()));
        case CommState::aborted:
        case CommState::failed:
            return earlier_failure_locked();
    }
    if (busy_locked()) {
        return busy_error();
    }
    return {};
}

Result<void> Communicator::settled() {
    const std::lock_guard lock(mutex_);
    if (state_ == CommState::initialising || state_ == CommState::finalizing ||
        (state_ == CommState::ready && busy_locked())) {
        return busy_error();
    }
    return {};
}

Result<void> Communicator::async_status() {
    std::vector<LaunchPtr> pending;
    {
        const std::lock_guard lock(mutex_);
        if (state_ == CommState::ready) {
            pending = pending_;
        }
    }
    if (!pending.empty()) {
        launches_poke(pending);
        for (const LaunchPtr& launch : pending) {
            if (launch->finished() && launch->failure() != nullptr) {
                fail(*launch->failure(), true);
            }
        }
    }
    const std::lock_guard lock(mutex_);
    if (shrunk_ && !blocking() && !jobs_.empty()) {
        return make_error(Code::in_progress, Scope::call, "");
    }
    if (error_ && !shrunk_) {
        return earlier_failure_locked();
    }
    if (state_ == CommState::initialising || state_ == CommState::finalizing || busy_locked()) {
        return make_error(Code::in_progress, Scope::call, "");
    }
    return {};
}

// What has to happen, without the lock, when a communicator ends.
struct Communicator::Ending {
    Built built;
    std::function<void()> cancel;
    std::vector<std::shared_ptr<CommJob>> jobs;
    ControlGroup* group = nullptr;
    bool operations = false;
};

Communicator::Ending Communicator::end_locked(CommState state, const Error& cause) {
    Ending ending;
    if (!error_) {
        error_ = cause;
    }
    ending.operations = queue_ != nullptr;
    ending.built = std::move(built_);
    ending.cancel = std::move(cancel_);
    ending.group = group_.get();
    state_ = state;
    farewell_over_ = true;
    // A shrink outlives a failure: it is what one does about it.
    std::erase_if(jobs_, [&](const auto& job) {
        if (state == CommState::failed && job->outlives_failure()) {
            return false;
        }
        ending.jobs.push_back(job);
        return true;
    });
    return ending;
}

void Communicator::end_apply(const Ending& ending, const Error& cause) {
    if (ending.operations) {
        queue_->fail(cause);
        parts_.shard->fail(cause);
        device_stop();
    }
    if (ending.cancel) {
        ending.cancel();
    }
    for (const auto& job : ending.jobs) {
        job->end(cause);
    }
    jobs_begin();
    if (ending.built) {
        ending.built(cause);
    }
    changed_.notify_all();
}

bool Communicator::over_locked() const {
    return state_ == CommState::aborted || state_ == CommState::failed ||
           state_ == CommState::finalized;
}

// The line is there before the state is: who sees that it has failed may ask why at once.
void Communicator::fail(const Error& cause, bool announce) {
    {
        const std::lock_guard lock(mutex_);
        if (over_locked() || std::exchange(failing_, true)) {
            return;
        }
    }
    const std::string what = unnamed(cause.what);
    log_warn(format("%s: %s", name().c_str(), what.c_str()), cause.where);
    Ending ending;
    {
        const std::lock_guard lock(mutex_);
        if (over_locked()) {
            return;
        }
        ending = end_locked(CommState::failed, cause);
    }
    if (announce && ending.group != nullptr) {
        ending.group->announce(Notice::Kind::failed, what);
    }
    end_apply(ending, cause);
}

void Communicator::operation_failed(const Error& error) {
    if (error.scope != Scope::call) {
        fail(error, true);
        announcements_flush();
    }
}

// The caller may exit as soon as it hears of the failure; the peers should still learn its cause,
// not only that this process is gone. Twice, because the announcement itself may be posted by what
// the service thread is doing now.
void Communicator::announcements_flush() {
    Reactor& reactor = Process::get().reactor();
    if (reactor.on_thread()) {
        return;
    }
    for (int round = 0; round < 2; round++) {
        auto done = std::make_shared<std::promise<void>>();  // shared: the reactor may be late
        reactor.post([done] { done->set_value(); });
        done->get_future().wait_for(std::chrono::milliseconds(200));
    }
}

void Communicator::abort() {
    const Error cause = make_error(Code::aborted, Scope::communicator,
                                   format("%s was aborted by this process", name().c_str()));
    Ending ending;
    {
        const std::lock_guard lock(mutex_);
        const bool over = state_ == CommState::failed || state_ == CommState::finalized;
        ending = end_locked(CommState::aborted, cause);
        if (over) {
            ending.group = nullptr;  // the peers know
        }
    }
    if (ending.group != nullptr) {
        ending.group->announce(Notice::Kind::aborted, "ncclCommAbort was called");
    }
    end_apply(ending, cause);
    announcements_flush();
}

void Communicator::notice(const Notice& notice) {
    bool farewell = false;
    {
        const std::lock_guard lock(mutex_);
        farewell = farewell_begun_;
    }
    if (farewell) {
        farewell_end();
        return;
    }
    fail(make_error(Code::remote, Scope::peer, notice.text), false);
}

void Communicator::leave() {
    ControlGroup* group = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (!left_ && group_ != nullptr) {
            left_ = true;
            group = group_.get();
        }
    }
    if (group != nullptr) {
        group->leave();
    }
}

void Communicator::canceller_set(std::function<void()> cancel) {
    {
        const std::lock_guard lock(mutex_);
        if (state_ == CommState::initialising && group_ == nullptr) {
            cancel_ = std::move(cancel);
            return;
        }
    }
    // Joined, failed or aborted meanwhile. Cancelling what is done has no effect.
    if (state() != CommState::ready && group() == nullptr) {
        cancel();
    }
}

ControlGroup& Communicator::group_set(std::unique_ptr<ControlGroup> group) {
    const std::lock_guard lock(mutex_);
    cancel_ = nullptr;
    group_ = std::move(group);
    return *group_;
}

ControlGroup* Communicator::group() const {
    const std::lock_guard lock(mutex_);
    return group_.get();
}

void Communicator::ready(CommParts parts) {
    Built built;
    {
        const std::lock_guard lock(mutex_);
        // Kept also when it came too late, so that all parts die in one place.
        if (identity_.device < 0) {
            identity_.device = parts.device;
        }
        parts_ = std::move(parts);
        if (state_ != CommState::initialising) {
            return;
        }
        queue_ = std::make_unique<LaunchQueue>(*parts_.shard);
        state_ = CommState::ready;
        built = std::move(built_);
    }
    if (built) {
        built({});
    }
    changed_.notify_all();
}

Result<void> Communicator::built_wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state_ != CommState::initialising; });
    if (error_) {
        return make_error(error_->code, Scope::communicator, error_->what, error_->sys);
    }
    return {};
}

void Communicator::pending_add(LaunchPtr launch) {
    const std::lock_guard lock(mutex_);
    pending_.push_back(std::move(launch));
}

Result<void> Communicator::job_begin(std::shared_ptr<CommJob> job) {
    {
        const std::lock_guard lock(mutex_);
        if (state_ == CommState::aborted || group_ == nullptr || left_) {
            return make_error(Code::invalid_usage, Scope::call,
                              format("%s is over: nothing can be made of it", name().c_str()));
        }
        jobs_.push_back(std::move(job));
    }
    jobs_begin();
    return {};
}

// The first begins, if it has not yet.
void Communicator::jobs_begin() {
    std::shared_ptr<CommJob> first;
    {
        const std::lock_guard lock(mutex_);
        first = jobs_.empty() ? nullptr : jobs_.front();
    }
    if (first != nullptr) {
        first->begin();
    }
}

void Communicator::job_end(const CommJob* job, const Result<void>& result) {
    if (!result.ok() && !blocking()) {
        fail(result.error(), false);
    }
    {
        const std::lock_guard lock(mutex_);
        std::erase_if(jobs_, [&](const auto& one) { return one.get() == job; });
        if (!result.ok() && !blocking() && shrunk_) {
            shrunk_ = false;
            error_ = result.error();
        }
    }
    changed_.notify_all();
    jobs_begin();
}

uint32_t Communicator::shrink_count_next(uint64_t members_hash) {
    const std::lock_guard lock(mutex_);
    return shrink_counts_[members_hash]++;
}

void Communicator::operations_end() {
    const Error cause = make_error(Code::aborted, Scope::communicator,
                                   "operations ended by ncclCommShrink with NCCL_SHRINK_ABORT");
    {
        const std::lock_guard lock(mutex_);
        if (state_ != CommState::ready && state_ != CommState::failed) {
            return;
        }
        shrunk_ = true;
        pending_.clear();
        if (state_ == CommState::failed) {
            return;
        }
        state_ = CommState::failed;
        error_ = cause;
        farewell_over_ = true;
    }
    queue_->fail(cause);
    parts_.shard->fail(cause);
    device_stop();
    changed_.notify_all();
}

Result<void*> Communicator::buffer_register(void* base, size_t bytes) {
    const std::lock_guard lock(buffers_mutex_);
    buffers_.push_back(std::make_unique<Buffer>(base, bytes));
    return static_cast<void*>(buffers_.back().get());
}

Result<void> Communicator::buffer_deregister(void* handle) {
    const std::lock_guard lock(buffers_mutex_);
    const size_t count = std::erase_if(
        buffers_, [&](const std::unique_ptr<Buffer>& buffer) { return buffer.get() == handle; });
    if (count == 0) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("ncclCommDeregister : handle %p was not given by "
                                 "ncclCommRegister on this communicator",
                                 handle));
    }
    return {};
}

void Communicator::buffers_end() {
    const std::lock_guard lock(buffers_mutex_);
    buffers_.clear();
}

RankStats Communicator::stats() const {
    RankStats stats;
    stats.rank = rank();
    stats.comm = handle();
    const std::lock_guard lock(mutex_);
    if (parts_.shard != nullptr) {
        stats.counters = parts_.shard->counters();
        stats.counters.ops.copied_bytes +=
            parts_.streamed != nullptr ? parts_.streamed->copied_bytes() : 0;
        // Calls, not the parts that a relay makes of them.
        stats.counters.ops.late_reports += device_late_reports_.load(std::memory_order_relaxed);
        if (on_device()) {
            stats.counters.ops.ops = device_ops_.load(std::memory_order_relaxed);
        }
    }
    return stats;
}

}  // namespace weft
