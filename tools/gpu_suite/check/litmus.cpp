// The litmus kernels, the health kernel, and copies by the device's engine and by ours.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/kernels.h"
#include "tools/gpu_suite/check/outcome.h"

namespace weft::suite {

using namespace gpu::device;

namespace {

constexpr const char* litmus_names[] = {"message", "ll", "barrier", "elements", "copies", "host"};
constexpr uint32_t copies_count = (copy_bytes_max + 1) * copy_places * copy_places;
constexpr size_t data_bytes = litmus_words * 8 + static_cast<size_t>(copies_count) * copy_pitch;
uint64_t* stop_word = nullptr;

// What litmus_copies leaves: the copy and nothing around it.
uint64_t copies_wrong(const Device& device, gpu::Address data) {
    std::vector<unsigned char> all(data_bytes);
    device.get(all.data(), data, all.size());
    const unsigned char* const from = all.data();
    const unsigned char* to = from + static_cast<size_t>(litmus_words) * 8;
    uint64_t wrong = 0;
    for (uint32_t bytes = 0; bytes <= copy_bytes_max; bytes++) {
        for (uint32_t at = 0; at < copy_places * copy_places; at++, to += copy_pitch) {
            unsigned char wanted[copy_pitch];
            std::memset(wanted, 0xee, sizeof(wanted));
            std::memcpy(wanted + at / copy_places, from + at % copy_places, bytes);
            wrong += std::memcmp(wanted, to, sizeof(wanted)) != 0 ? 1 : 0;
        }
    }
    return wrong;
}

struct Room {
    explicit Room(const Device& device)
        : words(device.take(64)),
          data(device.take(data_bytes)),
          wrong(device.take(litmus_blocks * block_threads_max * 8)),
          pinned(device.take_pinned(16)) {
        stop_word = pinned + 8;
    }
    gpu::Address words, data, wrong;
    uint64_t* pinned;
};

void host_answers(const Room& room, uint32_t rounds) {
    for (uint32_t round = 1; round <= rounds; round++) {
        std::atomic_ref(room.pinned[0]).store(round, std::memory_order_release);
        while (std::atomic_ref(room.pinned[1]).load(std::memory_order_acquire) < round) {
            std::this_thread::yield();
        }
    }
}

uint64_t litmus_wrong(const Device& device, Litmus what, uint32_t threads, uint32_t rounds) {
    const Room room(device);
    device.fill(room.words, 0, 64);
    device.fill(room.wrong, 0, litmus_blocks * block_threads_max * 8);
    device.fill(room.data, what == Litmus::copies ? 0xee : 0, data_bytes);
    if (what == Litmus::copies) {
        std::vector<unsigned char> from(static_cast<size_t>(litmus_words) * 8);
        for (size_t i = 0; i < from.size(); i++) {
            from[i] = static_cast<unsigned char>(i * 7 + i / 256);
        }
        device.put(room.data, from.data(), from.size());
    }
    const gpu::Stream stream = device.stream_make();
    const LitmusLaunch launch{what,
                              rounds,
                              reinterpret_cast<uint64_t*>(room.words),
                              reinterpret_cast<uint64_t*>(room.data),
                              room.pinned,
                              reinterpret_cast<uint64_t*>(room.wrong),
                              stop_word};
    device.launch(device.kernel("suite_litmus"), litmus_blocks, threads, stream, launch);
    if (what == Litmus::host) {
        host_answers(room, rounds);
    }
    device.synchronize(stream);
    std::vector<uint64_t> wrong(litmus_blocks * block_threads_max);
    device.get(wrong.data(), room.wrong, wrong.size() * 8);
    uint64_t total = what == Litmus::copies ? copies_wrong(device, room.data) : 0;
    for (const uint64_t one : wrong) {
        total += one;
    }
    return total;
}

}  // namespace

void litmus(const Device& device, const Options& options) {
    const auto rounds = static_cast<uint32_t>(options.rounds > 0 ? options.rounds : 1000);
    for (uint32_t what = 0; what < litmus_kinds; what++) {
        uint64_t wrong = 0;
        for (const uint32_t threads : {1u, 32u, block_threads_max}) {
            wrong += litmus_wrong(device, static_cast<Litmus>(what), threads, rounds);
        }
        value_set(litmus_names[what], static_cast<double>(wrong));
        if (wrong > 0) {
            fail("litmus test %s: %llu times wrong in %u rounds", litmus_names[what],
                 static_cast<unsigned long long>(wrong), rounds);
        }
    }
}

// Small, and needs the whole way: memory, a kernel, a copy back.
void health(const Device& device, const Options&) {
    if (const uint64_t wrong = litmus_wrong(device, Litmus::elements, 32, 4)) {
        fail("the health kernel is wrong %llu times", static_cast<unsigned long long>(wrong));
    }
}

namespace {

double best(const std::vector<double>& values) {
    return *std::max_element(values.begin(), values.end());
}

constexpr double giga = 1e9;

// Read and written, of both ways.
double engine_rate(const Device& device, uint64_t bytes, int rounds) {
    const gpu::Stream stream = device.stream_make();
    const gpu::Address from = device.take(bytes), to = device.take(bytes);
    std::vector<double> found;
    for (int round = 0; round < rounds + 1; round++) {
        Stopwatch watch(device, stream);
        device.done(device->cuMemcpyAsync(to, from, bytes, stream), "copying");
        found.push_back(2.0 * static_cast<double>(bytes) / watch.seconds() / giga);
    }
    device->cuMemFree(from);
    device->cuMemFree(to);
    return best(found);
}

double kernel_rate(const Device& device, uint64_t bytes, uint32_t blocks, uint32_t ways,
                   int rounds) {
    const gpu::Stream stream = device.stream_make();
    const gpu::Address a = device.take(bytes), b = device.take(bytes);
    const gpu::Address c = device.take(bytes), d = device.take(bytes);
    const CopyLaunch launch{{a, c}, {b, d}, bytes, blocks, ways};
    std::vector<double> found;
    for (int round = 0; round < rounds + 1; round++) {
        Stopwatch watch(device, stream);
        device.launch(device.kernel("suite_copy"), blocks * ways, block_threads_max, stream,
                      launch);
        found.push_back(2.0 * static_cast<double>(bytes * ways) / watch.seconds() / giga);
    }
    for (const gpu::Address at : {a, b, c, d}) {
        device->cuMemFree(at);
    }
    return best(found);
}

double reduce_rate(const Device& device, uint64_t bytes, uint32_t blocks, int rounds) {
    const gpu::Stream stream = device.stream_make();
    ReduceLaunch launch{};
    launch.count = bytes / 2;
    launch.blocks = blocks;
    launch.to = device.take(bytes);
    for (uint64_t& from : launch.from) {
        from = device.take(bytes);
        device.fill(from, 0, bytes);
    }
    std::vector<double> found;
    for (int round = 0; round < rounds + 1; round++) {
        Stopwatch watch(device, stream);
        device.launch(device.kernel("suite_reduce"), blocks, block_threads_max, stream, launch);
        found.push_back((reduce_sources + 1.0) * static_cast<double>(bytes) / watch.seconds() /
                        giga);
    }
    return best(found);
}

}  // namespace

// GB/s read and written: the copy engine, our copy by blocks, 8 inputs of bf16 added up.
void copy_rates(const Device& device, const Options& options) {
    const uint64_t bytes = options.bytes > 0 ? options.bytes : 256 << 20;
    const int rounds = options.rounds > 0 ? options.rounds : 10;
    const auto processors = static_cast<uint32_t>(std::max(1, device.attribute(16)));
    const uint32_t most = device.is_stand_in() ? 4 : processors;
    std::vector<double> copies = {engine_rate(device, bytes, rounds)};
    value_set("engine_GBps", copies.front());
    for (uint32_t blocks = 1; blocks <= most;
         blocks = blocks < most && blocks * 4 > most ? most : blocks * 4) {
        copies.push_back(kernel_rate(device, bytes, blocks, 1, rounds));
        value_set("copy_" + std::to_string(blocks) + "_blocks_GBps", copies.back());
    }
    const double copy = best(copies);
    const double reduce = reduce_rate(device, bytes, most, rounds);
    value_set("best_copy_GBps", copy);
    // One block each way. The rate counts both ways, read and written: a quarter is what moves one
    // way.
    value_set("two_blocks_each_way_GBps", kernel_rate(device, bytes / 8, 1, 2, rounds) / 4);
    value_set("reduce_8_bf16_GBps", reduce);
    value_set("reduce_8_bf16_ratio", reduce / copy);
}

}  // namespace weft::suite
