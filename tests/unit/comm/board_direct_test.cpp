// Collectives on memory of symmetric windows, run over memory of the host: every rank's buffers are
// read by the others where they lie, each stage by all ranks before the next, one rank after the
// other, so that what is stored too early is seen.
#include "src/comm/board_direct.h"

#include <cstring>

#include "src/comm/board_cut.h"
#include "tests/unit/comm/cut_ranks.h"

using namespace weft;
using namespace weft::test;

namespace {

constexpr uint64_t enough = (1 << 20) / 4 + 13;  // elements

uint64_t address(const void* at) {
    return reinterpret_cast<uint64_t>(at);
}

// Buffers of every rank, and which of them are windows: number 1 the inputs, 2 the outputs.
struct World {
    World(Coll coll, size_t n, uint64_t count, bool in_place)
        : ranks(ranks_make(n, blocks_of(coll, n), count)), want(ranks) {
        std::vector<Call> plain;
        for (size_t r = 0; r < n; r++) {
            Call call = call_of(coll, count, n > 1 ? 1 : 0);
            call.send = want[r].send.data();
            call.recv = want[r].recv.data();
            plain.push_back(call);
            call.send = ranks[r].send.data();
            call.recv = ranks[r].recv.data();
            calls.push_back(in_place ? in_place_call(call, r) : call);
        }
        collective(plain);
    }
    // The input is a part of the output or the other way round, as NCCL has it.
    Call in_place_call(Call call, size_t r) {
        Rank& rank = ranks[r];
        switch (call.coll) {
            case Coll::reduce_scatter:
                call.recv = rank.send.data() + r * call.count;
                break;
            case Coll::all_gather:
                std::memcpy(rank.recv.data() + r * call.count, rank.send.data(), call.count * 4);
                call.send = rank.recv.data() + r * call.count;
                break;
            default:
                call.recv = rank.send.data();
                break;
        }
        return call;
    }
    WindowFind windows(size_t r, bool inputs, bool outputs) const {
        return [this, r, inputs, outputs](uint64_t at, uint64_t bytes) {
            const auto in = [&](const std::vector<uint32_t>& buffer) {
                const uint64_t begin = address(buffer.data());
                return at >= begin && at + bytes <= begin + buffer.size() * 4;
            };
            if (inputs && in(ranks[r].send)) {
                return WindowPlace(1, at - address(ranks[r].send.data()));
            }
            if (outputs && in(ranks[r].recv)) {
                return WindowPlace(2, at - address(ranks[r].recv.data()));
            }
            return WindowPlace();
        };
    }
    const char* at(size_t rank, const WindowPlace& place) const {
        const auto& buffer = place.number() == 1 ? ranks[rank].send : ranks[rank].recv;
        return reinterpret_cast<const char*>(buffer.data()) + place.offset();
    }

