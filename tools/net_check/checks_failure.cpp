// Closing, and peers that are gone.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "src/base/log.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

constexpr size_t large = 1 << 20;

Transfer large_messages(size_t count) {
    Transfer transfer;
    transfer.groups.assign(count, single(large));
    return transfer;
}

[[noreturn]] void die() {
    ::raise(SIGKILL);
    ::_exit(127);
}

// Steps until a call fails, which it must; a step that ends all messages fails the check.
Result<void> error_await(Bench& bench, Rig& rig, Flow& flow, const char* what) {
    const Warnings warnings(bench);
    return rig.communicator->progress.run([&]() -> Result<void> {
        Patience patience(bench, what, bench.limits.peer);
        for (;;) {
            const Result<bool> moved = flow.step();
            if (!moved.ok()) {
                TRY(reported(moved.error()) ? Result<void>() : Result<void>(moved.error()));
                return warnings.named({"connection", rig.communicator->properties().name});
            }
            TRY(expect(!flow.done(), "every message is done though the peer was killed"));
            TRY(patience.pause());
        }
    });
}

// Codes do not matter here: the peer is gone. What matters is that the calls come back.
void wreck_close(Rig& rig, Flow& flow) {
    (void)flow.release();
    Net& net = rig.communicator->net();
    (void)rig.communicator->service.run([&]() -> Result<void> {
        for (void* end : rig.lines.ends) {
            (void)(rig.lines.sends ? net.close_send(end) : net.close_recv(end));
        }
        return {};
    });
    (void)rig.communicator->close();
}

// A dead socket may take some messages; enough of them show it.
constexpr size_t messages_to_the_dead = 32;

Result<void> flow_start(Bench& bench, Rig& rig, Flow& flow, bool post_only) {
    return rig.communicator->progress.run([&]() -> Result<void> {
        Patience patience(bench, "nothing can be posted");
        while (flow.posted() == 0) {
            TRY(flow.step(post_only));
            TRY(patience.pause());
        }
        return {};
    });
}

}  // namespace

