// The interpreter as the host compiler sees it: blocks are groups of threads with a barrier, ranks
// share this process's memory, and programs are written by hand. Ranks that come late, one after
// the other or together; operations back to back on the same words; several tiles; cards; abort.
#include "src/gpu/device/lanes.h"

#include <bit>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/fake_cuda/ranks.h"

using namespace weft;
using namespace weft::gpu;
using namespace weft::gpu::device;

namespace {

constexpr uint32_t ranks = 2;
constexpr uint64_t tile_bytes = 256;

// Two ranks add their inputs directly: cards, grant, put, wait, reduce, with floats.
struct Pair {
    explicit Pair(size_t elements)
        : layout(ranks, tile_bytes), memory(layout), bytes(elements * 4) {
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            input[rank].resize(elements);
            output[rank].resize(elements);
            program(rank);
        }
    }

    Step word_step(Do what, Word word, uint32_t rank, uint32_t peer) const {
        const bool own = what == Do::await;
        return {what,
                layout.word_place(word, 0, own ? peer : rank),
                base_number(Base::memory, own ? rank : peer),
                own ? layout.epoch_own(word, 0, peer) : layout.epoch_posted(word, 0, peer),
                0,
                1,
                bytes};
    }

    Step card_step(Do what, uint32_t rank) const {
        const bool own = what == Do::hear;
        const auto base = base_number(Base::input, own ? 0 : rank);
        const uint16_t step = own ? card_depth * Layout::card_units : 0;
        const Row row{static_cast<uint16_t>(base), step, 0, ranks, card_depth, 0};
        return {what,
                layout.card_place(0, own ? 0 : rank),
                0,
                own ? layout.epoch_own(Word::met, 0, 0) : layout.epoch_posted(Word::met, 0, 0),
                0,
                0,
                std::bit_cast<uint64_t>(row)};
    }

    void program(uint32_t rank) {
        const uint32_t peer = 1 - rank;
        const uint32_t mine = base_number(Base::memory, rank);
        const uint32_t theirs = base_number(Base::memory, peer);
        operands[rank] = {{layout.scratch(), theirs, 0},
                          {0, base_number(Base::input, rank), 1},
                          {0, base_number(Base::output, rank), 1},
                          {0, base_number(Base::input, rank), 1},
                          {layout.scratch(), mine, 0}};
        steps[rank] = {card_step(Do::tell, rank),
                       card_step(Do::hear, rank),
                       word_step(Do::post, Word::granted, rank, peer),
                       word_step(Do::await, Word::granted, rank, peer),
                       {Do::copy, 2, 0, 0, 0, 0, bytes},
                       word_step(Do::post, Word::arrived, rank, peer),
                       word_step(Do::await, Word::arrived, rank, peer),
                       {Do::reduce, 3, 2, 0, 0, 0, bytes}};
        const auto tiles = static_cast<uint32_t>((bytes + tile_bytes - 1) / tile_bytes);
        ends[rank] = {{layout.epoch_posted(Word::met, 0, peer), 1},
                      {layout.epoch_own(Word::met, 0, peer), 1}};
        for (const size_t i : {2u, 3u, 5u, 6u}) {
            ends[rank].push_back({steps[rank][i].word, tiles});
        }
        lane[rank] = {steps[rank].data(),
                      operands[rank].data(),
                      ends[rank].data(),
                      static_cast<uint32_t>(steps[rank].size()),
                      static_cast<uint32_t>(operands[rank].size()),
                      static_cast<uint32_t>(ends[rank].size()),
                      tiles,
                      tile_bytes};
    }

    Launch launch() {
        Launch made{ranks, 1, {}};
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            made.ranks[rank].part = memory.part(rank, input[rank].data(), output[rank].data());
            made.ranks[rank].lanes = &lane[rank];
        }
        return made;
    }

    static void run(const Launch& launch, uint32_t blocks, uint32_t threads) {
        TestRanks::run(blocks, threads, [&](Threads thread, void* sync, uint32_t index) {
            run_block(launch, thread, sync, index);
        });
    }
    // One at a time makes the block's shared memory.
    static void run_block(const Launch& launch, Threads thread, void* sync, uint32_t index) {
        static SharedLane shared[ranks];
        lane_run<DataType::float32, RedOp::sum>(thread, sync, &shared[index], launch, index);
    }

    // Rank 0, once it has stored this word of rank 1.
    void abort_after(uint32_t place) {
        const auto* const word = reinterpret_cast<const uint64_t*>(memory.memory(1)) + place;
        while (load_acquire(word) == 0) {
            std::this_thread::yield();
        }
        store_release(&memory.abort_word(0), 1);
    }

    void fill(float salt) {
        for (size_t i = 0; i < input[0].size(); ++i) {
            input[0][i] = static_cast<float>(i) + salt;
            input[1][i] = static_cast<float>(i) * 2;
        }
    }
    // How many elements of the two outputs are not the sum.
    size_t wrong(float salt) const {
        size_t count = 0;
        for (size_t i = 0; i < input[0].size(); ++i) {
            const float sum = static_cast<float>(i) * 3 + salt;
            count += (output[0][i] != sum) + (output[1][i] != sum);
        }
        return count;
    }

    Layout layout;
    TestRanks memory;
    uint64_t bytes;
    std::vector<float> input[ranks], output[ranks];
    std::vector<Step> steps[ranks];
    std::vector<Operand> operands[ranks];
    std::vector<StreamEnd> ends[ranks];
    LaneProgram lane[ranks];
};

}  // namespace

