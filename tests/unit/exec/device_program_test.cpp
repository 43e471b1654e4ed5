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
#include "tests/fake_cuda/ranks.h"
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

constexpr uint64_t scratch_bytes = 64 << 10;

// The device memory of a communicator: what its ranks keep from one operation to the next.
template <class T>
class Gang {
  public:
    Gang(const Case& c, const DeviceCall& call)
        : count_(static_cast<uint32_t>(c.n)), layout_(count_, scratch_bytes), memory_(layout_) {
        const std::vector<Program> parts = programs_of(c, sizeof(T));
        const reference::Blocks blocks = reference::blocks_of(c.coll, c.n);
        for (uint32_t rank = 0; rank < count_; rank++) {
            auto program = device_lower(parts, rank, layout_, call);
            if (!program.ok()) {
                FAIL(text_of(c) << ": " << program.error().what);
            }
            ranks_.push_back(std::make_unique<Rank>());
            ranks_.back()->program = std::move(program).value();
            ranks_.back()->input.resize(c.count * blocks.input);
            ranks_.back()->output.resize(c.count * blocks.output);
            lanes_fill(*ranks_.back());
        }
        launch_.rank_count = count_;
        launch_.lane_count = static_cast<uint32_t>(ranks_[0]->lanes.size());
        for (uint32_t rank = 0; rank < count_; rank++) {
            Rank& own = *ranks_[rank];
            launch_.ranks[rank].part = memory_.part(rank, own.input.data(), own.output.data());
            launch_.ranks[rank].lanes = own.lanes.data();
        }
    }

    std::vector<T>& input(int rank) { return ranks_[static_cast<size_t>(rank)]->input; }
    std::vector<T>& output(int rank) { return ranks_[static_cast<size_t>(rank)]->output; }
    dev::RankPart& part(int rank) { return launch_.ranks[rank].part; }

    template <DataType type, RedOp op>
    void run(bool lanes_in_turn) {
        const uint32_t lanes = launch_.lane_count;
        const uint32_t blocks = lanes_in_turn ? lanes : 1;
        const uint32_t threads = count_ * (lanes_in_turn ? 1 : lanes);
        gpu::TestRanks::run(threads, 1, [&](dev::Threads thread, void* sync, uint32_t index) {
            const auto shared = std::make_unique<dev::SharedLane>();
            for (uint32_t i = 0; i < blocks; i++) {
                dev::lane_run<type, op>(thread, sync, shared.get(), launch_, index * blocks + i);
            }
        });
    }

  private:
    struct Rank {
        DeviceProgram program;
        std::vector<T> input, output;
        std::vector<dev::LaneProgram> lanes;
    };

    static void lanes_fill(Rank& own) {
        for (const DeviceLane& lane : own.program.lanes) {
            own.lanes.push_back({lane.steps.data(), lane.operands.data(), lane.ends.data(),
                                 static_cast<uint32_t>(lane.steps.size()),
                                 static_cast<uint32_t>(lane.operands.size()),
                                 static_cast<uint32_t>(lane.ends.size()), own.program.tiles,
                                 own.program.tile_bytes});
        }
    }

    uint32_t count_;
    gpu::Layout layout_;
    gpu::TestRanks memory_;
    std::vector<std::unique_ptr<Rank>> ranks_;
    dev::Launch launch_{};
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
                wrong += test::value_at({c.coll, c.n, c.root, c.count}, rank, i, salt, want) &&
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
            whole.part(rank).divisor = n;
            std::memcpy(&real.part(rank).factor, &quarter, sizeof(quarter));
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
        const gpu::Layout layout(static_cast<uint32_t>(c.n), 1024);
        const auto program = device_lower(programs_of(c, 4), 0, layout, call);
        return program.ok() ? "lowered" : program.error().what;
    };
    CHECK(refusal({Coll::all_reduce, Algo::tree, 4, 100}, {}).find("wait for each other") !=
          std::string::npos);
    CHECK(refusal({Coll::all_reduce, Algo::direct, 24, 100}, {}).find("bytes of scratch") !=
          std::string::npos);
    CHECK(refusal({Coll::all_reduce, Algo::direct, 3, 100, true}, {.scale_inputs = true})
              .find("not multiplied") != std::string::npos);
}

namespace {

// Every rank sends two numbers to every other, in two sends to each.
struct Exchange {
    explicit Exchange(uint32_t n) : n(n), layout(n, 0), memory(layout), values(2ull * n * n) {
        for (uint32_t rank = 0; rank < n; rank++) {
            std::vector<DevicePair> pairs;
            for (uint32_t i = 0; i < 2; i++) {
                for (uint32_t peer = 0; peer < n; peer++) {
                    if (peer != rank) {
                        pairs.push_back({peer, true, &sent(rank, peer, i), nullptr, 4});
                        pairs.push_back({peer, false, nullptr, &received(rank, peer, i), 4});
                    }
                }
            }
            REQUIRE(pairs_fit(pairs) == pairs.size());
            programs.push_back(device_lower_pairs(pairs, rank, layout, 2));
        }
    }

    int32_t& sent(uint32_t from, uint32_t to, uint32_t i) {
        return values[(from * n + to) * 2 + i][0];
    }
    int32_t& received(uint32_t at, uint32_t from, uint32_t i) {
        return values[(from * n + at) * 2 + i][1];
    }

