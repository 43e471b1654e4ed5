// What boards are filled and read by, as the host compiler sees it: rows with cards, words that are
// cleared, cards that differ or are void, launches that were stopped; and programs carried by their
// launch.
#include "src/gpu/device/board.h"

#include <memory>
#include <vector>

#include "tests/catch.h"
#include "tests/fake_cuda/ranks.h"

using namespace weft;
using namespace weft::gpu;
using namespace weft::gpu::device;

namespace {

constexpr uint32_t ranks = 3;
constexpr uint64_t place = 128;  // of the card on a board
constexpr Fingerprint args{0x1234, 2};

uint64_t address(const void* at) {
    return reinterpret_cast<uint64_t>(at);
}

// Boards of a card each, words, and rows of a buffer that go elsewhere.
struct Bench {
    Bench() {
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            boards.push_back(address(memory[rank].data()));
            card(rank) = {card_open, {}, args, {}};
        }
        for (uint64_t i = 0; i < from.size(); ++i) {
            from[i] = static_cast<char>(i * 7);
        }
        launch.moves.stop = launch.stop = &stop;
        launch.args = args;
        launch.clear = words + line_words;
        launch.clear_count = 2;
        launch.moves.move_count = 1;
        launch.moves.moves[0] = {
            address(to.data()), address(from.data()), 100'000, 2, 120'000, 150'000};
    }
    Card& card(uint32_t rank) { return *reinterpret_cast<Card*>(memory[rank].data() + place); }
    void check() { launch.check = {boards.data(), place, &end, 0, ranks}; }
    void run(uint32_t blocks, uint32_t threads) {
        launch.moves.block_count = blocks;
        TestRanks::run(blocks, threads, [&](Threads thread, void* sync, uint32_t index) {
            board_run(thread, sync, launch, index);
        });
    }
    bool moved() const {
        bool all = true;
        for (uint64_t i = 0; i < 100'000; ++i) {
            all = all && to[i] == from[i] && to[120'000 + i] == from[150'000 + i];
        }
        return all && untouched(100'000, 120'000) && untouched(220'000, to.size());
    }
    bool untouched(uint64_t begin, uint64_t until) const {
        bool all = true;
        for (uint64_t i = begin; i < until; ++i) {
            all = all && to[i] == 'x';
        }
        return all;
    }
    bool cleared() const {
        return words[0] == 1 && words[8] == 0 && words[16] == 0 && words[24] == 1;
    }
    bool kept() const { return words[8] == 1 && words[16] == 1; }

    TestMemory memory[ranks] = {TestMemory(512), TestMemory(512), TestMemory(512)};
    std::vector<uint64_t> boards;
    std::vector<char> from = std::vector<char>(300'000), to = std::vector<char>(240'000, 'x');
    uint64_t words[32] = {1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                          1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    uint64_t stop = 0;
    LaneEnd end{};
    BoardLaunch launch{};
};

}  // namespace

TEST_CASE("rows onto a board, words cleared, the card open behind them") {
    for (const uint32_t threads : {1u, 5u}) {
        Bench bench;
        bench.card(0) = {77, {}, {}, {}};
        bench.launch.card = &bench.card(0);
        bench.launch.places[0] = 70;
        bench.launch.places[1] = 80;
        bench.run(1, threads);
        CHECK(bench.moved());
        CHECK(bench.cleared());
        CHECK(bench.card(0).turn == card_open);
        CHECK(bench.card(0).args.packed == args.packed);
        CHECK(bench.card(0).args.root == args.root);
        CHECK(bench.card(0).addresses[0] == 70);
        CHECK(bench.card(0).addresses[1] == 80);
        CHECK(bench.stop == 0);
    }
}

TEST_CASE("stopped before, a launch moves and clears nothing and leaves its card void") {
    Bench bench;
    bench.stop = 1;
    bench.check();
    bench.launch.card = &bench.card(0);
    bench.run(1, 2);
    CHECK(bench.untouched(0, bench.to.size()));
    CHECK(bench.kept());
    CHECK(bench.card(0).turn == card_void);
    CHECK(bench.end.how == Ended::no);
}

TEST_CASE("cards that are open and alike let rows through, in several blocks") {
    Bench bench;
    bench.check();
    bench.run(3, 2);
    CHECK(bench.moved());
    CHECK(bench.cleared());
    CHECK(bench.stop == 0);
    CHECK(bench.end.how == Ended::no);
}

TEST_CASE("a void card stops the launch and all behind it, and is nobody's mismatch") {
    for (const uint64_t packed : {args.packed, uint64_t{9}}) {
        Bench bench;
        bench.check();
        bench.card(1).turn = card_void;
        bench.card(1).args.packed = packed;
        bench.run(3, 2);
        CHECK(bench.untouched(0, bench.to.size()));
        CHECK(bench.kept());
        CHECK(bench.stop == 1);
        CHECK(bench.end.how == Ended::no);
    }
}

TEST_CASE("a card that differs is reported, even beside a void one") {
    for (const bool in_root : {false, true}) {
        Bench bench;
        bench.check();
        bench.card(0).turn = card_void;
        (in_root ? bench.card(2).args.root : bench.card(2).args.packed) = 9;
        bench.run(3, 2);
        CHECK(bench.untouched(0, bench.to.size()));
        CHECK(bench.kept());
        CHECK(bench.stop == 1);
        CHECK(bench.end.how == Ended::mismatch);
        CHECK(bench.end.peer == 2);
        CHECK(bench.end.own.packed == args.packed);
        CHECK((in_root ? bench.end.theirs.root : bench.end.theirs.packed) == 9);
    }
}

TEST_CASE("a card that speaks of another place is reported with both") {
    for (const uint32_t at : {0u, 1u}) {
        Bench bench;
        bench.check();
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            bench.card(rank).addresses[0] = bench.launch.places[0] = 70;
            bench.card(rank).addresses[1] = bench.launch.places[1] = 80;
        }
        bench.card(1).addresses[at] = 9;
        bench.run(3, 2);
        CHECK(bench.untouched(0, bench.to.size()));
        CHECK(bench.stop == 1);
        CHECK(bench.end.how == Ended::mismatch);
        CHECK(bench.end.peer == 1);
        CHECK(bench.end.own.packed == bench.end.theirs.packed);
        CHECK(bench.end.wait == (at == 0 ? 70 : 80));
        CHECK(bench.end.place == 9);
    }
}

TEST_CASE("only the cards asked about count") {
    Bench bench;
    bench.check();
    bench.launch.check.first = 1;
    bench.launch.check.count = 1;
    bench.card(0).turn = bench.card(2).turn = card_void;
    bench.run(1, 2);
    CHECK(bench.moved());
}

namespace {

// A program carried by its launch.
struct Carried {
    Launch launch{};
    uint64_t stop = 0;

