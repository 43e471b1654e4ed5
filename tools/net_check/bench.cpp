#include "tools/net_check/bench.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft::netcheck {

namespace {

constexpr char guard_byte = '\x5a';
constexpr int idle_yields = 200;
constexpr int idle_long = 2000;

Result<void> offer(Bench& bench, Communicator& communicator, const Route& route,
                   std::vector<void*>& ends) {
    std::vector<void*> listeners;
    TRY(communicator.service.run([&]() -> Result<void> {
        for (int i = 0; i < route.count; i++) {
            HandleSpace handle;
            listeners.push_back(TRY(listen_once(communicator, route.device, handle)));
            TRY(bench.channel.send(handle.bytes()));
        }
        return {};
    }));
    return communicator.service.run([&]() -> Result<void> {
        ends.resize(listeners.size());
        Patience patience(bench, "accept gives no connection");
        for (size_t open = 0; open < ends.size();) {
            for (size_t i = 0; i < ends.size(); i++) {
                if (ends[i] == nullptr) {
                    ends[i] = TRY(accept_once(communicator, listeners[i]));
                    if (ends[i] != nullptr) {  // NCCL closes the listener right after
                        TRY(good(communicator.net().close_listen(listeners[i]), "closeListen"));
                        open++;
                        patience.progress();
                    }
                }
            }
            TRY(patience.pause());
        }
        return {};
    });
}

Result<void> call(Bench& bench, Communicator& communicator, const Route& route,
                  std::vector<void*>& ends) {
    std::vector<HandleSpace> handles;
    for (int i = 0; i < route.count; i++) {
        const std::string bytes = TRY(bench.channel.receive());
        handles.emplace_back(bytes);
    }
    return communicator.service.run([&]() -> Result<void> {
        ends.resize(handles.size());
        Patience patience(bench, "connect gives no connection");
        for (size_t open = 0; open < ends.size();) {
            for (size_t i = 0; i < ends.size(); i++) {
                if (ends[i] == nullptr) {
                    ends[i] = TRY(connect_once(communicator, route.device, handles[i]));
                    if (ends[i] != nullptr) {
                        open++;
                        patience.progress();
                    }
                }
            }
            TRY(patience.pause());
        }
        return {};
    });
}

}  // namespace

Error broken(std::string what) {
    return make_error(Code::internal, Scope::operation, std::move(what));
}

Error skipped(std::string why) {
    return make_error(Code::unsupported, Scope::operation, std::move(why));
}

Result<void> expect(bool holds, const std::string& otherwise) {
    return holds ? Result<void>() : Result<void>(broken(otherwise));
}

Result<void> good(ncclResult_t code, const char* call) {
    if (code == ncclSuccess) {
        return {};
    }
    return make_error(Code::system, Scope::operation,
                      std::string(call) + " gives " + code_name(code));
}

bool reported(const Error& error) {
    return error.code == Code::system;
}

Result<void> Warnings::named(const std::vector<std::string>& words) const {
    const std::vector<std::string> all = warnings();
    const auto has_words = [&words](const std::string& line) {
        return std::all_of(words.begin(), words.end(), [&line](const std::string& word) {
            return line.find(word) != std::string::npos;
        });
    };
    const auto from = all.begin() + static_cast<ptrdiff_t>(std::min(before_, all.size()));
    const auto lines = std::count_if(from, all.end(), has_words);
    std::string wanted;
    for (const std::string& word : words) {
        wanted.append(wanted.empty() ? "'" : " and '").append(word).append("'");
    }
    return expect(
        !bench_.limits.lines || lines == 1,
        format("an error comes with %d lines that say %s, not with one of %d",
               static_cast<int>(lines), wanted.c_str(), static_cast<int>(all.end() - from)));
}

Result<void> Bench::load() {
    library = TRY(Library::open(path));
    net = TRY(library->net(version));
    initialised = false;
    const std::string missing = net->missing();
    return expect(missing.empty(), "the table has no " + missing);
}

Result<void> Bench::unload() {
    net.reset();
    TRY(library->close());
    library.reset();
    return {};
}

