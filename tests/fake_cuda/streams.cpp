#include "tests/fake_cuda/streams.h"

#include <algorithm>
#include <random>

#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/hostile.h"

namespace weft::gpu {

namespace {

// In the order in which work was given to them.
struct HardwareQueue {
    std::mutex mutex;
    std::condition_variable changed;
    uint64_t given = 0, ended = 0;
};
constexpr unsigned queue_max = 64;
HardwareQueue queues[queue_max];

// Never destroyed: the library may let go of a device while the process ends.
std::mutex& streams_mutex = *new std::mutex;
std::vector<StreamOpaque*>& streams = *new std::vector<StreamOpaque*>;
std::atomic<unsigned> stream_count{0};

HardwareQueue* queue_of(unsigned stream) {
    const unsigned count = std::min(fake_cuda_control.queues.load(), queue_max);
    return count == 0 ? nullptr : &queues[stream % count];
}

void come_late() {
    static thread_local std::minstd_rand random(fake_cuda_control.late +
                                                stream_count.load(std::memory_order_relaxed));
    if (fake_cuda_control.late != 0) {
        for (unsigned turns = random() % 64; turns > 0; --turns) {
            std::this_thread::yield();
        }
    }
}

}  // namespace

uint64_t EventState::record() {
    const std::lock_guard lock(mutex_);
    return ++recorded_;
}

void EventState::reach(uint64_t record) {
    const std::lock_guard lock(mutex_);
    reached_.insert(record);
    while (reached_.erase(all_ + 1) != 0) {
        all_++;
    }
    changed_.notify_all();
}

bool EventState::reached() {
    const std::lock_guard lock(mutex_);
    return has(recorded_);
}

void EventState::await(uint64_t record) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return has(record); });
}

uint64_t EventState::last() {
    const std::lock_guard lock(mutex_);
    return recorded_;
}

StreamOpaque::StreamOpaque(Context of, bool is_blocking)
    : context(of), blocking(is_blocking), number_(stream_count.fetch_add(1)) {
    const std::lock_guard lock(streams_mutex);
    streams.push_back(this);
}

StreamOpaque::~StreamOpaque() {
    {
        const std::lock_guard lock(streams_mutex);
        std::erase(streams, this);
    }
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void StreamOpaque::give(Work work) {
    std::unique_lock lock(mutex_);
    if (!thread_.joinable()) {
        thread_ = std::thread([this] { run(); });
    }
    if (const unsigned room = fake_cuda_control.stream_room; room != 0) {
        changed_.wait(lock, [&] { return queue_.size() < room; });
    }
    uint64_t ticket = 0;
    if (HardwareQueue* const queue = queue_of(number_)) {
        const std::lock_guard inner(queue->mutex);
        ticket = ++queue->given;
    }
    queue_.push_back({std::move(work), ticket});
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
        const Item& item = queue_.front();
        lock.unlock();
        come_late();
        HardwareQueue* const queue = item.ticket != 0 ? queue_of(number_) : nullptr;
        if (queue != nullptr) {
            const auto at_head = [&] { return queue->ended + 1 >= item.ticket; };
            std::unique_lock inner(queue->mutex);
            if (!at_head()) {
                const Held held(fake_cuda_hostile.streams_held);
                queue->changed.wait(inner, at_head);
            }
        }
        item.work();
        if (queue != nullptr) {
            const std::lock_guard inner(queue->mutex);
            queue->ended = item.ticket;
            queue->changed.notify_all();
        }
        lock.lock();
        queue_.pop_front();
        changed_.notify_all();
    }
}

StreamOpaque& stream_of(Stream stream) {
    // Made once and never ended, as the real one. 1 and 2 are names of default streams.
    static auto* const null_stream = new StreamOpaque(nullptr, true);
    return reinterpret_cast<uintptr_t>(stream) > 2 ? *stream : *null_stream;
}