    Carried() {
        launch.carried.part.abort_word = &stop;
        launch.carried.tile_bytes = 4096;
    }
    void step(Do what, uint64_t bytes, std::initializer_list<const void*> addresses) {
        CarriedProgram& program = launch.carried;
        program.steps[program.step_count++] = {
            what, static_cast<uint32_t>(addresses.size()), program.operand_count, 0, 0, 0, bytes};
        for (const void* at : addresses) {
            program.operands[program.operand_count++] = {address(at), 0, 1};
        }
        program.tiles = static_cast<uint32_t>((bytes + 4095) / 4096);
    }
    template <DataType type, RedOp op>
    void run(uint32_t blocks, uint32_t threads) {
        launch.lane_count = blocks;
        TestRanks::run(blocks, threads, [&](Threads thread, void* sync, uint32_t index) {
            lane_run<type, op>(thread, sync, lanes[index].get(), launch, index);
        });
    }
    std::vector<std::unique_ptr<SharedLane>> lanes = [] {
        std::vector<std::unique_ptr<SharedLane>> made;
        for (int i = 0; i < 4; ++i) {
            made.push_back(std::make_unique<SharedLane>());
            std::memset(static_cast<void*>(made.back().get()), 0xcb, sizeof(SharedLane));
        }
        return made;
    }();
};

}  // namespace

TEST_CASE("a carried sum, divided, by any number of blocks and threads") {
    constexpr size_t count = 5003;
    for (const uint32_t blocks : {1u, 3u, 4u}) {
        std::vector<int32_t> input[ranks], output(count + 1, 5);
        for (uint32_t rank = 0; rank < ranks; ++rank) {
            for (size_t i = 0; i < count; ++i) {
                input[rank].push_back(static_cast<int32_t>(rank * 1000 + i));
            }
        }
        Carried carried;
        carried.step(Do::reduce, count * 4,
                     {output.data(), input[0].data(), input[1].data(), input[2].data()});
        carried.step(Do::divide, count * 4, {output.data()});
        carried.launch.carried.part.divisor = ranks;
        carried.run<DataType::int32, RedOp::sum>(blocks, blocks == 3 ? 2 : 1);
        size_t wrong = 0;
        for (size_t i = 0; i < count; ++i) {
            wrong += output[i] != static_cast<int32_t>(1000 + i) ? 1 : 0;
        }
        CHECK(wrong == 0);
        CHECK(output[count] == 5);
    }
}

TEST_CASE("carried rows are scaled, by the factor given or the one found") {
    constexpr size_t count = 3000;
    for (const bool found : {false, true}) {
        std::vector<float> from(2 * count, 3), to(2 * count, -1);
        const float factor = 0.5f;
        Carried carried;
        carried.step(Do::scale, count * 4, {to.data(), from.data()});
        carried.step(Do::scale, count * 4, {to.data() + count, from.data() + count});
        if (found) {
            carried.launch.carried.part.factor_at = &factor;
        } else {
            carried.launch.carried.part.factor = std::bit_cast<uint32_t>(factor);
        }
        carried.run<DataType::float32, RedOp::sum>(2, 2);
        CHECK(to == std::vector<float>(2 * count, 1.5f));
    }
}

TEST_CASE("a carried program that was stopped stores nothing") {
    std::vector<float> from(3000, 3), to(3000, -1);
    Carried carried;
    carried.step(Do::scale, 12'000, {to.data(), from.data()});
    carried.stop = 1;
    carried.run<DataType::float32, RedOp::sum>(2, 2);
    CHECK(to == std::vector<float>(3000, -1));
}
