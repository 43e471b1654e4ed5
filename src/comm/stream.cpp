#include "src/comm/stream.h"

#include "src/base/log.h"

namespace weft {

namespace {

Error unknown(const void* stream, const char* function) {
    return make_error(Code::invalid_argument, Scope::call,
                      format("%s : stream %p is not a host stream; this communicator works on host "
                             "memory: pass NULL or a stream from weftStreamCreate",
                             function, stream));
}

}  // namespace

void HostStream::prune() {
    while (!open_.empty() && open_.front()->finished()) {
        const Error* failure = open_.front()->failure();
        if (failure != nullptr && !error_) {
            error_ = *failure;
        }
        open_.pop_front();
    }
}

Result<void> HostStream::report() {
    if (!error_) {
        return {};
    }
    Error error = std::move(*error_);
    error_.reset();
    return error;
}

std::vector<LaunchPtr> HostStream::tail() {
    const std::lock_guard lock(mutex_);
    return tail_;
}

void HostStream::add(const std::vector<LaunchPtr>& launches) {
    const std::lock_guard lock(mutex_);
    prune();
    open_.insert(open_.end(), launches.begin(), launches.end());
    tail_ = launches;
}

Result<void> HostStream::synchronize() {
    std::vector<LaunchPtr> waited;
    {
        const std::lock_guard lock(mutex_);
        waited.assign(open_.begin(), open_.end());
    }
    // Errors are collected by prune(), which keeps the first one in order.
    (void)launches_wait(waited);
    const std::lock_guard lock(mutex_);
    prune();
    return report();
}

Result<void> HostStream::query() {
    std::vector<LaunchPtr> open;
    {
        const std::lock_guard lock(mutex_);
        prune();
        open.assign(open_.begin(), open_.end());
    }
    if (!launches_poke(open)) {
        return make_error(Code::in_progress, Scope::call, "");
    }
    const std::lock_guard lock(mutex_);
    prune();
    return report();
}

void* StreamTable::create() {
    auto stream = std::make_shared<HostStream>();
    void* key = stream.get();
    const std::lock_guard lock(mutex_);
    streams_.emplace(key, std::move(stream));
    return key;
}

Result<StreamPtr> StreamTable::find(const void* stream, const char* function) const {
    const std::lock_guard lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) {
        return unknown(stream, function);
    }
    return found->second;
}

Result<StreamPtr> StreamTable::take(const void* stream, const char* function) {
    const std::lock_guard lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) {
        return unknown(stream, function);
    }
    StreamPtr taken = std::move(found->second);
    streams_.erase(found);
    return taken;
}

Result<StreamPtr> StreamTable::for_call(const void* stream, const char* function) const {
    constexpr uintptr_t per_thread_default = 2;  // cudaStreamPerThread; 1 is cudaStreamLegacy
    if (reinterpret_cast<uintptr_t>(stream) <= per_thread_default) {
        return StreamPtr();
    }
    return find(stream, function);
}

}  // namespace weft
