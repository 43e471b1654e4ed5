#include "src/comm/comm_job.h"

#include <utility>

#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/process.h"

namespace weft {

CommJob::CommJob(Communicator& parent) : parent_(parent.weak_from_this()) {
}

void CommJob::begin() {
    {
        const std::lock_guard lock(mutex_);
        if (result_ || std::exchange(begun_, true)) {
            return;
        }
    }
    start();
}

void CommJob::deadline_set(const char* functions) {
    Reactor& reactor = Process::get().reactor();
    const int64_t limit_s = settings().init_timeout_s;
    reactor.at(reactor.now() + limit_s * nanos_per_s,
               [weak = weak_from_this(), limit_s, functions] {
                   if (const auto job = weak.lock()) {
                       job->finish(make_error(Code::timeout, Scope::call,
                                              format("not all members called %s within "
                                                     "WEFT_INIT_TIMEOUT=%lld s",
                                                     functions, static_cast<long long>(limit_s))));
                   }
               });
}

bool CommJob::over() {
    const std::lock_guard lock(mutex_);
    return result_.has_value();
}

bool CommJob::settle(const Result<void>& result) {
    {
        const std::lock_guard lock(mutex_);
        if (result_) {
            return false;
        }
        if (result.ok()) {
            deliver();
        }
        result_ = result;
    }
    changed_.notify_all();
    if (!result.ok()) {
        drop();
    }
    return true;
}

void CommJob::end(const Error& cause) {
    settle(cause);
}

void CommJob::finish(Result<void> result) {
    if (settle(result)) {
        if (const auto held = parent()) {
            held->job_end(this, result);
        }
    }
}

Result<void> CommJob::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return result_.has_value(); });
    return *result_;
}

}  // namespace weft