    dev::Launch launch(DeviceProgram DevicePairs::*which, std::vector<dev::LaneProgram>& lanes) {
        dev::Launch made{n, 1, {}};
        for (const DevicePairs& pairs : programs) {
            const DeviceProgram& program = pairs.*which;
            made.lane_count = static_cast<uint32_t>(program.lanes.size());
            for (const DeviceLane& lane : program.lanes) {
                lanes.push_back({lane.steps.data(), lane.operands.data(), lane.ends.data(),
                                 static_cast<uint32_t>(lane.steps.size()),
                                 static_cast<uint32_t>(lane.operands.size()),
                                 static_cast<uint32_t>(lane.ends.size()), 1, program.tile_bytes});
            }
        }
        for (uint32_t rank = 0; rank < n; rank++) {
            made.ranks[rank].part = memory.part(rank, nullptr, nullptr);
            made.ranks[rank].lanes = lanes.data() + rank * made.lane_count;
            made.ranks[rank].more = programs[rank].more.data();
            made.ranks[rank].more_count = programs[rank].more.size();
        }
        return made;
    }

    // One block a rank, which runs its lanes one after the other.
    void run() {
        for (const auto which :
             {&DevicePairs::cards, &DevicePairs::sends, &DevicePairs::receives}) {
            std::vector<dev::LaneProgram> lanes;
            const dev::Launch made = launch(which, lanes);
            gpu::TestRanks::run(n, 1, [&](dev::Threads thread, void* sync, uint32_t index) {
                const auto shared = std::make_unique<dev::SharedLane>();
                for (uint32_t i = 0; i < made.lane_count; i++) {
                    dev::lane_run<DataType::uint8, RedOp::sum>(thread, sync, shared.get(), made,
                                                               index * made.lane_count + i);
                }
            });
        }
    }

    uint32_t n;
    gpu::Layout layout;
    gpu::TestRanks memory;
    std::vector<std::array<int32_t, 2>> values;
    std::vector<DevicePairs> programs;
};

}  // namespace

TEST_CASE("sends and receives among all, two to each, on one block a rank, again and again") {
    Exchange all(4);
    for (int32_t round = 0; round < 3 * static_cast<int32_t>(gpu::pair_depth); round++) {
        for (size_t i = 0; i < all.values.size(); i++) {
            all.values[i] = {round * 100 + static_cast<int32_t>(i), -1};
        }
        all.run();
        for (uint32_t at = 0; at < 4; at++) {
            for (uint32_t from = 0; from < 4; from++) {
                for (uint32_t i = 0; i < 2 && at != from; i++) {
                    CHECK(all.received(at, from, i) == all.sent(from, at, i));
                }
            }
        }
    }
}

TEST_CASE("a receive of another size than the send is found by the sender") {
    const gpu::Layout layout(2, 0);
    gpu::TestRanks memory(layout);
    int32_t from = 1, to = 2;
    const DevicePair send{1, true, &from, nullptr, 4};
    const DevicePair receive{0, false, nullptr, &to, 2};
    const DevicePairs programs[] = {device_lower_pairs(std::span(&send, 1), 0, layout, 8),
                                    device_lower_pairs(std::span(&receive, 1), 1, layout, 8)};
    CHECK(programs[0].cards.lanes.empty());
    const auto run = [&](const DeviceProgram& program, uint32_t rank) {
        const DeviceLane& lane = program.lanes.front();
        const dev::LaneProgram whole{lane.steps.data(),
                                     lane.operands.data(),
                                     lane.ends.data(),
                                     static_cast<uint32_t>(lane.steps.size()),
                                     static_cast<uint32_t>(lane.operands.size()),
                                     static_cast<uint32_t>(lane.ends.size()),
                                     1,
                                     program.tile_bytes};
        dev::Launch launch{1, 1, {}};
        launch.ranks[0] = {memory.part(rank, nullptr, nullptr), &whole, programs[rank].more.data(),
                           programs[rank].more.size()};
        gpu::TestRanks::run(1, 1, [&](dev::Threads thread, void* sync, uint32_t index) {
            const auto shared = std::make_unique<dev::SharedLane>();
            dev::lane_run<DataType::uint8, RedOp::sum>(thread, sync, shared.get(), launch, index);
        });
    };
    run(programs[1].cards, 1);
    run(programs[0].sends, 0);
    CHECK(memory.end(0, 0).how == dev::Ended::mismatch);
    CHECK(memory.end(0, 0).peer == 1);
    CHECK((memory.end(0, 0).own.packed & 0xff) == 4);
    CHECK((memory.end(0, 0).theirs.packed & 0xff) == 2);
    CHECK(to == 2);
}

TEST_CASE("what does not fit one launch is cut before the peer or the table is full") {
    std::vector<DevicePair> pairs(gpu::pair_depth + 1, DevicePair{1, true, nullptr, nullptr, 4});
    CHECK(pairs_fit(pairs) == gpu::pair_depth);
    pairs.clear();
    for (uint32_t i = 0; i < 100; i++) {
        pairs.push_back({i, true, nullptr, nullptr, 4});
    }
    CHECK(pairs_fit(pairs) == gpu::device::more_max / 4);
}
