#include "tools/net_check/worker.h"

namespace weft::netcheck {

Worker::Worker() : thread_([this] { loop(); }) {
}

Worker::~Worker() {
    {
        const std::lock_guard lock(mutex_);
        end_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Worker::start(Work work) {
    {
        const std::lock_guard lock(mutex_);
        ASSERT(!busy_);
        work_ = std::move(work);
        busy_ = true;
    }
    changed_.notify_all();
}

Result<void> Worker::finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !busy_; });
    return std::move(result_);
}

Result<void> Worker::run(Work work) {
    start(std::move(work));
    return finish();
}

void Worker::loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return busy_ || end_; });
        if (!busy_) {
            return;
        }
        const Work work = std::move(work_);
        lock.unlock();
        Result<void> result = work();
        lock.lock();
        result_ = std::move(result);
        busy_ = false;
        changed_.notify_all();
    }
}

}  // namespace weft::netcheck
