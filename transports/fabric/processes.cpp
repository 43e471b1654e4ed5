#include "transports/fabric/processes.h"

#include <algorithm>

#include "transports/fabric/presence.h"

namespace weft::fabric {

namespace {
constexpr Nanos look_every = 250 * nanos_per_ms;
constexpr int refusals_max = 4;  // 1 s while somebody waits
constexpr uint32_t lost_max = 4;
}  // namespace

Result<RemotePath*> Processes::path_acquire(RemoteProcess& process, Rail& rail,
                                            const std::string& name) {
    std::lock_guard guard(rail.lock());
    for (const auto& path : process.paths) {
        if (path->rail == &rail && path->endpoint->name == name) {
            ++path->users;
            return path.get();
        }
    }
    auto path = std::make_unique<RemotePath>();
    path->rail = &rail;
    path->incarnation.store(rail.incarnation());
    path->endpoint = TRY(rail.endpoint_acquire(name));
    path->users = 1;
    path->process = process_watch(rail.info().fabric_attr->prov_name, name);
    process.paths.push_back(std::move(path));
    return process.paths.back().get();
}

void Processes::path_release(RemoteProcess& process, RemotePath* path) {
    if (--path->users != 0) {
        return;
    }
    {
        std::lock_guard guard(path->rail->lock());
        path->rail->use_forget(&path->probe_under_way);
        path->rail->endpoint_release(path->endpoint);
    }
    std::erase_if(process.paths, [&](const auto& other) { return other.get() == path; });
}

Result<RemoteProcess*> Processes::acquire(const WireAddress& address,
                                          const std::vector<Rail*>& rails, RemoteProcess::User user,
                                          Paths* paths) {
    std::lock_guard guard(lock_);
    auto& process = processes_[address.process];
    if (process == nullptr) {
        process = std::make_unique<RemoteProcess>();
        process->uid = address.process;
    }
    size_t count = std::min(rails.size(), address.rails.size());
    if (rails.size() != address.rails.size() && !uneven_said_) {
        uneven_said_ = true;
        LOG(info, net,
            "rank %u has %zu rails and rank %u here has %zu: the first %zu are used "
            "between them, and so wherever counts differ",
            user.rank, address.rails.size(), user.inbox->rank(), rails.size(), count);
    }
    process->users.push_back(user);
    for (size_t i = 0; i < count; ++i) {
        auto path = path_acquire(*process, *rails[i], address.rails[i]);
        if (!path.ok()) {
            release_locked(process.get(), user, *paths);
            paths->clear();
            return std::move(path).error();
        }
        paths->push_back(path.value());
    }
    return process.get();
}

// Who answers for the wire has the rail's lock and reads the pointer: it changes before the old
// endpoint goes.
Result<void> Processes::move(RemoteProcess* process, RemoteProcess::User user, size_t at,
                             const std::string& name, Paths* paths) {
    std::lock_guard guard(lock_);
    RemotePath* path = TRY(path_acquire(*process, *(*paths)[at]->rail, name));
    user.inbox->flow_rail(user.rank, at).endpoint.store(path->endpoint);
    std::swap(path, (*paths)[at]);
    path_release(*process, path);
    return {};
}

void Processes::release(RemoteProcess* process, RemoteProcess::User user, const Paths& paths) {
    std::lock_guard guard(lock_);
    release_locked(process, user, paths);
}

void Processes::release_locked(RemoteProcess* process, RemoteProcess::User user,
                               const Paths& paths) {
    std::erase_if(process->users, [&](const RemoteProcess::User& other) {
        return other.inbox == user.inbox && other.rank == user.rank;
    });
    for (RemotePath* path : paths) {
        path_release(*process, path);
    }
    if (process->users.empty()) {
        processes_.erase(process->uid);
    }
}

// A probe is no use of the address: it neither brings a given-up one back nor keeps one.
bool Processes::probe_refused(RemoteProcess& process, RemotePath& path) {
    if (path.probe_under_way.load() != 0 || path.incarnation.load() != path.rail->incarnation()) {
        return false;
    }
    MessageHeader header;
    header.kind = MessageKind::probe;
    TxOwner owner;
    owner.use = &path.probe_under_way;
    owner.probe = true;
    std::lock_guard guard(path.rail->lock());
    RemoteEndpoint& endpoint = *path.endpoint;
    if (endpoint.address == FI_ADDR_UNSPEC) {
        return false;
    }
    Nanos used = endpoint.used;
    path.probe_under_way.store(1);
    auto post = path.rail->send(endpoint, header, nullptr, owner);
    endpoint.used = used;
    if (post.ok() && post.value() == Post::accepted) {
        return false;
    }
    path.probe_under_way.store(0);
    return std::all_of(process.users.begin(), process.users.end(), [](const auto& user) {
        return user.inbox->flow(user.rank).in_flight.load() == 0;
    });
}

std::string Processes::absence(RemoteProcess& process, RemotePath& path) {
    if (path.process) {
        return process_ended(path.process) ? "its process has ended" : "";
    }
    path.refusals = probe_refused(process, path) ? path.refusals + 1 : 0;
    if (path.refusals == refusals_max) {
        return "its connection closed and is not accepted again; the peer's process ended or "
               "closed its endpoint";
    }
    const std::lock_guard guard(path.rail->lock());
    return path.endpoint->probes_lost >= lost_max ? path.endpoint->trouble : "";
}

void Processes::look(RemoteProcess& process, const Inbox* self) {
    for (const auto& path : process.paths) {
        if (const std::string why = absence(process, *path); !why.empty()) {
            process.gone = true;
            return tell(process, *path->rail, why, self);
        }
    }
}

void Processes::tell(RemoteProcess& process, const Rail& rail, const std::string& why,
                     const Inbox* self) {
    for (const RemoteProcess::User& user : process.users) {
        Event event;
        event.kind = Event::Kind::failure;
        event.peer = user.rank;
        event.error = std::make_unique<Error>(make_error(
            Code::remote, Scope::peer,
            format("rail %u (%s, %s): rank %u is gone: %s", rail.index(), rail.name().c_str(),
                   rail.info().fabric_attr->prov_name, user.rank, why.c_str())));
        user.inbox->push(std::move(event), user.inbox != self);
    }
}

void Processes::watch(Nanos now, const Inbox* self) {
    Nanos due = next_look_.load(std::memory_order_relaxed);
    if (now < due || !next_look_.compare_exchange_strong(due, now + look_every)) {
        return;
    }
    std::unique_lock guard(lock_, std::try_to_lock);
    if (!guard.owns_lock()) {
        return;
    }
    for (auto& [uid, process] : processes_) {
        if (process->up.load() && !process->gone.load()) {
            look(*process, self);
        }
    }
}

}  // namespace weft::fabric
