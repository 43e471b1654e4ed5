// Rows of bytes as the host compiler sees the kernel: every byte of every segment by whichever
// block, nothing around them, and nothing after a stop.
#include "src/gpu/device/move.h"

#include <cstring>
#include <vector>

#include "tests/catch.h"
#include "tests/fake_cuda/ranks.h"

using namespace weft;
using namespace weft::gpu;
using namespace weft::gpu::device;

namespace {

constexpr uint64_t rows = 3;
constexpr uint64_t pitch = 3 * move_segment_bytes;

// Three rows of two segments and a tail, into memory of another pitch.
struct Rows {
    Rows() : from(rows * pitch, 1), to(rows * (pitch + 64), guard) {
        for (uint64_t i = 0; i < rows * pitch; ++i) {
            from.data()[i] = static_cast<char>(i * 7 + i / 251);
        }
    }
    MoveLaunch launch(uint32_t blocks) {
        MoveLaunch made{&stop, &clear, blocks, 1, {}};
        made.moves[0] = {
            place_of(to.data()), place_of(from.data()), width, rows, pitch + 64, pitch};
        return made;
    }
    void run(const MoveLaunch& launch) {
        TestRanks::run(launch.block_count, 2, [&](Threads threads, void* sync, uint32_t index) {
            move_run(threads, sync, launch, index);
        });
    }
    uint64_t wrong() {
        uint64_t count = 0;
        for (uint64_t row = 0; row < rows; ++row) {
            for (uint64_t i = 0; i < pitch + 64; ++i) {
                const char want = i < width ? from.data()[row * pitch + i] : guard;
                count += to.data()[row * (pitch + 64) + i] != want ? 1 : 0;
            }
        }
        return count;
    }
    uint64_t written() {
        uint64_t count = 0;
        for (uint64_t i = 0; i < rows * (pitch + 64); ++i) {
            count += to.data()[i] != guard ? 1 : 0;
        }
        return count;
    }
    static constexpr char guard = 0x5a;
    static constexpr uint64_t width = 2 * move_segment_bytes + 100;
    TestMemory from, to;
    uint64_t stop = 0, clear = 1;
};

}  // namespace

TEST_CASE("rows move whole, whatever the number of blocks, and nothing beside them") {
    for (const uint32_t blocks : {1u, 2u, 5u, 20u}) {
        Rows moved;
        moved.run(moved.launch(blocks));
        CHECK(moved.wrong() == 0);
        CHECK(moved.clear == 0);
    }
}

TEST_CASE("rows that were stopped before they moved stay, and the word is not cleared") {
    Rows moved;
    moved.stop = 1;
    moved.run(moved.launch(2));
    CHECK(moved.written() == 0);
    CHECK(moved.clear == 1);
}

namespace {

// Stops the kernel that runs while it looks: when the first byte of the second segment is loaded.
uint64_t stop_at = 0;
uint64_t* stop_word = nullptr;
void stop_there(const void* at, uint64_t) {
    if (place_of(at) == stop_at) {
        store_relaxed(stop_word, 1);
    }
}

}  // namespace

TEST_CASE("rows that are stopped while they move end with the segment") {
    Rows moved;
    stop_at = place_of(moved.from.data()) + move_segment_bytes;
    stop_word = &moved.stop;
    access_check = stop_there;
    moved.run(moved.launch(1));
    access_check = nullptr;
    CHECK(moved.written() > move_segment_bytes);
    CHECK(moved.written() <= 2 * move_segment_bytes);
}
