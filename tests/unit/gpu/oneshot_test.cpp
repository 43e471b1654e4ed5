// The second family of kernels as the host compiler sees them, against values computed from what
// the operation means: every type and operation, sizes with and without a tail, places, in place,
// operations back to back, arguments that differ, abort, flags that come round.
#include "src/gpu/device/oneshot.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "src/reduce/reduce.h"
#include "tests/catch.h"
#include "tests/fake_cuda/ranks.h"

using namespace weft;
using namespace weft::gpu;
using namespace weft::gpu::device;

namespace {

using Kernel = void (*)(Threads, void*, const OneshotLaunch&, uint32_t);

template <DataType type>
constexpr std::array<Kernel, 4> kernels_of() {
    return {oneshot_run<type, RedOp::sum>, oneshot_run<type, RedOp::prod>,
            oneshot_run<type, RedOp::max>, oneshot_run<type, RedOp::min>};
}

template <size_t... index>
constexpr std::array<std::array<Kernel, 4>, sizeof...(index)> kernels_table(
    std::index_sequence<index...>) {
    return {kernels_of<static_cast<DataType>(index)>()...};
}

constexpr auto kernels = kernels_table(std::make_index_sequence<data_type_count>());

struct Case {
    DataType type = DataType::uint8;
    RedOp op = RedOp::sum;
    Oneshot what = Oneshot::reduce;
    uint32_t ranks = 2;
    uint32_t count = 1;
    uint32_t threads = 1;
    uint32_t place = 0;  // of the buffers, from a boundary
    bool in_place = false;
    uint32_t bytes() const { return count * static_cast<uint32_t>(size_of(type)); }
};

// A communicator's memory, and buffers for one kind of operation.
class Ranks {
  public:
    explicit Ranks(const Case& c) : case_(c), layout_(c.ranks, 0), ranks_(layout_) {
        for (uint32_t rank = 0; rank < c.ranks; ++rank) {
            inputs_.push_back(std::make_unique<TestMemory>(c.bytes() + 64));
            outputs_.push_back(std::make_unique<TestMemory>(output_bytes() + 64, guard));
        }
    }

    static constexpr int guard = 0x5a;
    uint32_t output_bytes() const {
        return case_.bytes() * (case_.what == Oneshot::gather ? case_.ranks : 1);
    }
    char* output(uint32_t rank) { return outputs_[rank]->data() + case_.place; }
    char* input(uint32_t rank) {
        if (!case_.in_place) {
            return inputs_[rank]->data() + case_.place;
        }
        return output(rank) + (case_.what == Oneshot::gather ? rank * case_.bytes() : 0);
    }
    TestRanks& memory() { return ranks_; }
    const Layout& layout() const { return layout_; }

    void fill(uint64_t seed) {
        std::mt19937_64 random(seed);
        for (uint32_t rank = 0; rank < case_.ranks; ++rank) {
            for (uint32_t i = 0; i < case_.count; ++i) {
                const double value = static_cast<double>(random() % 64) - 16;
                std::memcpy(input(rank) + i * size_of(case_.type),
                            scalar_from_double(case_.type, value).bytes, size_of(case_.type));
            }
        }
    }

    OneshotLaunch launch() {
        OneshotLaunch made{case_.ranks, 0, {}};
        for (uint32_t rank = 0; rank < case_.ranks; ++rank) {
            OneshotRank& own = made.ranks[rank];
            own.part = ranks_.part(rank, input(rank), output(rank));
            own.part.args = {0x123456789abcdef0, 5};
            own.inbox = layout_.inbox();
            own.epoch = 8ull * layout_.epoch_small();
            own.bytes = case_.bytes();
            own.what = case_.what;
            own.root = case_.ranks - 1;
        }
        return made;
    }

    void run(const OneshotLaunch& launch) {
        const Kernel kernel =
            kernels[static_cast<size_t>(case_.type)][static_cast<size_t>(case_.op)];
        TestRanks::run(case_.ranks, case_.threads, [&](Threads thread, void* sync, uint32_t index) {
            kernel(thread, sync, launch, index);
        });
    }

    // What every rank's output must be.
    std::vector<char> expected() {
        const uint32_t bytes = case_.bytes();
        std::vector<char> want(output_bytes());
        std::vector<const void*> from;
        for (uint32_t rank = 0; rank < case_.ranks; ++rank) {
            from.push_back(input(rank));
            if (case_.what == Oneshot::gather) {
                std::memcpy(want.data() + rank * bytes, input(rank), bytes);
            }
        }
        if (case_.what == Oneshot::reduce) {
            plain::reduce_many(want.data(), from.data(), static_cast<int>(case_.ranks), case_.count,
                               case_.type, case_.op);
        } else if (case_.what == Oneshot::spread) {
            std::memcpy(want.data(), from.back(), bytes);
        }
        return want;
    }

