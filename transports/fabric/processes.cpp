#include "transports/fabric/processes.h"

#include <algorithm>

namespace weft::fabric {

namespace {
constexpr Nanos look_every = 250 * nanos_per_ms;
constexpr int refusals_max = 4;  // 1 s while somebody waits
}  // namespace

Result<void> Processes::addresses_insert(RemoteProcess& process) {
    size_t wanted = process.rails;
    for (process.rails = 0; process.rails < wanted; ++process.rails) {
        Rail& rail = *rails_[process.rails];
        std::lock_guard guard(rail.lock());
        auto address = rail.address_insert(process.names[process.rails]);
        if (!address.ok()) {
            return std::move(address).error();
        }
        process.addresses[process.rails] = address.value();
    }
    return {};
}

void Processes::addresses_remove(RemoteProcess& process) {
    for (size_t i = 0; i < process.rails; ++i) {
        std::lock_guard guard(rails_[i]->lock());
        rails_[i]->use_forget(&process.probes[i].under_way);
        rails_[i]->address_remove(process.addresses[i]);
    }
}

Result<RemoteProcess*> Processes::acquire(const WireAddress& address, RemoteProcess::User user) {
    std::lock_guard guard(lock_);
    auto& process = processes_[address.process];
    if (process == nullptr) {
        process = std::make_unique<RemoteProcess>();
        process->uid = address.process;
        process->names = address.rails;
        process->rails = std::min(rails_.size(), address.rails.size());
        auto inserted = addresses_insert(*process);
        if (!inserted.ok()) {
            addresses_remove(*process);
            processes_.erase(address.process);
            return std::move(inserted).error();
        }
    } else if (process->names != address.rails) {
        return make_error(Code::remote, Scope::peer,
                          "two ranks of one process gave different rails: run the same settings "
                          "in all of them");
    }
    process->users.push_back(user);
    return process.get();
}

void Processes::release(RemoteProcess* process, RemoteProcess::User user) {
    std::lock_guard guard(lock_);
    auto entry = processes_.find(process->uid);
    std::erase_if(process->users, [&](const RemoteProcess::User& other) {
        return other.inbox == user.inbox && other.rank == user.rank;
    });
    if (process->users.empty()) {
        addresses_remove(*process);
        processes_.erase(entry);
    }
}

bool Processes::probe_refused(RemoteProcess& process, Rail& rail) {
    auto& under_way = process.probes[rail.index()].under_way;
    if (under_way.load() != 0) {
        return false;
    }
    MessageHeader header;
    header.kind = MessageKind::probe;
    header.rail = rail.index();
    TxOwner owner;
    owner.use = &under_way;
    under_way.store(1);
    std::lock_guard guard(rail.lock());
    auto post = rail.send(process.addresses[rail.index()], header, nullptr, owner);
    if (post.ok() && post.value() == Post::accepted) {
        return false;
    }
    under_way.store(0);
    return std::all_of(process.users.begin(), process.users.end(), [](const auto& user) {
        return user.inbox->flow(user.rank).in_flight.load() == 0;
    });
}

void Processes::look(RemoteProcess& process, const Inbox* self) {
    for (size_t i = 0; i < process.rails; ++i) {
        int& refusals = process.probes[i].refusals;
        refusals = probe_refused(process, *rails_[i]) ? refusals + 1 : 0;
        if (refusals == refusals_max) {
            process.gone = true;
            return tell(process, *rails_[i], self);
        }
    }
}

void Processes::tell(RemoteProcess& process, const Rail& rail, const Inbox* self) {
    for (const RemoteProcess::User& user : process.users) {
        Event event;
        event.kind = Event::Kind::failure;
        event.peer = user.rank;
        event.error = std::make_unique<Error>(make_error(
            Code::remote, Scope::peer,
            format("rail %u (%s, %s): rank %u is gone: its connection closed and is not accepted "
                   "again; the peer's process ended or closed its endpoint",
                   rail.index(), rail.name().c_str(), rail.info().fabric_attr->prov_name,
                   user.rank)));
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
        if (process->up.load() && !process->gone) {
            look(*process, self);
        }
    }
}

}  // namespace weft::fabric
