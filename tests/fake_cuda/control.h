// How tests talk to the stand-in driver beside CUDA's own functions: a struct of switches found by
// dlsym("fake_cuda_control"), and what the library under test never calls but programs do: capture.
// Thread rule: set before the driver is loaded or while nothing runs.
#pragma once

#include <atomic>

#include "src/gpu/driver_types.h"

struct FakeCudaControl {
    std::atomic<int> version;             // what cuDriverGetVersion says
    std::atomic<int> devices;             // how many there are
    std::atomic<const char*> lacking;     // this function is not found; null: all are
    std::atomic<int> stub;                // every call fails as those of the toolkit's stub library
    std::atomic<unsigned> block_threads;  // of every block, whatever the launch says
    std::atomic<unsigned> resident_blocks;  // how many fit a device at once; 0: any number
    std::atomic<unsigned>
        queues;                  // hardware queues that streams share, their heads in order; 0: own
    std::atomic<unsigned> late;  // streams start what they are given late, by chance; a seed
    std::atomic<int> lazy;  // the first launch of a kernel that cuFuncLoad has not named loads it
    std::atomic<int> no_waiting;    // calls that wait for the device are refused: init is over
    std::atomic<int> launch_fails;  // that many launches from now, one fails; 0: none
    // Counted.
    std::atomic<int> init_count;    // calls of cuInit
    std::atomic<int> primary_refs;  // references to all primary contexts
    std::atomic<int> live_allocations;
    std::atomic<int> waits_refused;
    std::atomic<int> launches;
    // Of programs: begin and end of a capture, replays. The graph's number, 0: it was invalidated.
    weft::gpu::Status (*capture_begin)(weft::gpu::Stream stream, int mode);
    weft::gpu::Graph (*capture_end)(weft::gpu::Stream stream);
    weft::gpu::Status (*graph_launch)(weft::gpu::Graph graph, weft::gpu::Stream stream);
    void (*graph_destroy)(weft::gpu::Graph graph);
    std::atomic<int> no_virtual_memory;  // the devices have none
    std::atomic<int> no_peers;           // a device reaches no memory but its own
    std::atomic<int> addresses_again;    // what is freed may be allocated again at its address
    // Counted: what cuMemCreate and imports made, and address ranges that are reserved.
    std::atomic<int> live_physicals;
    std::atomic<int> live_reservations;
    // Of programs: memory of the device's pool.
    weft::gpu::Status (*pool_take)(weft::gpu::Address* address, size_t bytes,
                                   weft::gpu::Stream stream);
    weft::gpu::Status (*pool_free)(weft::gpu::Address address, weft::gpu::Stream stream);
};

// Of the library itself.
extern "C" __attribute__((visibility("default"))) FakeCudaControl fake_cuda_control;
