// Capture and replay. A graph keeps the branches its streams made, and a replay runs them at the
// same time, with the waits between them that were captured.
#include <algorithm>
#include <atomic>

#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/hostile.h"
#include "tests/fake_cuda/streams.h"

namespace weft::gpu {

namespace {

std::mutex& captures_mutex = *new std::mutex;            // never destroyed, see streams.cpp
std::vector<Graph>& captures = *new std::vector<Graph>;  // under way
std::atomic<uint64_t> graph_count{0};
thread_local int thread_mode = capture_mode::global;

// Whether a call of this thread that may wait for the device spoils that capture.
bool spoils(const GraphOpaque& graph) {
    if (thread_mode == capture_mode::relaxed || graph.mode == capture_mode::relaxed) {
        return false;
    }
    const bool own = graph.thread == std::this_thread::get_id();
    return own || (graph.mode == capture_mode::global && thread_mode == capture_mode::global);
}

}  // namespace

void GraphOpaque::run() const {
    // Of this replay: events count anew.
    std::map<const EventState*, EventPtr> events;
    for (const auto& branch : branches) {
        for (const Node& node : branch.second) {
            if (node.event != nullptr) {
                events.try_emplace(node.event.get(), std::make_shared<EventState>());
            }
        }
    }
    std::vector<std::thread> running;
    for (const auto& branch : branches) {
        running.emplace_back([&events, &nodes = branch.second] {
            for (const Node& node : nodes) {
                if (node.event == nullptr) {
                    node.work();
                } else if (node.awaits) {
                    events.at(node.event.get())->await(node.record);
                } else {
                    events.at(node.event.get())->reach(node.record);
                }
            }
        });
    }
    for (std::thread& branch : running) {
        branch.join();
    }
}

void GraphOpaque::end() {
    std::thread([held = std::move(held)] {
        for (const auto& [destroy, value] : held) {
            destroy(value);
        }
    }).join();
}

Status unsafe_call(bool waits) {
    {
        const std::lock_guard lock(captures_mutex);
        for (const Graph graph : captures) {
            if (spoils(*graph)) {
                graph->valid = false;
                return status::stream_capture_unsupported;
            }
        }
    }
    if (fake_cuda_control.no_waiting != 0) {
        fake_cuda_control.waits_refused++;
        return status::not_permitted;
    }
    if (waits) {
        const Held held(fake_cuda_hostile.calls_held);
        device_wait_idle();
    }
    return status::success;
}

Status stream_question(Stream stream) {
    StreamOpaque& own = stream_of(stream);
    if (own.graph == nullptr) {
        return status::success;
    }
    own.graph->valid = false;
    return status::stream_capture_unsupported;
}

bool capture_under_way(Graph graph, uint64_t id) {
    const std::lock_guard lock(captures_mutex);
    return std::ranges::any_of(captures, [&](Graph one) { return one == graph && one->id == id; });
}

Status event_question(Event event) {
    if (event->graph == nullptr) {
        return status::success;
    }
    if (capture_under_way(event->graph, event->graph_id)) {
        event->graph->valid = false;
    }
    return status_captured_event;
}

Status capture_begin(Stream stream, int mode) {
    StreamOpaque& own = stream_of(stream);
    if (stream == nullptr || own.graph != nullptr) {
        return status::invalid_value;
    }
    own.graph = new GraphOpaque;
    own.graph->id = ++graph_count;
    own.graph->mode = mode;
    own.graph->origin = &own;
    own.graph->thread = std::this_thread::get_id();
    const std::lock_guard lock(captures_mutex);
    captures.push_back(own.graph);
    return status::success;
}

Graph capture_end(Stream stream) {
    StreamOpaque& own = stream_of(stream);
    Graph const graph = own.graph;
    {
        const std::lock_guard lock(captures_mutex);
        std::erase(captures, graph);
    }
    const bool whole = graph->valid && graph->unjoined.empty();
    for (const auto& branch : graph->branches) {
        branch.first->graph = nullptr;
    }
    own.graph = nullptr;
    if (!whole) {
        graph_destroy(graph);
        return nullptr;
    }
    return graph;
}

Status graph_launch(Graph graph, Stream stream) {
    stream_give(stream, [graph] { graph->run(); });
    return status::success;
}

void graph_destroy(Graph graph) {
    if (graph == nullptr) {
        return;
    }
    graph->end();
    delete graph;
}

Status capture_info(Stream stream, int* state, uint64_t* id, Graph* graph) {
    const StreamOpaque& own = stream_of(stream);
    *state = own.graph == nullptr ? capture_status::none
             : own.graph->valid   ? capture_status::active
                                  : capture_status::invalidated;
    if (own.graph != nullptr) {
        *id = own.graph->id;
        *graph = own.graph;
    }
    return status::success;
}

Status capture_mode_exchange(int* mode) {
    std::swap(thread_mode, *mode);
    return status::success;
}

}  // namespace weft::gpu