namespace {

void legacy_await(EventState& event) {
    const Held held(fake_cuda_hostile.legacy_held);
    event.await(1);
}

// The null stream's work comes after all that blocking streams were given, and before what they
// are given next.
void legacy_give(StreamOpaque& null_stream, Work work) {
    // Held throughout: none of them may end meanwhile, and no other call come between.
    const std::lock_guard lock(streams_mutex);
    std::vector<StreamOpaque*> others;
    std::ranges::copy_if(streams, std::back_inserter(others), [&](const StreamOpaque* one) {
        return one != &null_stream && one->blocking;
    });
    for (StreamOpaque* other : others) {
        auto before = std::make_shared<EventState>();
        before->record();
        other->give([before] { before->reach(1); });
        null_stream.give([before] { legacy_await(*before); });
    }
    null_stream.give(std::move(work));
    auto after = std::make_shared<EventState>();
    after->record();
    null_stream.give([after] { after->reach(1); });
    for (StreamOpaque* other : others) {
        other->give([after] { legacy_await(*after); });
    }
}

// Not captured.
void give_now(StreamOpaque& own, Work work) {
    if (&own == &stream_of(nullptr)) {
        legacy_give(own, std::move(work));
    } else {
        own.give(std::move(work));
    }
}

// The null stream waits for blocking streams, which is nothing that a capture of one can hold.
Status legacy_legal(const StreamOpaque& own) {
    if (&own != &stream_of(nullptr)) {
        return status::success;
    }
    const std::lock_guard lock(streams_mutex);
    Status legal = status::success;
    for (StreamOpaque* const one : streams) {
        if (one->blocking && one->graph != nullptr) {
            one->graph->valid = false;
            legal = status_capture_implicit;
        }
    }
    return legal;
}

}  // namespace

Status stream_give(Stream stream, Work work) {
    StreamOpaque& own = stream_of(stream);
    if (own.graph != nullptr) {
        own.graph->branches[&own].push_back({std::move(work), nullptr, 0, false});
        return status::success;
    }
    const Status legal = legacy_legal(own);
    if (legal == status::success) {
        give_now(own, std::move(work));
    }
    return legal;
}

bool stream_idle(Stream stream) {
    StreamOpaque& own = stream_of(stream);
    if (&own != &stream_of(nullptr)) {
        return own.idle();
    }
    const std::lock_guard lock(streams_mutex);
    return std::ranges::all_of(streams,
                               [](StreamOpaque* one) { return !one->blocking || one->idle(); });
}

void stream_wait_idle(Stream stream) {
    StreamOpaque& own = stream_of(stream);
    if (&own == &stream_of(nullptr)) {
        legacy_give(own, [] {});
    }
    own.wait_idle();
}

Status event_record(Event event, Stream stream) {
    StreamOpaque& own = stream_of(stream);
    if (own.graph == nullptr) {
        const Status legal = legacy_legal(own);
        if (legal != status::success) {
            return legal;
        }
    }
    event->record = event->state->record();
    event->graph = own.graph;
    event->graph_id = own.graph != nullptr ? own.graph->id : 0;
    event->stream = &own;
    if (own.graph != nullptr) {
        own.graph->branches[&own].push_back({nullptr, event->state, event->record, false});
    } else {
        give_now(own, [state = event->state, record = event->record] { state->reach(record); });
    }
    return status::success;
}

Status event_wait(Stream stream, Event event) {
    StreamOpaque& own = stream_of(stream);
    if (own.graph == nullptr && event->graph == nullptr) {
        const Status legal = legacy_legal(own);
        if (legal == status::success) {
            give_now(own, [state = event->state, record = event->record] { state->await(record); });
        }
        return legal;
    }
    if (event->graph != nullptr && !capture_under_way(event->graph, event->graph_id)) {
        return status_captured_event;
    }
    if (own.graph == nullptr) {
        own.graph = event->graph;  // it joins the capture
        own.graph->unjoined.push_back(&own);
    }
    if (own.graph != event->graph) {
        own.graph->valid = false;
        return status::stream_capture_isolation;
    }
    if (&own == own.graph->origin) {
        std::erase(own.graph->unjoined, event->stream);
    }
    own.graph->branches[&own].push_back({nullptr, event->state, event->record, true});
    return status::success;
}

bool device_idle() {
    const std::lock_guard lock(streams_mutex);
    return std::ranges::all_of(streams, [](StreamOpaque* one) { return one->idle(); });
}

void device_wait_idle() {
    while (!device_idle()) {
        std::this_thread::yield();
    }
}

}  // namespace weft::gpu
