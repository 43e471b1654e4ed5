// How tests talk to the stand-in driver beside CUDA's own functions: a struct of switches found by
// dlsym("fake_cuda_control"), and what the library under test never calls but programs do: capture.
// Thread rule: set before the driver is loaded or while nothing runs.
#pragma once

#include <atomic>

#include "src/gpu/driver_types.h"

struct FakeCudaControl {
    std::atomic<int> version{12080};            // what cuDriverGetVersion says
    std::atomic<int> devices{1};                // how many there are
    std::atomic<const char*> lacking{nullptr};  // this function is not found; null: all are
    std::atomic<int> stub{0};  // every call fails as those of the toolkit's stub library
    std::atomic<unsigned> block_threads{1};    // of every block, whatever the launch says
    std::atomic<unsigned> resident_blocks{0};  // how many fit a device at once; 0: any number
    std::atomic<unsigned> queues{0};           // that streams share, their heads in order; 0: own
    std::atomic<unsigned> stream_room{0};  // who gives a stream more than this waits; 0: any number
    std::atomic<unsigned> late{0};  // streams start what they are given late, by chance; a seed
    std::atomic<int> lazy{
        0};  // the first launch of a kernel that cuFuncLoad has not named loads it
    std::atomic<int> no_waiting{0};    // calls that wait for the device are refused: init is over
    std::atomic<int> launch_fails{0};  // that many launches from now, one fails; 0: none
    std::atomic<int> no_virtual_memory{0};  // the devices have none
    std::atomic<int> no_peers{0};           // a device reaches no memory but its own
    std::atomic<int> addresses_again{0};    // what is freed may be allocated again at its address
    // Of programs that have no test around them, from FAKE_CUDA_LOST=n and so on: that many
    // launches from now one does nothing, one never ends, the device is dead; the n-th copy to the
    // host is wrong in one byte. 0: none. FAKE_CUDA_BLOCK=n sets block_threads. Launches with more
    // threads a block than this do nothing, 0: all do what they should.
    std::atomic<unsigned> narrow{0};
    std::atomic<int> launch_lost{0}, launch_stuck{0}, device_dies{0}, copy_wrong{0};
    // Counted.
    std::atomic<int> init_count{0};    // calls of cuInit
    std::atomic<int> primary_refs{0};  // references to all primary contexts
    std::atomic<int> live_allocations{0};
    std::atomic<int> live_physicals{0};     // what cuMemCreate and imports made
    std::atomic<int> live_reservations{0};  // of addresses
    std::atomic<int> accesses_set{0};       // calls of cuMemSetAccess that were obeyed
    std::atomic<int> waits_refused{0};
    std::atomic<int> launches{0};
    std::atomic<unsigned> widest_block{0};  // of these, threads
    std::atomic<int> small_launches{0};     // of these, of the kernels of one hop
    // Of programs: begin and end of a capture, replays. The graph's number, 0: it was invalidated.
    weft::gpu::Status (*capture_begin)(weft::gpu::Stream stream, int mode) = nullptr;
    weft::gpu::Graph (*capture_end)(weft::gpu::Stream stream) = nullptr;
    weft::gpu::Status (*graph_launch)(weft::gpu::Graph graph, weft::gpu::Stream stream) = nullptr;
    void (*graph_destroy)(weft::gpu::Graph graph) = nullptr;
    // Likewise: memory of the device's pool.
    weft::gpu::Status (*pool_take)(weft::gpu::Address* address, size_t bytes,
                                   weft::gpu::Stream stream) = nullptr;
    weft::gpu::Status (*pool_free)(weft::gpu::Address address, weft::gpu::Stream stream) = nullptr;
};

// Of the library itself.
extern "C" __attribute__((visibility("default"))) FakeCudaControl fake_cuda_control;