    bool right(const std::vector<char>& want) {
        bool all = true;
        for (uint32_t rank = 0; rank < case_.ranks; ++rank) {
            all = all && std::equal(want.begin(), want.end(), output(rank)) &&
                  output(rank)[want.size()] == guard &&
                  (case_.place == 0 || output(rank)[-1] == guard) &&
                  ranks_.end(rank, 0).how == Ended::well;
        }
        return all;
    }

  private:
    Case case_;
    Layout layout_;
    TestRanks ranks_;
    std::vector<std::unique_ptr<TestMemory>> inputs_, outputs_;
};

std::string text_of(const Case& c) {
    return std::string(to_string(c.type)) + " " + to_string(c.op) + " what " +
           std::to_string(static_cast<int>(c.what)) + " ranks " + std::to_string(c.ranks) +
           " count " + std::to_string(c.count) + " threads " + std::to_string(c.threads) +
           " place " + std::to_string(c.place) + (c.in_place ? " in place" : "");
}

void check(const Case& c, int rounds = 3) {
    INFO(text_of(c));
    Ranks ranks(c);
    for (int round = 0; round < rounds; ++round) {
        ranks.fill(static_cast<uint64_t>(round));
        const std::vector<char> want = ranks.expected();
        ranks.run(ranks.launch());
        if (!ranks.right(want)) {
            FAIL(text_of(c) << " round " << round);
        }
    }
    CHECK(ranks.memory().epoch(0, ranks.layout().epoch_small()) == static_cast<uint64_t>(rounds));
}

}  // namespace

TEST_CASE("small all-reduces of every type and operation") {
    for (int type = 0; type < data_type_count; ++type) {
        for (int op = 0; op < 4; ++op) {
            for (const uint32_t count : {1u, 13u}) {
                check({static_cast<DataType>(type), static_cast<RedOp>(op), Oneshot::reduce, 3,
                       count, 2, 0, false},
                      2);
            }
        }
    }
}

TEST_CASE("small operations at odd places, in place, with every number of threads") {
    for (const Oneshot what : {Oneshot::reduce, Oneshot::gather, Oneshot::spread}) {
        for (const uint32_t threads : {1u, 3u}) {
            for (const uint32_t place : {0u, 4u, 6u}) {
                for (const uint32_t count : {1u, 7u, 64u}) {
                    check({DataType::bfloat16, RedOp::sum, what, 4, count, threads, place, false});
                    check({DataType::float32, RedOp::max, what, 2, count, threads, place, true});
                }
            }
        }
    }
}

TEST_CASE("the largest block, one rank alone, and a barrier") {
    check({DataType::int32, RedOp::sum, Oneshot::reduce, 3, oneshot_bytes_max / 4, 4, 0, false});
    check({DataType::uint8, RedOp::sum, Oneshot::gather, 2, oneshot_bytes_max, 2, 1, false});
    check({DataType::int32, RedOp::sum, Oneshot::reduce, 1, 5, 1, 0, false});
    check({DataType::uint8, RedOp::sum, Oneshot::reduce, 4, 0, 2, 0, false});
}

TEST_CASE("averages: floats are multiplied at the start, integers divided at the end") {
    Ranks real({DataType::float32, RedOp::sum, Oneshot::reduce, 4, 6, 2, 0, false});
    real.fill(1);
    std::vector<char> want = real.expected();
    OneshotLaunch launch = real.launch();
    const float quarter = 0.25f;
    for (uint32_t rank = 0; rank < 4; ++rank) {
        launch.ranks[rank].scales = 1;
        launch.ranks[rank].part.factor_at = &quarter;
    }
    real.run(launch);
    Ranks whole({DataType::int32, RedOp::sum, Oneshot::reduce, 4, 6, 2, 0, false});
    whole.fill(1);
    launch = whole.launch();
    for (uint32_t rank = 0; rank < 4; ++rank) {
        launch.ranks[rank].part.divisor = 4;
    }
    const std::vector<char> want_whole = whole.expected();
    whole.run(launch);
    for (size_t i = 0; i < 6; ++i) {
        float sum = 0, got = 0;
        int32_t sum_whole = 0, got_whole = 0;
        std::memcpy(&sum, want.data() + i * 4, 4);
        std::memcpy(&got, real.output(1) + i * 4, 4);
        std::memcpy(&sum_whole, want_whole.data() + i * 4, 4);
        std::memcpy(&got_whole, whole.output(2) + i * 4, 4);
        CHECK(got == sum / 4);
        CHECK(got_whole == sum_whole / 4);
    }
}