Patience::Patience(const Bench& bench, std::string what, Nanos limit)
    : bench_(bench), what_(std::move(what)), limit_(limit), deadline_(clock_now() + limit) {
}

bool Patience::over() const {
    return clock_now() > deadline_;
}

void Patience::progress() {
    deadline_ = clock_now() + limit_;
    idle_ = 0;
}

Result<void> Patience::pause() {
    if (++idle_ < idle_yields) {
        ::sched_yield();
        return {};
    }
    if (over()) {
        return broken(format("%s in %.0f s", what_.c_str(),
                             static_cast<double>(limit_) / static_cast<double>(nanos_per_s)));
    }
    if (!bench_.peer_may_go && bench_.channel.gone()) {
        return make_error(Code::remote, Scope::peer, what_ + ", and the other process has gone");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(idle_ < idle_long ? 20 : 500));
    return {};
}

Result<std::unique_ptr<Communicator>> Communicator::open(Bench& bench) {
    const std::lock_guard lock(bench.init_mutex);
    std::unique_ptr<Communicator> made(new Communicator(bench));
    if (!bench.initialised || bench.version >= 11) {
        TRY(good(bench.net->init(&made->context_, random_u64()), "init"));
        bench.initialised = true;
    }
    TRY(good(bench.net->devices(&made->device_count_), "devices"));
    TRY(expect(made->device_count_ > 0, format("devices says %d", made->device_count_)));
    TRY(good(bench.net->properties(0, &made->properties_), "getProperties"));
    return made;
}

Result<void> Communicator::close() {
    const std::lock_guard lock(bench_.init_mutex);
    return good(bench_.net->finalize(context_), "finalize");
}

HandleSpace::HandleSpace() {
    space_.fill(guard_byte);
    std::fill_n(data(), netplugin::handle_bytes, '\0');
}

HandleSpace::HandleSpace(const std::string& bytes) : HandleSpace() {
    std::copy_n(bytes.data(), std::min(bytes.size(), netplugin::handle_bytes), data());
}

bool HandleSpace::guards_intact() const {
    const auto is_guard = [](char byte) { return byte == guard_byte; };
    return std::all_of(space_.begin(), space_.begin() + guard, is_guard) &&
           std::all_of(space_.end() - guard, space_.end(), is_guard);
}

Result<void*> listen_once(Communicator& communicator, int device, HandleSpace& handle) {
    void* listener = nullptr;
    TRY(good(communicator.net().listen(communicator.context(), device, handle.data(), &listener),
             "listen"));
    TRY(expect(listener != nullptr, "listen gives success without a listener"));
    TRY(expect(handle.guards_intact(), "listen writes beyond the 128 bytes of the handle"));
    return listener;
}

Result<void*> connect_once(Communicator& communicator, int device, HandleSpace& handle) {
    void* comm = nullptr;
    netplugin::DeviceHandle* device_comm = nullptr;
    const ncclResult_t code = communicator.net().connect(communicator.context(), device,
                                                         handle.data(), &comm, &device_comm);
    TRY(good(code, "connect"));
    TRY(expect(handle.guards_intact(), "connect writes beyond the 128 bytes of the handle"));
    return comm;
}

Result<void*> accept_once(Communicator& communicator, void* listener) {
    void* comm = nullptr;
    netplugin::DeviceHandle* device_comm = nullptr;
    TRY(good(communicator.net().accept(listener, &comm, &device_comm), "accept"));
    return comm;
}

Result<Lines> lines_open(Bench& bench, Communicator& communicator, const Route& route) {
    Lines lines{&communicator, bench.rank == route.sender, {}};
    TRY(lines.sends ? call(bench, communicator, route, lines.ends)
                    : offer(bench, communicator, route, lines.ends));
    return lines;
}

Result<void> lines_close(Lines& lines) {
    Net& net = lines.communicator->net();
    TRY(lines.communicator->service.run([&]() -> Result<void> {
        for (void* end : lines.ends) {
            TRY(lines.sends ? good(net.close_send(end), "closeSend")
                            : good(net.close_recv(end), "closeRecv"));
        }
        return {};
    }));
    lines.ends.clear();
    return {};
}

}  // namespace weft::netcheck
