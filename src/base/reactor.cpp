#include "src/base/reactor.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "src/base/handle.h"
#include "src/base/log.h"
#include "src/base/result.h"
#include "src/base/thread.h"

namespace weft {

namespace {

// Ids of the loop's own two descriptors; callers' ids start above.
constexpr uint64_t wake_id = 1;
constexpr uint64_t timer_id = 2;

class EpollReactor final : public Reactor {
  public:
    EpollReactor();
    ~EpollReactor() override;
    EpollReactor(const EpollReactor&) = delete;
    EpollReactor& operator=(const EpollReactor&) = delete;

    Id add(int fd, uint32_t events, std::function<void(uint32_t)> callback) override;
    void modify(Id id, uint32_t events) override;
    void remove(Id id) override;
    Id at(Nanos when, std::function<void()> callback) override;
    void cancel(Id timer) override;
    void post(std::function<void()> callback) override;
    bool on_thread() const override { return std::this_thread::get_id() == thread_id_; }
    Nanos now() const override { return clock_now(); }

  private:
    struct Watch {
        int fd = -1;
        // Shared: a callback that removes its own watch must outlive the removal.
        std::shared_ptr<std::function<void(uint32_t)>> callback;
    };
    struct Timer {
        Id id = 0;
        std::function<void()> callback;
    };
    using Timers = std::multimap<Nanos, Timer>;
    using Lock = std::unique_lock<std::mutex>;

    void loop();
    void run_timers(Lock& lock);
    void run_posted(Lock& lock);
    void run_watches(Lock& lock, const epoll_event* events, int count);
    void call(Lock& lock, Id id, const std::function<void()>& callback);
    void wait_idle(Lock& lock, Id id);
    void wake();
    void timer_arm();

    Fd epoll_;
    Fd wake_;
    Fd timer_;
    std::mutex mutex_;
    std::condition_variable called_;  // a callback returned
    std::unordered_map<Id, Watch> watches_;
    Timers timers_;
    std::unordered_map<Id, Timers::iterator> timer_by_id_;
    std::deque<std::function<void()>> posted_;
    Id next_id_ = timer_id + 1;
    Id running_ = 0;   // whose callback runs now
    Nanos armed_ = 0;  // what the timer descriptor is set to, 0 for nothing
    bool stop_ = false;
    bool wake_sent_ = false;
    std::thread::id thread_id_;
    std::thread thread_;
};

void drain(int fd) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd, &count, sizeof count);
}

EpollReactor::EpollReactor()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
    ASSERT(epoll_ && wake_ && timer_);
    epoll_event event{EPOLLIN, {.u64 = wake_id}};
    ASSERT(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
    event.data.u64 = timer_id;
    ASSERT(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), &event) == 0);
    const Lock lock(mutex_);  // the thread starts after its id is known
    thread_ = thread_start("weft-service", [this] { loop(); });
    thread_id_ = thread_.get_id();
}

EpollReactor::~EpollReactor() {
    ASSERT(!on_thread());
    {
        const Lock lock(mutex_);
        stop_ = true;
        wake();
    }
    thread_.join();
}

void EpollReactor::wake() {
    if (!on_thread() && !wake_sent_) {
        wake_sent_ = true;
        const uint64_t one = 1;
        [[maybe_unused]] const ssize_t done = write(wake_.get(), &one, sizeof one);
    }
}

Reactor::Id EpollReactor::add(int fd, uint32_t events, std::function<void(uint32_t)> callback) {
    const Lock lock(mutex_);
    const Id id = next_id_++;
    epoll_event event{events, {.u64 = id}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        log_warn(format("cannot watch descriptor %d: %s", fd, strerror(errno)));
        return 0;
    }
    watches_[id] = {fd, std::make_shared<std::function<void(uint32_t)>>(std::move(callback))};
    return id;
}

