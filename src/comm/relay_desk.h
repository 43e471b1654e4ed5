// Where streams ask for calls to be run by the host engine, and the thread that has them run: words
// in memory that host and device share, what was asked for, by number, and what is being served.
//
// A place goes round like this: the stream stores the number of what it asks for in `asked`; the
// thread reads and clears it, runs the calls, stores 1 to `done`; the stream waits for that, and a
// kernel of the side clears it. A launch asks at the places in turn, from the first on. Which ask
// was a launch's last, the launch says when it is over, for then it knows; the thread may have
// taken that by then. What a graph asks for is kept as long as the graph, whose launches ring
// first.
//
// Thread rule: launches under the side's mutex, with the context current; round() on the side's
// thread; serve() once, before; the rest from any thread. Lifetime: its side's, which outlives
// whatever streams or graphs ask; after leave() the shard is not used. Failure rule: Result; what
// fails on the thread goes to `failed`, given to serve().
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "src/comm/device_streamed.h"

namespace weft {

class RelayDesk {
  public:
    static constexpr uint32_t places_max = 16;
    struct Words {
        DeviceWord asked[places_max], done[places_max];
    };

    // `wake`: of the side's thread, which may sleep while expects() is false.
    RelayDesk(std::shared_ptr<gpu::Seat> seat, uint32_t places, std::function<void()> wake);
    // Pinned, of the side; and as the device reaches them.
    void words_are(Words* words, gpu::Address device);

    // --- launches
    // The place at which these calls, of absolute addresses, are asked for. `graph`: 0 for none.
    Result<uint32_t> ask(std::vector<Call> calls, uint64_t graph, gpu::Stream stream);
    // Until what was asked for there is done; then the word must be cleared.
    Result<void> await(uint32_t place, gpu::Stream stream);
    gpu::Address done_at(uint32_t place) const;
    // It asks for nothing more: the next one begins at the first place.
    void launch_over();
    // Nothing of the graph can come any more.
    void graph_over(uint64_t graph);

    // --- the thread
    // `stopped`: of the side, asked while the desk's own locks are held; `failed`: the side is to
    // stop itself, too.
    void serve(Shard& shard, std::function<bool()> stopped,
               std::function<void(const Error&)> failed);
    // Takes what is asked for, drives the shard, tells what is done: whether something happened.
    // Stopped, it only lets streams go.
    bool round();
    // Something is asked for, or may be at any time.
    bool expects() const;
    // The host engine has something to do, and says what that waits for.
    bool serves() const { return serves_; }
    // Whoever waits goes on.
    void let_go();
    // The side is stopped.
    void leave();
    // Looks for something to do before the thread yields.
    static int spins(const Shard& shard);

  private:
    struct Asked {
        std::vector<Call> calls;
        uint32_t place = 0;
        bool last = false;  // of its launch
        uint64_t graph = 0;
    };
    struct Served {
        uint32_t place = 0;
        bool plain = false;      // not of a graph
        bool last_rung = false;  // the last of a launch that rang
        TicketPtr ticket;
    };

    // A graph begins one of its launches.
    void ring();
    Result<void> ring_add(gpu::Stream stream);
    uint32_t put(Asked asked);
    void take_back(uint32_t number);
    std::optional<Asked> take();
    Result<bool> serve_round();
    Result<bool> submit();
    Result<bool> settle();

    const std::shared_ptr<gpu::Seat> seat_;  // shared: by the communicators of the device
    const uint32_t places_;
    const std::function<void()> wake_;
    Words* words_ = nullptr;  // the side's
    gpu::Address device_words_ = 0;

    // Of launches.
    uint32_t place_ = 0;                // of the next ask
    std::optional<uint32_t> launched_;  // number of the launch's latest ask

    mutable std::mutex state_mutex_;
    // Under it.
    std::map<uint32_t, Asked> asked_;  // by number
    uint32_t number_ = 0;
    uint32_t next_place_ = 0;         // where the thread looks
    uint64_t plain_ = 0;              // asked for outside graphs, not yet done
    uint64_t rung_ = 0, served_ = 0;  // launches of graphs: begun, done to the last

    std::mutex shard_mutex_;  // held while the shard is used
    Shard* shard_ = nullptr;
    std::function<bool()> stopped_;
    std::function<void(const Error&)> failed_;
    std::deque<Served> serving_;  // of the thread
    std::atomic<bool> serves_{false};
};

}  // namespace weft
