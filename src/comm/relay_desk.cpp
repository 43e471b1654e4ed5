#include "src/comm/relay_desk.h"

#include <algorithm>
#include <utility>

namespace weft {

RelayDesk::RelayDesk(std::shared_ptr<gpu::Seat> seat, uint32_t places, std::function<void()> wake)
    : seat_(std::move(seat)), places_(places), wake_(std::move(wake)) {
    ASSERT(places > 0 && places <= places_max);
}

void RelayDesk::words_are(Words* words, gpu::Address device) {
    words_ = words;
    device_words_ = device;
}

// ---- launches

uint32_t RelayDesk::put(Asked asked) {
    const std::lock_guard lock(state_mutex_);
    do {
        number_++;
    } while (number_ == 0 || asked_.contains(number_));
    plain_ += asked.graph == 0 ? 1 : 0;
    asked_[number_] = std::move(asked);
    return number_;
}

void RelayDesk::take_back(uint32_t number) {
    const std::lock_guard lock(state_mutex_);
    const auto found = asked_.find(number);
    plain_ -= found->second.graph == 0 ? 1 : 0;
    asked_.erase(found);
}

Result<uint32_t> RelayDesk::ask(std::vector<Call> calls, uint64_t graph, gpu::Stream stream) {
    if (graph != 0 && !launched_) {
        TRY(ring_add(stream));
    }
    const uint32_t number = put({std::move(calls), place_, false, graph});
    if (graph == 0) {
        wake_();
    }
    const gpu::Driver& cuda = seat_->driver();
    const gpu::Address word = device_words_ + offsetof(Words, asked) + place_ * sizeof(DeviceWord);
    const Result<void> written = gpu::driver_check(
        cuda, cuda.cuStreamWriteValue32(stream, word, number, 0), "cuStreamWriteValue32");
    if (!written.ok()) {
        take_back(number);
        return written.error();
    }
    launched_ = number;
    return std::exchange(place_, (place_ + 1) % places_);
}

Result<void> RelayDesk::await(uint32_t place, gpu::Stream stream) {
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(
        cuda, cuda.cuStreamWaitValue32(stream, done_at(place), 1, gpu::wait_value_flag::equal),
        "cuStreamWaitValue32");
}

gpu::Address RelayDesk::done_at(uint32_t place) const {
    return device_words_ + offsetof(Words, done) + place * sizeof(DeviceWord);
}

// What is not there any more the thread has taken. Launches are one order, so no later ask is there
// either, and what it looks for next is the next launch's first.
void RelayDesk::launch_over() {
    place_ = 0;
    const std::optional<uint32_t> last = std::exchange(launched_, std::nullopt);
    if (!last) {
        return;
    }
    const std::lock_guard lock(state_mutex_);
    const auto found = asked_.find(*last);
    if (found != asked_.end()) {
        found->second.last = true;
    } else {
        next_place_ = 0;
    }
}

void RelayDesk::graph_over(uint64_t graph) {
    const std::lock_guard lock(state_mutex_);
    std::erase_if(asked_, [graph](const auto& one) { return one.second.graph == graph; });
}

Result<void> RelayDesk::ring_add(gpu::Stream stream) {
    const auto ring_call = [](void* desk) { static_cast<RelayDesk*>(desk)->ring(); };
    const gpu::Driver& cuda = seat_->driver();
    return gpu::driver_check(cuda, cuda.cuLaunchHostFunc(stream, ring_call, this),
                             "cuLaunchHostFunc");
}

void RelayDesk::ring() {
    {
        const std::lock_guard lock(state_mutex_);
        rung_++;
    }
    wake_();
}

// ---- the thread

void RelayDesk::serve(Shard& shard, std::function<bool()> stopped,
                      std::function<void(const Error&)> failed) {
    shard_ = &shard;
    stopped_ = std::move(stopped);
    failed_ = std::move(failed);
}

// With a core for every rank.
int RelayDesk::spins(const Shard& shard) {
    return shard.config().cores_enough ? 2000 : 0;
}

void RelayDesk::leave() {
    const std::lock_guard lock(shard_mutex_);
    shard_ = nullptr;
}

bool RelayDesk::expects() const {
    const std::lock_guard lock(state_mutex_);
    return plain_ != 0 || rung_ != served_;
}

void RelayDesk::let_go() {
    for (uint32_t place = 0; place < places_; place++) {
        word_store(words_->done[place], 1);
    }
}

// What the stream asks for next, if it does. A kernel may have stopped the launch just before, and
// then what it should have filled is not there, although the stream went on.
std::optional<RelayDesk::Asked> RelayDesk::take() {
    const std::lock_guard lock(state_mutex_);
    DeviceWord& word = words_->asked[next_place_];
    const auto number = static_cast<uint32_t>(word_load(word));
    if (number == 0 || stopped_()) {
        return {};
    }
    word_store(word, 0);
    const auto found = asked_.find(number);
    if (found == asked_.end()) {
        return {};  // a graph that has ended
    }
    Asked asked = found->second;
    if (asked.graph == 0) {
        asked_.erase(found);
    }
    next_place_ = asked.last ? 0 : (next_place_ + 1) % places_;
    return asked;
}

Result<bool> RelayDesk::submit() {
    std::optional<Asked> asked = take();
    if (!asked) {
        return false;
    }
    const bool plain = asked->graph == 0;
    // What is asked for has memory of its own, so messages need not wait for those before.
    const bool apart = std::ranges::all_of(
        asked->calls, [](const Call& call) { return call.coll == Coll::send_recv; });
    TicketPtr ticket = TRY(shard_->submit(std::move(asked->calls), apart));
    serving_.push_back({asked->place, plain, !plain && asked->last, std::move(ticket)});
    return true;
}

Result<bool> RelayDesk::settle() {
    bool moved = false;
    while (!serving_.empty() && serving_.front().ticket->state() != Ticket::State::pending) {
        const Served& first = serving_.front();
        if (first.ticket->state() == Ticket::State::failed) {
            return first.ticket->error();
        }
        word_store(words_->done[first.place], 1);
        {
            const std::lock_guard lock(state_mutex_);
            plain_ -= first.plain ? 1 : 0;
            served_ += first.last_rung ? 1 : 0;
        }
        serving_.pop_front();
        moved = true;
    }
    return moved;
}

Result<bool> RelayDesk::serve_round() {
    const std::lock_guard lock(shard_mutex_);
    if (stopped_() || shard_ == nullptr) {
        serving_.clear();
        let_go();
        return false;
    }
    bool moved = TRY(submit());
    if (!serving_.empty()) {
        moved = shard_->poke() || moved;
    }
    const bool settled = TRY(settle());
    return moved || settled;
}

bool RelayDesk::round() {
    const Result<bool> moved = serve_round();
    serves_ = !serving_.empty();
    if (!moved.ok()) {
        failed_(moved.error());
    }
    return moved.ok() && moved.value();
}

}  // namespace weft
