// Bad input: an error code, and a process that lives on.
#include <array>
#include <climits>
#include <functional>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

// `handle` is nobody's. Afterwards the communicator must work.
Result<void> stranger_check(Bench& bench, const std::string& bytes) {
    Rig rig{TRY(Communicator::open(bench)), {}};
    TRY(rig.communicator->service.run([&]() -> Result<void> {
        HandleSpace handle(bytes);
        const Warnings warnings(bench);
        Patience patience(bench, "connecting with a handle of nobody gives no error",
                          bench.limits.peer);
        for (;;) {
            void* comm = nullptr;
            netplugin::DeviceHandle* device_comm = nullptr;
            if (rig.communicator->net().connect(rig.communicator->context(), 0, handle.data(),
                                                &comm, &device_comm) != ncclSuccess) {
                return warnings.named({"handle"});
            }
            TRY(expect(comm == nullptr, "connect gives a connection for a handle of nobody"));
            TRY(patience.pause());
        }
    }));
    rig.lines = TRY(lines_open(bench, *rig.communicator, {}));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    return rig_close(bench, rig);
}

Result<void> refused(Bench& bench, const char* call, int device,
                     const std::function<ncclResult_t()>& ask) {
    const Warnings warnings(bench);
    TRY(expect(ask() != ncclSuccess, format("%s takes device %d", call, device)));
    return warnings.named({format("device %d", device)});
}

}  // namespace

Result<void> check_oversize(Bench& bench) {
    for (const size_t size : {2000, 500'000}) {
        Rig rig = TRY(rig_open(bench));
        Transfer transfer;
        transfer.groups.push_back({Item{bench.rank == 0 ? size : size / 2, size / 2, 0, 0}});
        transfer.behind = size;
        Flow flow(bench, rig.lines, 0, transfer);
        TRY(flow.prepare());
        const Warnings warnings(bench);
        TRY(rig.communicator->progress.run([&]() -> Result<void> {
            Patience patience(bench, "a message longer than its receive gives no error");
            const Nanos until = clock_now() + 300 * nanos_per_ms;
            for (;;) {
                const Result<bool> moved = flow.step();
                if (!moved.ok() && bench.rank == 1) {
                    return reported(moved.error()) ? Result<void>() : Result<void>(moved.error());
                }
                if (bench.rank == 0 && (!moved.ok() || flow.done() || clock_now() > until)) {
                    return {};  // the sender may or may not be told
                }
                TRY(expect(!flow.done(), "a message longer than its receive is done as if it fit"));
                TRY(patience.pause());
            }
        }));
        if (bench.rank == 1) {
            TRY(flow.untouched());
            TRY(warnings.named({std::to_string(size), std::to_string(size / 2)}));
        }
        TRY(bench.channel.barrier());
        (void)flow.release();
        (void)lines_close(rig.lines);  // it may say again that the connection is broken
        TRY(bench.channel.barrier());
        TRY(rig.communicator->close());
    }
    return {};
}

Result<void> check_bad_device(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    Net& net = communicator->net();
    const int count = communicator->device_count();
    HandleSpace good_handle;
    void* listener = nullptr;
    TRY(communicator->service.run([&]() -> Result<void> {
        listener = TRY(listen_once(*communicator, 0, good_handle));
        for (const int device : {-1, count, count + 1000, INT_MAX, INT_MIN}) {
            Properties properties{};
            TRY(refused(bench, "getProperties", device,
                        [&] { return net.properties(device, &properties); }));
            HandleSpace handle;
            void* comm = nullptr;
            TRY(refused(bench, "listen", device, [&] {
                return net.listen(communicator->context(), device, handle.data(), &comm);
            }));
            HandleSpace other(good_handle.bytes());
            netplugin::DeviceHandle* device_comm = nullptr;
            TRY(refused(bench, "connect", device, [&] {
                return net.connect(communicator->context(), device, other.data(), &comm,
                                   &device_comm);
            }));
        }
        return good(net.close_listen(listener), "closeListen");
    }));
    return communicator->close();
}

Result<void> check_handle_zeros(Bench& bench) {
    return stranger_check(bench, std::string(netplugin::handle_bytes, '\0'));
}

Result<void> check_handle_random(Bench& bench) {
    std::array<uint8_t, netplugin::handle_bytes> bytes;
    random_bytes(bytes);
    return stranger_check(bench, std::string(bytes.begin(), bytes.end()));
}

Result<void> check_bad_kind(Bench& bench) {
    Rig rig = TRY(rig_open(bench));
    if ((rig.communicator->properties().pointer_kinds & netplugin::pointer_cuda) != 0) {
        return skipped("ptrSupport has CUDA memory");
    }
    const Memory memory(4096);
    TRY(rig.communicator->service.run([&]() -> Result<void> {
        void* mr = nullptr;
        const Warnings warnings(bench);
        const ncclResult_t code = rig.communicator->net().reg_mr(
            rig.lines.ends[0], memory.span().data(), 4096, netplugin::pointer_cuda, &mr);
        TRY(expect(code != ncclSuccess, "regMr takes CUDA memory, which ptrSupport lacks"));
        return warnings.named({"kind 2", "4096 bytes"});
    }));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    return rig_close(bench, rig);
}

Result<void> check_group_size(Bench& bench) {
    Rig rig = TRY(rig_open(bench));
    const int most = rig.communicator->properties().recvs_max;
    if (most >= group_max) {
        return skipped("maxRecvs is all that NCCL has");
    }
    const Memory memory(4096);
    Net& net = rig.communicator->net();
    void* end = rig.lines.ends[0];
    void* mr = nullptr;
    TRY(rig.communicator->service.run([&] {
        return good(net.reg_mr(end, memory.span().data(), 4096, netplugin::pointer_host, &mr),
                    "regMr");
    }));
    if (!rig.lines.sends) {
        TRY(rig.communicator->progress.run([&]() -> Result<void> {
            std::vector<Piece> pieces;
            for (int i = 0; i <= most; i++) {
                pieces.push_back({memory.span().data() + i, 1, i, mr});
            }
            void* request = nullptr;
            const Warnings warnings(bench);
            TRY(expect(net.irecv(end, most + 1, pieces.data(), &request) != ncclSuccess,
                       format("irecv takes %d receives, maxRecvs is %d", most + 1, most)));
            return warnings.named({std::to_string(most + 1), std::to_string(most)});
        }));
    }
    TRY(rig.communicator->service.run([&] { return good(net.dereg_mr(end, mr), "deregMr"); }));
    return rig_close(bench, rig);
}

}  // namespace weft::netcheck
