// The interpreter as the host compiler sees it: blocks are groups of threads with a barrier, ranks
// share this process's memory, and programs are written by hand. Ranks that come late, one after
// the other or together; operations back to back on the same words; several tiles; abort.
#include "src/gpu/device/lanes.h"

#include <barrier>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/catch.h"

using namespace weft;
using namespace weft::gpu::device;

namespace {

constexpr uint32_t base_input = 0, base_output = 1, base_scratch = 2, base_peer = 3;

struct HostBlock : Block {
    explicit HostBlock(uint32_t threads) : Block{wait}, barrier(threads) {}
    static void wait(Block* block) { static_cast<HostBlock*>(block)->barrier.arrive_and_wait(); }
    std::barrier<> barrier;
};

// One rank of a direct all-reduce of two: grant, put, wait, reduce, with `elements` floats.
struct Rank {
    Rank(size_t elements, uint64_t tile_bytes)
        : input(elements), output(elements), scratch(tile_bytes / 4) {}
    std::vector<float> input, output, scratch;
    // Mine to await: granted by the peer, arrived here. Then the addresses of both and the peer's.
    uint64_t granted = 0, arrived = 0, abort_word = 0;
    uint64_t words[4] = {};
    uint64_t epochs[4] = {};
    uint64_t bases[4] = {};
    std::vector<Step> steps;
    std::vector<Operand> operands;
    std::vector<StreamEnd> ends;
    LaneProgram lane{};
    RankProgram program{};
};

uint64_t address(const void* at) {
    return reinterpret_cast<uint64_t>(at);
}

// words: 0 granted (mine), 1 arrived (mine), 2 granted (peer's), 3 arrived (peer's).
void rank_program(Rank& rank, Rank& peer, uint64_t tile_bytes) {
    const uint64_t bytes = rank.input.size() * 4;
    const uint64_t words[] = {address(&rank.granted), address(&rank.arrived),
                              address(&peer.granted), address(&peer.arrived)};
    std::memcpy(rank.words, words, sizeof(words));
    const uint64_t bases[] = {address(rank.input.data()), address(rank.output.data()),
                              address(rank.scratch.data()), address(peer.scratch.data())};
    std::memcpy(rank.bases, bases, sizeof(bases));
    rank.operands = {{0, base_peer, 0},
                     {0, base_input, 1},
                     {0, base_output, 1},
                     {0, base_input, 1},
                     {0, base_scratch, 0}};
    rank.steps = {{Do::post, 0, 0, 2, 0, 1, bytes},  {Do::await, 0, 0, 0, 0, 1, bytes},
                  {Do::copy, 2, 0, 0, 0, 0, bytes},  {Do::post, 0, 0, 3, 0, 1, bytes},
                  {Do::await, 0, 0, 1, 0, 1, bytes}, {Do::reduce, 3, 2, 0, 0, 0, bytes}};
    rank.ends = {{0, 1}, {1, 1}, {2, 1}, {3, 1}};
    rank.lane = {rank.steps.data(),
                 rank.operands.data(),
                 rank.ends.data(),
                 static_cast<uint32_t>(rank.steps.size()),
                 static_cast<uint32_t>(rank.operands.size()),
                 static_cast<uint32_t>(rank.ends.size()),
                 static_cast<uint32_t>((bytes + tile_bytes - 1) / tile_bytes),
                 tile_bytes};
    rank.program = {&rank.lane, rank.bases, rank.words, rank.epochs, &rank.abort_word,
                    nullptr,    0,          1,          4,           1};
}

// The threads of one block, started; joined at the end of the scope.
class RunningBlock {
  public:
    RunningBlock(const Launch& launch, uint32_t index, uint32_t threads)
        : block_(threads), shared_(std::make_unique<SharedLane>()) {
        std::memset(static_cast<void*>(shared_.get()), 0xcb, sizeof(SharedLane));
        for (uint32_t thread = 0; thread < threads; ++thread) {
            threads_.emplace_back([this, launch, index, thread, threads] {
                const Here here{{thread, threads}, &block_, shared_.get()};
                lane_run<DataType::float32, RedOp::sum>(here, launch, index);
            });
        }
    }
    ~RunningBlock() {
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }
    RunningBlock(const RunningBlock&) = delete;
    RunningBlock& operator=(const RunningBlock&) = delete;

  private:
    HostBlock block_;
    std::unique_ptr<SharedLane> shared_;
    std::vector<std::thread> threads_;
};

struct Pair {
    Pair(size_t elements, uint64_t tile_bytes)
        : first(elements, tile_bytes), second(elements, tile_bytes) {
        rank_program(first, second, tile_bytes);
        rank_program(second, first, tile_bytes);
    }
    void fill(float salt) {
        for (size_t i = 0; i < first.input.size(); ++i) {
            first.input[i] = static_cast<float>(i) + salt;
            second.input[i] = static_cast<float>(i) * 2;
        }
    }
    // How many elements of the two outputs are not the sum.
    size_t wrong(float salt) const {
        size_t count = 0;
        for (size_t i = 0; i < first.input.size(); ++i) {
            const float sum = static_cast<float>(i) * 3 + salt;
            count += (first.output[i] != sum) + (second.output[i] != sum);
        }
        return count;
    }
    Rank first, second;
};

}  // namespace

TEST_CASE("two ranks of one launch, one to four threads a block, several tiles, back to back") {
    for (const uint32_t threads : {1u, 2u, 4u}) {
        for (const size_t elements : {1u, 16u, 100u, 257u}) {
            Pair pair(elements, 256);
            const RankProgram ranks[] = {pair.first.program, pair.second.program};
            const Launch launch{ranks, 1};
            for (int round = 0; round < 3; ++round) {
                pair.fill(static_cast<float>(round));
                {
                    RunningBlock one(launch, 0, threads);
                    RunningBlock two(launch, 1, threads);
                }
                CHECK(pair.wrong(static_cast<float>(round)) == 0);
            }
            const uint64_t tiles = (elements * 4 + 255) / 256;
            CHECK(pair.first.epochs[0] == 3 * tiles);
            CHECK(pair.second.granted == 3 * tiles);
        }
    }
}

TEST_CASE("an abort ends a lane that waits, and nothing is stored after it") {
    Pair pair(100, 256);
    pair.fill(0);
    const Launch launch{&pair.first.program, 1};
    {
        RunningBlock alone(launch, 0, 2);
        store_release(&pair.first.abort_word, 1);
    }
    CHECK(pair.first.output == std::vector<float>(100));
    CHECK(pair.first.epochs[0] == 0);
    CHECK(pair.second.arrived == 0);
}

TEST_CASE("LL words: the flag says which round the data is of") {
    uint64_t word = 0;
    ll_store(&word, 0xdeadbeef, 7);
    CHECK(ll_flag(ll_load(&word)) == 7);
    CHECK(ll_data(ll_load(&word)) == 0xdeadbeef);
    CHECK(word == 0x00000007deadbeef);
}
