// Every plan that a device can run, lowered and run by the interpreter of src/gpu/device as the
// host compiler sees it: blocks of one thread, ranks in one process, values computed from the
// definition of the collective. Each case runs twice on the same words: once with every lane a
// block of its own, once with one block a rank that runs the lanes one after the other, which must
// end, too.
#include "src/exec/device_program.h"

#include <cstring>
#include <memory>
#include <thread>

#include "src/gpu/device/lanes.h"
#include "tests/catch.h"
#include "tests/unit/exec/collective_check.h"

using namespace weft;
namespace dev = weft::gpu::device;
using plan::Algo;
using plan::Space;

namespace {

struct Case {
    Coll coll;
    Algo algo;
    int n;
    uint64_t count;
    bool loads = false;
    int root = 0;
};

std::string text_of(const Case& c) {
    return std::string(to_string(c.coll)) + " by " + plan::to_string(c.algo) +
           (c.loads ? " with loads" : "") + ", " + std::to_string(c.n) + " ranks, count " +
           std::to_string(c.count) + ", root " + std::to_string(c.root);
}

std::vector<Program> programs_of(const Case& c, uint32_t elem_bytes) {
    plan::Request request;
    request.coll = c.coll;
    request.rank_count = c.n;
    request.root = c.root;
    request.count = c.count;
    request.elem_bytes = elem_bytes;
    request.peer_load = c.loads;
    plan::Limits limits;
    limits.granted = ~0u;
    const plan::Way way{c.algo, c.loads, Algo::ring, 2, 64, ""};
    const plan::Choice choice = plan::choice_of(request, limits, way);
    std::vector<Program> parts;
    for (int rank = 0; rank < c.n; rank++) {
        const auto part = plan::generate(choice.shape, choice.lanes, rank);
        REQUIRE(part.ok());
        auto program = program_build(choice, part.value(), c.count, elem_bytes);
        REQUIRE(program.ok());
        parts.push_back(std::move(program).value());
    }
    return parts;
}

void no_wait(dev::Block*) {
}

// The device memory of a communicator: what its ranks keep from one operation to the next.
template <class T>
class Gang {
  public:
    Gang(const Case& c, const DeviceCall& call) : case_(c), count_(static_cast<uint32_t>(c.n)) {
        const std::vector<Program> parts = programs_of(c, sizeof(T));
        for (uint32_t rank = 0; rank < count_; rank++) {
            auto program = device_lower(parts, rank, call);
            if (!program.ok()) {
                FAIL(text_of(c) << ": " << program.error().what);
            }
            ranks_.push_back(std::make_unique<Rank>());
            ranks_.back()->program = std::move(program).value();
        }
        const test::Shape shape = test::shape_of(c.coll, c.n);
        for (const auto& rank : ranks_) {
            rank->input.resize(c.count * shape.input_blocks);
            rank->output.resize(c.count * shape.output_blocks);
            rank->scratch.resize(rank->program.scratch_bytes / sizeof(T));
            rank->words.resize(word_slots(count_));
        }
        tables_fill();
    }

    std::vector<T>& input(int rank) { return ranks_[static_cast<size_t>(rank)]->input; }
    std::vector<T>& output(int rank) { return ranks_[static_cast<size_t>(rank)]->output; }
    dev::RankProgram& head(int rank) { return heads_[static_cast<size_t>(rank)]; }

