// Listeners, handles, connecting.
#include <algorithm>
#include <numeric>
#include <random>

#include "src/base/log.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

constexpr Nanos alone = 300 * nanos_per_ms;  // how long one side is on its own

// Calls `attempt` for a while, and hands on what it gives, which may be nothing.
Result<void*> try_alone(const std::function<Result<void*>()>& attempt) {
    const Nanos until = clock_now() + alone;
    void* comm = nullptr;
    while (comm == nullptr && clock_now() < until) {
        comm = TRY(attempt());
        std::this_thread::yield();
    }
    return comm;
}

Result<void*> try_until(Bench& bench, const char* what,
                        const std::function<Result<void*>()>& attempt, void* comm) {
    Patience patience(bench, what);
    while (comm == nullptr) {
        TRY(patience.pause());
        comm = TRY(attempt());
    }
    return comm;
}

// What is left to do with one line once it stands.
Result<void> line_use(Bench& bench, std::unique_ptr<Communicator> communicator, void* end) {
    Rig rig{std::move(communicator), {}};
    rig.lines = Lines{rig.communicator.get(), bench.rank == 0, {end}};
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    return rig_close(bench, rig);
}

// Rank 0 connects and rank 1 accepts; `early` is on its own for a while.
Result<void> one_first(Bench& bench, int early) {
    auto communicator = TRY(Communicator::open(bench));
    HandleSpace handle;
    void* listener = nullptr;
    if (bench.rank == 1) {
        TRY(communicator->service.run([&]() -> Result<void> {
            listener = TRY(listen_once(*communicator, 0, handle));
            return bench.channel.send(handle.bytes());
        }));
    } else {
        const std::string bytes = TRY(bench.channel.receive());
        handle = HandleSpace(bytes);
    }
    const auto attempt = [&] {
        return bench.rank == 0 ? connect_once(*communicator, 0, handle)
                               : accept_once(*communicator, listener);
    };
    void* end = nullptr;
    TRY(communicator->service.run([&]() -> Result<void> {
        if (bench.rank == early) {
            end = TRY(try_alone(attempt));
            TRY(expect(early == 0 || end == nullptr, "accept gives a connection nobody asked for"));
            TRY(bench.channel.send("your turn"));
        } else {
            TRY(bench.channel.receive());
        }
        end = TRY(try_until(bench,
                            early == 0 ? "connect, called before accept, does not end"
                                       : "accept, called before connect, does not end",
                            attempt, end));
        return listener == nullptr
                   ? Result<void>()
                   : good(communicator->net().close_listen(listener), "closeListen");
    }));
    return line_use(bench, std::move(communicator), end);
}

struct Attempt {
    bool connects;
    size_t index;
};

std::vector<Attempt> attempts_shuffled(size_t count, int rank) {
    std::vector<Attempt> attempts;
    for (size_t i = 0; i < count; i++) {
        attempts.push_back({true, i});
        attempts.push_back({false, i});
    }
    std::mt19937 random(static_cast<unsigned>(17 + rank));
    std::shuffle(attempts.begin(), attempts.end(), random);
    return attempts;
}

}  // namespace

Result<void> check_listen(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    TRY(communicator->service.run([&]() -> Result<void> {
        std::vector<HandleSpace> handles(4);
        std::vector<void*> listeners;
        for (HandleSpace& handle : handles) {
            listeners.push_back(TRY(listen_once(*communicator, 0, handle)));
        }
        for (size_t i = 0; i < handles.size(); i++) {
            for (size_t j = 0; j < i; j++) {
                TRY(expect(handles[i].bytes() != handles[j].bytes(),
                           "two listeners have the same handle"));
            }
        }
        for (void* listener : listeners) {
            TRY(good(communicator->net().close_listen(listener), "closeListen"));
        }
        return {};
    }));
    return communicator->close();
}

Result<void> check_connect_first(Bench& bench) {
    return one_first(bench, 0);
}

Result<void> check_accept_first(Bench& bench) {
    return one_first(bench, 1);
}

// NCCL gives listen a buffer that it reuses, and connect another one, the same at every call.
Result<void> check_handle_copied(Bench& bench) {
    auto communicator = TRY(Communicator::open(bench));
    HandleSpace handle;
    void* end = nullptr;
    const auto reuse = [&handle] { std::fill_n(handle.data(), netplugin::handle_bytes, '\xff'); };
    if (bench.rank == 1) {
        TRY(communicator->service.run([&]() -> Result<void> {
            void* listener = TRY(listen_once(*communicator, 0, handle));
            TRY(bench.channel.send(handle.bytes()));
            reuse();
            const auto attempt = [&] { return accept_once(*communicator, listener); };
            end = TRY(try_until(bench, "accept gives no connection", attempt, nullptr));
            return good(communicator->net().close_listen(listener), "closeListen");
        }));
    } else {
        const std::string bytes = TRY(bench.channel.receive());
        handle = HandleSpace(bytes);
        TRY(communicator->service.run([&]() -> Result<void> {
            const auto attempt = [&] { return connect_once(*communicator, 0, handle); };
            end = TRY(try_until(bench, "connect gives no connection", attempt, nullptr));
            reuse();
            return {};
        }));
    }
    TRY(line_use(bench, std::move(communicator), end));
    return expect(handle.guards_intact(), "the guards of a handle were written to later");
}