Result<void> check_close_after_done(Bench& bench) {
    for (uint64_t round = 0; round < 3; round++) {
        Rig rig = TRY(rig_open(bench));
        Transfer transfer = large_messages(6);
        transfer.seed = round;
        Flow flow(bench, rig.lines, 0, transfer);
        TRY(flow.prepare());
        if (!rig.lines.sends) {  // so that what can wait on the way does
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
        TRY(flows_run(bench, *rig.communicator, {&flow}));
        if (rig.lines.sends) {  // at once, while the last message may still be on its way
            TRY(flow.release());
            TRY(lines_close(rig.lines));
        } else {
            TRY(flow.finish());
        }
        TRY(rig_close(bench, rig));
    }
    return {};
}

Result<void> check_close_order(Bench& bench) {
    constexpr size_t count = 5;
    Rig rig = TRY(rig_open(bench, {0, 0, count}));
    for (size_t i = 0; i < count; i++) {
        TRY(transfer_run(bench, rig.lines, some_messages(i), i));
    }
    // Each side another order, and what is left goes on.
    const std::vector<size_t> orders[2] = {{2, 0, 4}, {4, 2, 0}};
    const auto close = [&](size_t line) {
        Net& net = rig.communicator->net();
        void* end = rig.lines.ends[line];
        return rig.communicator->service.run([&net, end, &rig] {
            return rig.lines.sends ? good(net.close_send(end), "closeSend")
                                   : good(net.close_recv(end), "closeRecv");
        });
    };
    TRY(bench.channel.barrier());
    for (const size_t line : orders[bench.rank]) {
        TRY(close(line));
    }
    for (const size_t line : {3, 1}) {
        TRY(transfer_run(bench, rig.lines, some_messages(50 + line), line));
    }
    TRY(bench.channel.barrier());
    TRY(close(1));
    TRY(close(3));
    rig.lines.ends.clear();
    return rig_close(bench, rig);
}

// NCCL deregisters first, even when it aborts; closing ends what is under way.
Result<void> wreck_check(Bench& bench, int first) {
    Rig rig = TRY(rig_open(bench));
    Net& net = rig.communicator->net();
    void* end = rig.lines.ends[0];
    const Memory memory(8 * large);
    void* mr = nullptr;
    TRY(rig.communicator->service.run([&] {
        return good(net.reg_mr(end, memory.span().data(), memory.span().size(),
                               netplugin::pointer_host, &mr),
                    "regMr");
    }));
    const auto post = [&](bool may_fail) -> Result<void> {
        for (size_t i = 0; i < 8; i++) {
            void* request = nullptr;
            const Piece piece{memory.span().data() + i * large, large, 0, mr};
            const ncclResult_t code = rig.lines.sends ? net.isend(end, piece, &request)
                                                      : net.irecv(end, 1, &piece, &request);
            TRY(expect(may_fail || code == ncclSuccess,
                       std::string("posting gives ") + code_name(code)));
        }
        return {};
    };
    TRY(rig.communicator->progress.run([&] { return post(false); }));
    TRY(bench.channel.barrier());
    const auto close = [&] {
        return rig.communicator->service.run([&]() -> Result<void> {
            (void)net.dereg_mr(end, mr);
            return rig.lines.sends ? good(net.close_send(end), "closeSend")
                                   : good(net.close_recv(end), "closeRecv");
        });
    };
    if (bench.rank == first) {
        TRY(close());
        // From here on the memory is its owner's.
        std::memset(memory.span().data(), 0xa5, memory.span().size());
        TRY(bench.channel.barrier());
        TRY(bench.channel.barrier());
        TRY(untouched_check(memory.span()));
    } else {
        TRY(bench.channel.barrier());
        TRY(rig.communicator->progress.run([&]() -> Result<void> {
            const Nanos until = clock_now() + 100 * nanos_per_ms;
            while (clock_now() < until) {
                (void)post(true);
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            }
            return {};
        }));
        (void)close();  // must come back; the connection was cut, so its code says nothing
        TRY(bench.channel.barrier());
    }
    // The communicator lives on.
    rig.lines = TRY(lines_open(bench, *rig.communicator, {}));
    TRY(transfer_run(bench, rig.lines, some_messages(9)));
    return rig_close(bench, rig);
}

Result<void> check_close_in_flight(Bench& bench) {
    TRY(wreck_check(bench, 0));
    return wreck_check(bench, 1);
}

Result<void> check_killed_sender(Bench& bench) {
    Rig rig = TRY(rig_open(bench, {0, 1, 1}));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    Transfer transfer = large_messages(8);
    transfer.window = bench.rank == 1 ? 1 : 8;  // the other seven are never sent
    Flow flow(bench, rig.lines, 0, transfer);
    TRY(flow.prepare());
    if (bench.rank == 1) {
        TRY(flow_start(bench, rig, flow, true));
        die();
    }
    bench.peer_may_go = true;
    TRY(error_await(bench, rig, flow, "the receiver of a killed peer gets no error"));
    wreck_close(rig, flow);
    return {};
}

Result<void> check_killed_receiver(Bench& bench) {
    Rig rig = TRY(rig_open(bench, {0, 0, 1}));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    Flow flow(bench, rig.lines, 0, large_messages(bench.rank == 1 ? 8 : messages_to_the_dead));
    TRY(flow.prepare());
    if (bench.rank == 1) {
        TRY(flow_start(bench, rig, flow, true));
        die();
    }
    bench.peer_may_go = true;
    TRY(error_await(bench, rig, flow, "the sender to a killed peer gets no error"));
    wreck_close(rig, flow);
    return {};
}

Result<void> check_killed_listener(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    HandleSpace handle;
    if (bench.rank == 1) {
        TRY(listen_once(*communicator, 0, handle));
        TRY(bench.channel.send(handle.bytes()));
        die();
    }
    const std::string bytes = TRY(bench.channel.receive());
    bench.peer_may_go = true;
    while (!bench.channel.gone()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    handle = HandleSpace(bytes);
    void* comm = nullptr;
    bool refused = false;
    TRY(communicator->service.run([&]() -> Result<void> {
        const Warnings warnings(bench);
        Patience patience(bench, "connecting to a killed listener gives no error",
                          bench.limits.peer);
        while (comm == nullptr) {
            netplugin::DeviceHandle* device_comm = nullptr;
            if (communicator->net().connect(communicator->context(), 0, handle.data(), &comm,
                                            &device_comm) != ncclSuccess) {
                refused = true;
                return warnings.named({"connect to"});
            }
            TRY(patience.pause());
        }
        return {};
    }));
    TRY(expect(refused, "connecting to a killed listener gives a connection"));
    return communicator->close();
}

}  // namespace weft::netcheck