    template <DataType type, RedOp op>
    void run(bool lanes_in_turn) {
        const auto lanes = static_cast<uint32_t>(ranks_[0]->lanes.size());
        const dev::Launch launch{heads_.data(), lanes};
        std::vector<std::thread> threads;
        for (uint32_t rank = 0; rank < count_; rank++) {
            const uint32_t first = rank * lanes;
            for (uint32_t lane = 0; lane < (lanes_in_turn ? 1 : lanes); lane++) {
                const uint32_t blocks = lanes_in_turn ? lanes : 1;
                threads.emplace_back([launch, first, lane, blocks] {
                    dev::Block block{no_wait};
                    const auto shared = std::make_unique<dev::SharedLane>();
                    for (uint32_t i = 0; i < blocks; i++) {
                        dev::lane_run<type, op>({{0, 1}, &block, shared.get()}, launch,
                                                first + lane + i);
                    }
                });
            }
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }

  private:
    struct Rank {
        DeviceProgram program;
        std::vector<T> input, output, scratch;
        std::vector<uint64_t> words;  // its own
        std::vector<uint64_t> word_table, epochs, bases;
        std::vector<dev::LaneProgram> lanes;
        uint64_t abort_word = 0;
    };

    static uint64_t address(const void* at) { return reinterpret_cast<uint64_t>(at); }

    void tables_fill() {
        for (uint32_t rank = 0; rank < count_; rank++) {
            Rank& own = *ranks_[rank];
            own.epochs.resize(word_table_size(count_));
            own.word_table.resize(word_table_size(count_));
            own.bases.resize(3 * static_cast<size_t>(count_));
            for (uint32_t other = 0; other < count_; other++) {
                Rank& peer = *ranks_[other];
                own.bases[base_of(Space::input, other)] = address(peer.input.data());
                own.bases[base_of(Space::output, other)] = address(peer.output.data());
                own.bases[base_of(Space::scratch, other)] = address(peer.scratch.data());
                words_fill(own, rank, peer, other);
            }
            for (const DeviceLane& lane : own.program.lanes) {
                own.lanes.push_back({lane.steps.data(), lane.operands.data(), lane.ends.data(),
                                     static_cast<uint32_t>(lane.steps.size()),
                                     static_cast<uint32_t>(lane.operands.size()),
                                     static_cast<uint32_t>(lane.ends.size()), own.program.tiles,
                                     own.program.tile_bytes});
            }
            heads_.push_back({own.lanes.data(), own.bases.data(), own.word_table.data(),
                              own.epochs.data(), &own.abort_word, nullptr, 0, count_,
                              static_cast<uint32_t>(own.bases.size()),
                              static_cast<uint32_t>(own.lanes.size())});
        }
    }

    void words_fill(Rank& own, uint32_t rank, Rank& peer, uint32_t other) {
        for (uint32_t kind = 0; kind < word_kinds; kind++) {
            const auto word = static_cast<Word>(kind);
            for (uint32_t lane = 0; lane < lane_count_max; lane++) {
                own.word_table[word_own(word, lane, other, count_)] =
                    address(&own.words[word_slot(word, lane, other, count_)]);
                own.word_table[word_posted(word, lane, other, count_)] =
                    address(&peer.words[word_slot(word, lane, rank, count_)]);
            }
        }
    }

    Case case_;
    uint32_t count_;
    std::vector<std::unique_ptr<Rank>> ranks_;
    std::vector<dev::RankProgram> heads_;
};

uint64_t wrong_of(const Case& c) {
    Gang<int32_t> gang(c, {});
    uint64_t wrong = 0;
    for (uint64_t salt = 0; salt < 2; salt++) {
        for (int rank = 0; rank < c.n; rank++) {
            for (uint64_t i = 0; i < gang.input(rank).size(); i++) {
                gang.input(rank)[i] = test::input_at(rank, i, salt);
            }
        }
        gang.run<DataType::int32, RedOp::sum>(salt == 1);
        for (int rank = 0; rank < c.n; rank++) {
            for (uint64_t i = 0; i < gang.output(rank).size(); i++) {
                int32_t want = 0;
                wrong += test::expected(c.coll, c.n, c.root, rank, c.count, i, salt, &want) &&
                         gang.output(rank)[i] != want;
            }
        }
    }
    return wrong;
}

bool has_root(Coll coll) {
    return coll == Coll::broadcast || coll == Coll::reduce || coll == Coll::gather ||
           coll == Coll::scatter;
}

// The lanes of a tree's two directions wait for each other.
bool runs_on_device(Coll coll, Algo algo) {
    return plan::has_plan(coll, algo) && !(algo == Algo::tree && coll == Coll::all_reduce);
}

constexpr Algo flat[] = {Algo::direct, Algo::ring,  Algo::halving, Algo::tree,
                         Algo::mesh,   Algo::chain, Algo::binomial};

}  // namespace

TEST_CASE("device programs of every collective and flat algorithm give the right values") {
    int cases = 0;
    for (int index = 0; index < coll_count - 1; index++) {
        const auto coll = static_cast<Coll>(index);
        for (const Algo algo : flat) {
            for (const int n : {2, 3, 4}) {
                for (const uint64_t count : {1u, 37u, 100u}) {
                    const Case c{coll, algo, n, count, false, has_root(coll) ? n - 1 : 0};
                    if (!runs_on_device(coll, algo)) {
                        continue;
                    }
                    cases++;
                    if (wrong_of(c) != 0) {
                        FAIL(text_of(c));
                    }
                }
            }
        }
    }
    CHECK(cases == 9 * (8 + 5 + 3 + 2 + 3 + 2 + 2));
}

TEST_CASE("device programs that load from peers") {
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::broadcast}) {
        for (const uint64_t count : {1u, 100u}) {
            const Case c{coll, Algo::direct, 3, count, true};
            if (wrong_of(c) != 0) {
                FAIL(text_of(c));
            }
        }
    }
}

TEST_CASE("an average of integers is divided at the end, one of floats multiplied at the start") {
    for (const Algo algo : {Algo::direct, Algo::ring, Algo::halving, Algo::mesh}) {
        constexpr int n = 4;
        const Case c{Coll::all_reduce, algo, n, 100};
        Gang<int32_t> whole(c, {.divide = true});
        Gang<float> real(c, {.scale_inputs = true});
        const float quarter = 0.25f;
        for (int rank = 0; rank < n; rank++) {
            whole.head(rank).divisor = n;
            std::memcpy(&real.head(rank).factor, &quarter, sizeof(quarter));
            for (int i = 0; i < 100; i++) {
                whole.input(rank)[static_cast<size_t>(i)] = -rank - i;
                real.input(rank)[static_cast<size_t>(i)] = static_cast<float>(rank + i);
            }
        }
        whole.run<DataType::int32, RedOp::sum>(false);
        real.run<DataType::float32, RedOp::sum>(true);
        for (int rank = 0; rank < n; rank++) {
            for (int i = 0; i < 100; i++) {
                CHECK(whole.output(rank)[static_cast<size_t>(i)] == (-6 - 4 * i) / 4);
                CHECK(real.output(rank)[static_cast<size_t>(i)] ==
                      static_cast<float>(6 + 4 * i) / 4);
            }
        }
    }
}

TEST_CASE("what a device cannot run is refused with the reason") {
    const auto refusal = [](const Case& c, const DeviceCall& call) {
        const auto program = device_lower(programs_of(c, 4), 0, call);
        return program.ok() ? "lowered" : program.error().what;
    };
    CHECK(refusal({Coll::all_reduce, Algo::tree, 4, 100}, {}).find("wait for each other") !=
          std::string::npos);
    CHECK(refusal({Coll::all_gather, Algo::direct, 22, 100}, {}).find("22 ranks share memory") !=
          std::string::npos);
    CHECK(refusal({Coll::all_reduce, Algo::direct, 3, 100, true}, {.scale_inputs = true})
              .find("not multiplied") != std::string::npos);
}