TEST_CASE("two ranks of one launch, one to four threads a block, several tiles, back to back") {
    for (const uint32_t threads : {1u, 2u, 4u}) {
        for (const size_t elements : {1u, 16u, 100u, 257u}) {
            Pair pair(elements);
            const Launch launch = pair.launch();
            for (int round = 0; round < 3; ++round) {
                pair.fill(static_cast<float>(round));
                Pair::run(launch, ranks, threads);
                CHECK(pair.wrong(static_cast<float>(round)) == 0);
                CHECK(pair.memory.end(0, 0).how == Ended::well);
            }
            const uint64_t tiles = (elements * 4 + 255) / 256;
            CHECK(pair.memory.epoch(0, pair.layout.epoch_own(Word::arrived, 0, 1)) == 3 * tiles);
            CHECK(pair.memory.epoch(1, pair.layout.epoch_posted(Word::met, 0, 0)) == 3);
        }
    }
}

TEST_CASE("an abort ends a lane that waits, and nothing is stored after it") {
    Pair pair(100);
    pair.fill(0);
    const Launch launch = pair.launch();
    std::thread abort([&] { pair.abort_after(pair.layout.card_place(0, 0) + Layout::card_units); });
    Pair::run(launch, 1, 2);
    abort.join();
    CHECK(pair.output[0] == std::vector<float>(100));
    const LaneEnd& end = pair.memory.end(0, 0);
    CHECK(end.how == Ended::aborted);
    CHECK(pair.memory.epoch(0, pair.layout.epoch_own(Word::arrived, 0, 1)) == 0);
    // The card of rank 1 did not come, in the step after the one that told it ours.
    CHECK(end.peer == 1);
    CHECK(end.wait == 2);
    CHECK(end.own.packed == 1);
    CHECK(end.theirs.packed == 0);
}

TEST_CASE("a lane that was stopped at a word tells its place, the value wanted and the one seen") {
    Pair pair(100);
    pair.fill(0);
    // Rank 1's card comes, its words do not.
    auto* const words = reinterpret_cast<uint64_t*>(pair.memory.memory(0));
    const auto card =
        reinterpret_cast<Card*>(words + pair.layout.card_place(0, 1)) + 1 % card_depth;
    *card = {1, {}, pair.launch().ranks[0].part.args, {}};
    const Launch launch = pair.launch();
    std::thread abort([&] { pair.abort_after(pair.layout.word_place(Word::granted, 0, 0)); });
    Pair::run(launch, 1, 2);
    abort.join();
    const LaneEnd& end = pair.memory.end(0, 0);
    CHECK(end.how == Ended::aborted);
    CHECK(end.place == pair.layout.word_place(Word::granted, 0, 1));
    CHECK(static_cast<uint32_t>(end.wait) == 4);
    CHECK(end.wait >> 32 == 0);
    CHECK(end.own.packed == 1);
    CHECK(end.theirs.packed == 0);
}

TEST_CASE("a lane that begins after the abort tells nobody") {
    Pair pair(100);
    pair.memory.abort_word(0) = 1;
    Pair::run(pair.launch(), 1, 1);
    const auto* const words = reinterpret_cast<const uint64_t*>(pair.memory.memory(1));
    CHECK(words[pair.layout.card_place(0, 0)] == 0);
    CHECK(words[pair.layout.card_place(0, 0) + Layout::card_units] == 0);
    CHECK(pair.memory.end(0, 0).how == Ended::aborted);
}

TEST_CASE("arguments that differ end both ranks before a byte moves") {
    for (const uint32_t threads : {1u, 3u}) {
        Pair pair(100);
        pair.fill(0);
        Launch launch = pair.launch();
        launch.ranks[0].part.args = {17, 0};
        launch.ranks[1].part.args = {17, 1};
        Pair::run(launch, ranks, threads);
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            const LaneEnd& end = pair.memory.end(rank, 0);
            CHECK(end.how == Ended::mismatch);
            CHECK(end.peer == 1 - rank);
            CHECK(end.own.root == rank);
            CHECK(end.theirs.root == 1 - rank);
            CHECK(end.theirs.packed == 17);
            CHECK(pair.output[rank] == std::vector<float>(100));
        }
    }
}

TEST_CASE("LL words: the flag says which round the data is of") {
    uint64_t word = 0;
    ll_store(&word, 0xdeadbeef, 7);
    CHECK(ll_flag(ll_load(&word)) == 7);
    CHECK(ll_data(ll_load(&word)) == 0xdeadbeef);
    CHECK(word == 0x00000007deadbeef);
}