Result<void> check_interleave(Bench& bench) {
    constexpr size_t count = 6;
    auto communicator = TRY(Communicator::open(bench));
    std::vector<void*> listeners(count);
    std::vector<HandleSpace> handles(count);
    Lines out{communicator.get(), true, std::vector<void*>(count)};
    Lines in{communicator.get(), false, std::vector<void*>(count)};
    TRY(communicator->service.run([&]() -> Result<void> {
        for (void*& listener : listeners) {
            HandleSpace own;
            listener = TRY(listen_once(*communicator, 0, own));
            TRY(bench.channel.send(own.bytes()));
        }
        for (HandleSpace& handle : handles) {
            const std::string bytes = TRY(bench.channel.receive());
            handle = HandleSpace(bytes);
        }
        const std::vector<Attempt> attempts = attempts_shuffled(count, bench.rank);
        Patience patience(bench, "connects and accepts, called in turn, do not all end");
        for (size_t open = 0; open < attempts.size();) {
            for (const Attempt& one : attempts) {
                void*& end = one.connects ? out.ends[one.index] : in.ends[one.index];
                if (end == nullptr) {
                    end = TRY(one.connects ? connect_once(*communicator, 0, handles[one.index])
                                           : accept_once(*communicator, listeners[one.index]));
                    open += end != nullptr ? 1 : 0;
                }
            }
            TRY(patience.pause());
        }
        for (void* listener : listeners) {
            TRY(good(communicator->net().close_listen(listener), "closeListen"));
        }
        return {};
    }));
    std::vector<std::unique_ptr<Flow>> flows;
    std::vector<Flow*> all;
    for (size_t i = 0; i < count; i++) {  // every line has its own bytes, so mixed-up lines show
        const auto sender = static_cast<uint64_t>(bench.rank);
        const auto receiver = static_cast<uint64_t>(bench.peer());
        flows.push_back(std::make_unique<Flow>(bench, out, i, some_messages(100 * i + sender)));
        flows.push_back(std::make_unique<Flow>(bench, in, i, some_messages(100 * i + receiver)));
    }
    for (const auto& flow : flows) {
        TRY(flow->prepare());
        all.push_back(flow.get());
    }
    TRY(flows_run(bench, *communicator, all));
    for (const auto& flow : flows) {
        TRY(flow->finish());
    }
    TRY(bench.channel.barrier());
    TRY(lines_close(in));
    TRY(lines_close(out));
    return communicator->close();
}

// NCCL's probe for GPUDirect: listen, connect and accept by turns, null for device handles.
Result<void> check_loopback(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    Net& net = communicator->net();
    bench.peer_may_go = true;  // it has no part in this
    Lines out{communicator.get(), true, {nullptr}};
    Lines in{communicator.get(), false, {nullptr}};
    TRY(communicator->service.run([&]() -> Result<void> {
        HandleSpace handle;
        void* listener = TRY(listen_once(*communicator, 0, handle));
        Patience patience(bench, "a process cannot connect to itself");
        while (out.ends[0] == nullptr || in.ends[0] == nullptr) {
            if (out.ends[0] == nullptr) {
                TRY(good(
                    net.connect(communicator->context(), 0, handle.data(), &out.ends[0], nullptr),
                    "connect"));
            }
            if (in.ends[0] == nullptr) {
                TRY(good(net.accept(listener, &in.ends[0], nullptr), "accept"));
            }
            TRY(patience.pause());
        }
        return good(net.close_listen(listener), "closeListen");
    }));
    Flow send(bench, out, 0, some_messages(1));
    Flow receive(bench, in, 0, some_messages(1));
    TRY(send.prepare());
    TRY(receive.prepare());
    TRY(flows_run(bench, *communicator, {&send, &receive}));
    TRY(send.finish());
    TRY(receive.finish());
    TRY(lines_close(out));
    TRY(lines_close(in));
    return communicator->close();
}

Result<void> check_each_device(Bench& bench) {
    auto communicator = TRY(Communicator::open(bench));
    const int devices = std::min(communicator->device_count(), 32);
    for (int device = 0; device < devices; device++) {
        for (const int sender : {0, 1}) {
            Lines lines = TRY(lines_open(bench, *communicator, {device, sender, 1}));
            TRY(transfer_run(bench, lines, some_messages(static_cast<uint64_t>(device))));
            TRY(bench.channel.barrier());
            TRY(lines_close(lines));
        }
    }
    return communicator->close();
}

Result<void> check_many(Bench& bench) {
    constexpr int count = 64;
    Rig rig = TRY(rig_open(bench, {0, 0, count}));
    std::vector<std::unique_ptr<Flow>> flows;
    std::vector<Flow*> all;
    for (size_t i = 0; i < rig.lines.ends.size(); i++) {
        flows.push_back(std::make_unique<Flow>(bench, rig.lines, i, some_messages(i)));
        TRY(flows.back()->prepare());
        all.push_back(flows.back().get());
    }
    TRY(flows_run(bench, *rig.communicator, all));
    for (const auto& flow : flows) {
        TRY(flow->finish());
    }
    return rig_close(bench, rig);
}

}  // namespace weft::netcheck
