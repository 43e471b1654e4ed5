// Streams, events and graphs of the stand-in driver. A stream is a thread that does what it is
// given in order; the null stream is one more, which waits for all blocking streams and they for
// it. Streams may share hardware queues: then a stream's work waits until all that was given to its
// queue before has ended. A capturing stream records instead. Thread-safe. What was given to a
// stream is done before it is destroyed.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "src/gpu/driver_types.h"

namespace weft::gpu {

using Work = std::function<void()>;

// What programs are told and the library never asks for: work of the null stream while a blocking
// stream is captured, a question about an event that was recorded into a graph.
inline constexpr Status status_capture_implicit = 906;
inline constexpr Status status_captured_event = 907;

// How often an event was recorded, and which of these records its streams have reached: who waits,
// waits for one record, whatever was recorded since.
class EventState {
  public:
    uint64_t record();
    void reach(uint64_t record);
    bool reached();
    void await(uint64_t record);
    uint64_t last();

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool has(uint64_t record) const { return record <= all_ || reached_.contains(record); }
    uint64_t recorded_ = 0, all_ = 0;  // this and all before are reached
    std::set<uint64_t> reached_;       // of those after
};
using EventPtr = std::shared_ptr<EventState>;  // shared: also held by what waits for it

// What a capture recorded: a branch for each stream, events between them.
struct GraphOpaque {
    struct Node {
        Work work;       // empty: an event
        EventPtr event;  // recorded or awaited
        uint64_t record = 0;
        bool awaits = false;
    };
    uint64_t id = 0;
    int mode = 0;
    Stream origin = nullptr;
    std::thread::id thread;  // that began it
    bool valid = true;
    std::map<Stream, std::vector<Node>> branches;
    std::vector<Stream> unjoined;  // streams whose end nobody has awaited
    std::vector<std::pair<HostCall, void*>> held;

    void run() const;  // once, all branches at the same time
    void end();        // lets go of what it holds, on a thread of its own
};

struct EventOpaque {
    EventPtr state = std::make_shared<EventState>();
    uint64_t record = 0;  // the last one
    uint64_t graph_id = 0;
    Graph graph = nullptr;    // which it was recorded into
    Stream stream = nullptr;  // likewise
};

struct StreamOpaque {
    StreamOpaque(Context of, bool is_blocking);
    ~StreamOpaque();
    StreamOpaque(const StreamOpaque&) = delete;
    StreamOpaque& operator=(const StreamOpaque&) = delete;
    void give(Work work);  // now, whatever is captured
    bool idle();
    void wait_idle();
    const Context context;
    const bool blocking;
    Graph graph = nullptr;  // capturing

  private:
    struct Item {
        Work work;
        uint64_t ticket;
    };
    void run();
    const unsigned number_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Item> queue_;  // the front is under way
    bool ending_ = false;
    std::thread thread_;  // from the first work on
};

// The stream of a handle: the null stream and its other names are one.
StreamOpaque& stream_of(Stream stream);

// Work for a stream, or for the graph it is captured into.
Status stream_give(Stream stream, Work work);
Status event_record(Event event, Stream stream);
Status event_wait(Stream stream, Event event);

// Of the null stream: nor has any blocking stream anything to do.
bool stream_idle(Stream stream);
void stream_wait_idle(Stream stream);

// All streams there are have nothing to do.
void device_wait_idle();
bool device_idle();

// A call that may wait for the device, and does if `waits`: allowed now? What it does to captures
// follows.
Status unsafe_call(bool waits = true);
// A question about a stream, which a capture forbids for its own.
Status stream_question(Stream stream);

// A question about an event, which none that was recorded into a graph answers.
Status event_question(Event event);
// Numbers tell a capture from a later one at the same address.
bool capture_under_way(Graph graph, uint64_t id);

Status capture_begin(Stream stream, int mode);
Graph capture_end(Stream stream);
Status graph_launch(Graph graph, Stream stream);
void graph_destroy(Graph graph);
Status capture_info(Stream stream, int* state, uint64_t* id, Graph* graph);
// The calling thread's mode, exchanged.
Status capture_mode_exchange(int* mode);

}  // namespace weft::gpu