void EpollReactor::modify(Id id, uint32_t events) {
    const Lock lock(mutex_);
    const auto at = watches_.find(id);
    if (at != watches_.end()) {
        epoll_event event{events, {.u64 = id}};
        ASSERT(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, at->second.fd, &event) == 0);
    }
}

void EpollReactor::remove(Id id) {
    Lock lock(mutex_);
    const auto at = watches_.find(id);
    if (at != watches_.end()) {
        epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, at->second.fd, nullptr);
        watches_.erase(at);
    }
    wait_idle(lock, id);
}

Reactor::Id EpollReactor::at(Nanos when, std::function<void()> callback) {
    const Lock lock(mutex_);
    const Id id = next_id_++;
    timer_by_id_[id] = timers_.emplace(when, Timer{id, std::move(callback)});
    timer_arm();
    return id;
}

void EpollReactor::cancel(Id timer) {
    Lock lock(mutex_);
    const auto at = timer_by_id_.find(timer);
    if (at != timer_by_id_.end()) {
        timers_.erase(at->second);
        timer_by_id_.erase(at);
        timer_arm();
    }
    wait_idle(lock, timer);
}

void EpollReactor::post(std::function<void()> callback) {
    const Lock lock(mutex_);
    posted_.push_back(std::move(callback));
    wake();
}

void EpollReactor::wait_idle(Lock& lock, Id id) {
    if (id != 0 && !on_thread()) {
        called_.wait(lock, [&] { return running_ != id; });
    }
}

void EpollReactor::timer_arm() {
    const Nanos first = timers_.empty() ? 0 : std::max<Nanos>(timers_.begin()->first, 1);
    if (first == armed_) {
        return;
    }
    armed_ = first;
    itimerspec spec{};
    spec.it_value.tv_sec = first / nanos_per_s;
    spec.it_value.tv_nsec = first % nanos_per_s;
    ASSERT(timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
}

void EpollReactor::call(Lock& lock, Id id, const std::function<void()>& callback) {
    running_ = id;
    lock.unlock();
    callback();
    lock.lock();
    running_ = 0;
    called_.notify_all();
}

void EpollReactor::run_timers(Lock& lock) {
    const Nanos due = clock_now();
    while (!stop_ && !timers_.empty() && timers_.begin()->first <= due) {
        auto node = timers_.extract(timers_.begin());
        timer_by_id_.erase(node.mapped().id);
        call(lock, node.mapped().id, node.mapped().callback);
    }
    timer_arm();
}

void EpollReactor::run_posted(Lock& lock) {
    // Only what is there now: a function that posts itself again must not starve descriptors.
    for (size_t left = posted_.size(); left > 0 && !stop_; --left) {
        const std::function<void()> next = std::move(posted_.front());
        posted_.pop_front();
        call(lock, 0, next);
    }
}

void EpollReactor::run_watches(Lock& lock, const epoll_event* events, int count) {
    for (int i = 0; i < count && !stop_; ++i) {
        const Id id = events[i].data.u64;
        if (id == wake_id) {
            drain(wake_.get());
            wake_sent_ = false;
        } else if (id == timer_id) {
            drain(timer_.get());
            armed_ = 0;
        } else if (const auto at = watches_.find(id); at != watches_.end()) {
            const auto callback = at->second.callback;
            call(lock, id, [&] { (*callback)(events[i].events); });
        }
    }
}

void EpollReactor::loop() {
    Lock lock(mutex_);
    std::array<epoll_event, 64> events;
    while (!stop_) {
        run_timers(lock);
        run_posted(lock);
        const int timeout = posted_.empty() && !stop_ ? -1 : 0;
        lock.unlock();
        const int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout);
        lock.lock();
        ASSERT(count >= 0 || errno == EINTR);
        run_watches(lock, events.data(), std::max(count, 0));
    }
}

}  // namespace

std::unique_ptr<Reactor> reactor_make() {
    return std::make_unique<EpollReactor>();
}

}  // namespace weft
