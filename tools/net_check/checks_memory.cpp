// Registration. Host memory only: NCCL's other kinds need a GPU.
#include <atomic>

#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

// What a line sends or receives, with a registration of the caller's choice.
Result<void> one_message(Bench& bench, Lines& lines, size_t line, const Piece& piece) {
    Net& net = lines.communicator->net();
    return lines.communicator->progress.run([&, line]() -> Result<void> {
        void* request = nullptr;
        Patience patience(bench, "a message does not arrive");
        while (request == nullptr) {
            TRY(lines.sends ? good(net.isend(lines.ends[line], piece, &request), "isend")
                            : good(net.irecv(lines.ends[line], 1, &piece, &request), "irecv"));
            TRY(patience.pause());
        }
        int done = 0;
        while (done == 0) {
            int sizes[group_max] = {};
            TRY(good(net.test(request, &done, sizes), "test"));
            TRY(patience.pause());
        }
        return {};
    });
}

struct Range {
    size_t at;
    size_t size;
};

// Moves the range's bytes, new ones for each round, and compares.
Result<void> range_move(Bench& bench, Lines& lines, size_t line, std::span<uint8_t> memory,
                        const Range& range, void* mr, uint64_t seed) {
    const std::span<uint8_t> bytes = memory.subspan(range.at, range.size);
    if (lines.sends) {
        pattern_write(bytes, seed);
    }
    TRY(one_message(bench, lines, line, {bytes.data(), bytes.size(), 0, mr}));
    return lines.sends ? Result<void>() : pattern_check(bytes, seed);
}

}  // namespace

Result<void> check_register(Bench& bench) {
    Rig rig = TRY(rig_open(bench));
    Net& net = rig.communicator->net();
    void* comm = rig.lines.ends[0];
    const Memory memory(1 << 20);
    const std::span<uint8_t> bytes = memory.span();
    // The whole, the whole again, two that overlap, one byte, an odd address.
    const std::vector<Range> ranges = {{0, 1 << 20},       {0, 1 << 20}, {0, 600'000},
                                       {500'000, 500'000}, {4096, 1},    {12'345, 7}};
    std::vector<void*> mrs(ranges.size());
    TRY(rig.communicator->service.run([&]() -> Result<void> {
        for (size_t i = 0; i < ranges.size(); i++) {
            TRY(good(net.reg_mr(comm, bytes.data() + ranges[i].at, ranges[i].size,
                                netplugin::pointer_host, &mrs[i]),
                     "regMr"));
        }
        return {};
    }));
    // Each goes when it has been used; those that are left must not mind.
    for (const size_t i : {2, 0, 4, 1, 5, 3}) {
        TRY(range_move(bench, rig.lines, 0, bytes, ranges[i], mrs[i], i));
        TRY(rig.communicator->service.run(
            [&] { return good(net.dereg_mr(comm, mrs[i]), "deregMr"); }));
    }
    return rig_close(bench, rig);
}

Result<void> check_register_sending(Bench& bench) {
    Rig rig = TRY(rig_open(bench));
    Net& net = rig.communicator->net();
    Transfer transfer;
    for (size_t i = 0; i < 300; i++) {
        transfer.groups.push_back(single(i % 3 == 0 ? 100'000 : 2000 + i));
    }
    Flow flow(bench, rig.lines, 0, transfer);
    TRY(flow.prepare());
    std::atomic<bool> moving = true;
    const Memory memory(1 << 20);
    rig.communicator->progress.start([&]() -> Result<void> {
        Result<void> all = flows_work(bench, {&flow})();
        moving = false;
        return all;
    });
    Result<void> registered = rig.communicator->service.run([&]() -> Result<void> {
        for (size_t i = 0; moving; i++) {
            void* mr = nullptr;
            const size_t at = (i % 64) * 4096;
            TRY(good(net.reg_mr(rig.lines.ends[0], memory.span().data() + at, 65'536,
                                netplugin::pointer_host, &mr),
                     "regMr"));
            TRY(good(net.dereg_mr(rig.lines.ends[0], mr), "deregMr"));
            std::this_thread::yield();
        }
        return {};
    });
    TRY(rig.communicator->progress.finish());
    TRY(std::move(registered));
    TRY(flow.finish());
    return rig_close(bench, rig);
}

Result<void> check_register_global(Bench& bench) {
    Rig rig = TRY(rig_open(bench, {0, 0, 2}));
    if (rig.communicator->properties().reg_is_global == 0) {
        return skipped("regIsGlobal is 0");
    }
    Net& net = rig.communicator->net();
    const Memory memory(1 << 18);
    void* mr = nullptr;
    TRY(rig.communicator->service.run([&] {
        return good(net.reg_mr(rig.lines.ends[0], memory.span().data(), memory.span().size(),
                               netplugin::pointer_host, &mr),
                    "regMr");
    }));
    TRY(range_move(bench, rig.lines, 1, memory.span(), {0, 200'000}, mr, 1));
    TRY(rig.communicator->service.run(
        [&] { return good(net.dereg_mr(rig.lines.ends[0], mr), "deregMr"); }));
    return rig_close(bench, rig);
}

}  // namespace weft::netcheck