TEST_CASE("small operations with arguments that differ end before they use a byte") {
    Ranks ranks({DataType::int32, RedOp::sum, Oneshot::reduce, 3, 6, 2, 0, false});
    ranks.fill(1);
    OneshotLaunch launch = ranks.launch();
    launch.ranks[1].part.args.root = 6;
    ranks.run(launch);
    for (uint32_t rank = 0; rank < 3; ++rank) {
        const LaneEnd& end = ranks.memory().end(rank, 0);
        CHECK(end.how == Ended::mismatch);
        CHECK(end.peer == (rank == 1 ? 0u : 1u));
        CHECK(end.own.root == (rank == 1 ? 6u : 5u));
        CHECK(end.theirs.root == (rank == 1 ? 5u : 6u));
        CHECK(end.theirs.packed == 0x123456789abcdef0);
        CHECK(ranks.output(rank)[0] == Ranks::guard);
    }
}

TEST_CASE("an abort ends a small operation that waits, and one that has not begun") {
    Ranks ranks({DataType::int32, RedOp::sum, Oneshot::reduce, 2, 6, 1, 0, false});
    ranks.fill(1);
    OneshotLaunch launch = ranks.launch();
    launch.rank_count = 1;  // the other rank does not come
    std::thread abort([&] { store_release(&ranks.memory().abort_word(0), 1); });
    TestRanks::run(1, 2, [&](Threads thread, void* sync, uint32_t index) {
        oneshot_run<DataType::int32, RedOp::sum>(thread, sync, launch, index);
    });
    abort.join();
    CHECK(ranks.memory().end(0, 0).how == Ended::aborted);
    CHECK(ranks.output(0)[0] == Ranks::guard);
    CHECK(ranks.memory().epoch(0, ranks.layout().epoch_small()) == 0);
}

TEST_CASE("a small operation waits for each word, whatever the word of another one says") {
    constexpr uint32_t words = oneshot_head_words + 2;
    for (uint32_t missing = 0; missing < words; ++missing) {
        INFO("word " << missing);
        Ranks ranks({DataType::uint8, RedOp::sum, Oneshot::reduce, 2, 8, 1, 0, false});
        ranks.fill(1);
        const OneshotLaunch launch = ranks.launch();
        const uint64_t inbox = ranks.layout().inbox();
        // From rank 1, which does not come; of the first operation, but for one.
        auto* const heard =
            reinterpret_cast<uint64_t*>(ranks.memory().memory(0) + inbox) + oneshot_words;
        for (uint32_t i = 0; i < words; ++i) {
            const uint32_t data =
                i < oneshot_head_words ? head_word(launch.ranks[0].part.args, i) : 0;
            heard[i] = ll_pack(data, i == missing ? 7 : 1);
        }
        const auto* const told = reinterpret_cast<uint64_t*>(ranks.memory().memory(1) + inbox);
        std::thread abort([&] {
            while (ll_flag(ll_load(told)) != 1) {
                std::this_thread::yield();
            }
            store_release(&ranks.memory().abort_word(0), 1);
        });
        TestRanks::run(1, 1, [&](Threads thread, void* sync, uint32_t index) {
            oneshot_run<DataType::uint8, RedOp::sum>(thread, sync, launch, index);
        });
        abort.join();
        CHECK(ranks.memory().end(0, 0).how == Ended::aborted);
        CHECK(ranks.output(0)[0] == Ranks::guard);
    }
}

TEST_CASE("flags that come round: words nobody has used for long are renewed in time") {
    Ranks ranks({DataType::int32, RedOp::sum, Oneshot::reduce, 2, 6, 2, 0, false});
    // The last two operations of a period; afterwards no word may be older than they are.
    const uint64_t at = 2 * refresh_period - 2;
    for (uint32_t rank = 0; rank < 2; ++rank) {
        ranks.memory().epoch(rank, ranks.layout().epoch_small()) = at;
    }
    for (uint64_t i = 0; i < 2; ++i) {
        ranks.fill(i);
        const std::vector<char> want = ranks.expected();
        ranks.run(ranks.launch());
        CHECK(ranks.right(want));
    }
    const auto* const inbox =
        reinterpret_cast<const uint64_t*>(ranks.memory().memory(0) + ranks.layout().inbox());
    for (uint32_t part = 0; part < 2; ++part) {
        const uint64_t* const words = inbox + (part * 2 + 1) * oneshot_words;
        bool renewed = true;
        for (uint32_t i = 0; i < oneshot_words; ++i) {
            renewed = renewed && ll_flag(words[i]) == static_cast<uint32_t>(at + part + 1);
        }
        CHECK(renewed);
    }
}
