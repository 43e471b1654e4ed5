#include "tests/fake_cuda/streams.h"

#include <algorithm>

namespace weft::gpu {

StreamOpaque::StreamOpaque(Context of) : context(of), thread_([this] { run(); }) {
}

StreamOpaque::~StreamOpaque() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void StreamOpaque::give(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    changed_.notify_all();
}

bool StreamOpaque::idle() {
    const std::lock_guard lock(mutex_);
    return queue_.empty();
}

void StreamOpaque::wait_idle() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return queue_.empty(); });
}

void StreamOpaque::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
        if (queue_.empty()) {
            return;
        }
        // References to a deque's elements outlast pushes at its end.
        const std::function<void()>& work = queue_.front();
        lock.unlock();
        work();
        lock.lock();
        queue_.pop_front();
        changed_.notify_all();
    }
}

std::shared_ptr<EventState> EventState::create() {
    auto state = std::make_shared<EventState>();
    state->self_ = state;
    return state;
}

void EventState::record(StreamOpaque& stream) {
    const std::lock_guard lock(mutex_);
    const uint64_t record = ++recorded_;
    stream.give([state = self_.lock(), record] {
        const std::lock_guard inner(state->mutex_);
        state->reached_ = std::max(state->reached_, record);
        state->changed_.notify_all();
    });
}

void EventState::wait_in(StreamOpaque& stream) {
    const std::lock_guard lock(mutex_);
    stream.give([state = self_.lock(), record = recorded_] { wait_for(state, record); });
}

bool EventState::reached() {
    const std::lock_guard lock(mutex_);
    return reached_ >= recorded_;
}

void EventState::wait_reached() {
    uint64_t record = 0;
    {
        const std::lock_guard lock(mutex_);
        record = recorded_;
    }
    wait_for(self_.lock(), record);
}

void EventState::wait_for(const std::shared_ptr<EventState>& state, uint64_t record) {
    std::unique_lock lock(state->mutex_);
    state->changed_.wait(lock, [&] { return state->reached_ >= record; });
}

}  // namespace weft::gpu