    std::vector<Rank> ranks, want;
    std::vector<Call> calls;
};

void reduced(const World& world, const BoardPart& part) {
    std::vector<uint32_t> sum(part.reduce.bytes / 4);
    for (size_t peer = 0; peer < world.ranks.size() && !sum.empty(); peer++) {
        const char* const from = world.at(peer, part.direct.send) + part.reduce.at;
        for (size_t i = 0; i < sum.size(); i++) {
            uint32_t next = 0;
            std::memcpy(&next, from + 4 * i, 4);
            sum[i] += next;
        }
    }
    if (!sum.empty()) {
        std::memcpy(reinterpret_cast<char*>(part.reduce.to), sum.data(), part.reduce.bytes);
    }
}

// Runs the calls of all ranks. How many of the parts were direct; all ranks say the same.
size_t run(World& world, bool inputs, bool outputs) {
    const size_t n = world.ranks.size();
    std::vector<BoardPart> parts;
    for (size_t r = 0; r < n; r++) {
        const BoardShape shape{static_cast<int32_t>(r), static_cast<int32_t>(n), 3, 4096, 192};
        BoardCut cut(shape, {world.calls[r]}, world.windows(r, inputs, outputs));
        parts.push_back(*cut.next());
        CHECK(parts[r].direct.send == parts[0].direct.send);
        CHECK(parts[r].direct.recv == parts[0].direct.recv);
        CHECK(parts[r].outs() == parts[0].outs());
        if (!parts[r].direct) {
            return 0;
        }
        CHECK(parts[r].in.empty());
        CHECK(!cut.next());  // a call is one part
    }
    for (const BoardPart& part : parts) {
        for (const BoardOwnCopy& copy : part.own) {
            std::memcpy(reinterpret_cast<char*>(copy.to), reinterpret_cast<char*>(copy.from),
                        copy.bytes);
        }
    }
    for (const BoardPart& part : parts) {
        reduced(world, part);
    }
    for (const BoardPart& part : parts) {
        const WindowPlace& place = part.direct.recv ? part.direct.recv : part.direct.send;
        for (const BoardCopy& copy : part.out) {
            const char* const from = world.at(static_cast<size_t>(copy.from), place);
            CHECK(from + copy.rows.slot != reinterpret_cast<char*>(copy.rows.user));
            std::memcpy(reinterpret_cast<char*>(copy.rows.user), from + copy.rows.slot,
                        copy.rows.width);
        }
    }
    return parts.size();
}

uint64_t wrong(const World& world) {
    uint64_t count = 0;
    for (size_t r = 0; r < world.ranks.size(); r++) {
        const auto* const output = static_cast<const uint32_t*>(world.calls[r].recv);
        for (size_t i = 0; i < world.want[r].recv.size(); i++) {
            count += output[i] != world.want[r].recv[i] ? 1 : 0;
        }
    }
    return count;
}

}  // namespace

TEST_CASE("on windows a collective is itself, in one part and without slots") {
    for (const Coll coll :
         {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather, Coll::all_to_all}) {
        for (const size_t n : {2u, 3u, 5u}) {
            for (const bool in_place : {false, true}) {
                INFO(to_string(coll) << " of " << n << " ranks, in place " << in_place);
                World world(coll, n, enough, in_place);
                const bool direct = coll != Coll::all_to_all || !in_place;
                CHECK(run(world, true, true) == (direct ? n : 0));
                CHECK((!direct || wrong(world) == 0));
            }
            World inputs(coll, n, enough, false), outputs(coll, n, enough, false);
            CHECK(run(inputs, true, false) == 0);
            CHECK(run(outputs, false, true) == 0);
        }
    }
}

TEST_CASE("where offsets may differ between ranks, calls go through slots") {
    for (const Coll coll : {Coll::broadcast, Coll::reduce, Coll::gather, Coll::scatter}) {
        World world(coll, 3, enough, false);
        CHECK(run(world, true, true) == 0);
    }
}

TEST_CASE("an all_reduce whose last share is empty") {
    World world(Coll::all_reduce, 32, 8209, false);
    CHECK(run(world, true, true) == 32);
    CHECK(wrong(world) == 0);
}

TEST_CASE("small calls, scaled inputs and ranks alone go through slots") {
    World small(Coll::all_gather, 4, 1000, false);
    CHECK(run(small, true, true) == 0);
    World scaled(Coll::all_reduce, 2, enough, false);
    for (Call& call : scaled.calls) {
        call.type = DataType::float32;
        call.op = RedOp::avg;
    }
    CHECK(run(scaled, true, true) == 0);
    World alone(Coll::all_reduce, 1, enough, false);
    CHECK(run(alone, true, true) == 0);
}

TEST_CASE("a place is a number and an offset") {
    const WindowPlace place(WindowPlace::number_max, WindowPlace::offset_max);
    CHECK(place.number() == WindowPlace::number_max);
    CHECK(place.offset() == WindowPlace::offset_max);
    CHECK(WindowPlace::of(place.packed()) == place);
    CHECK(static_cast<bool>(WindowPlace(1, 0)));
    CHECK(!WindowPlace());
}
