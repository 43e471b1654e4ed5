// Bootstrap and control: how the ranks of a communicator find each other, agree, and hear of each
// other's death. State machines over a clock and socket seam; nothing here blocks. One ControlHub
// per process, one control endpoint (listener) per process shared by its ranks and communicators;
// O(log n) connections per process, alive as long as the groups that use them. Thread rule:
// thread-safe; callbacks run on the reactor's thread and must not block. Whoever destroys a group
// or a hub on another thread waits for that thread, so it must hold no lock that a callback takes.
// Lifetime: the reactor outlives the hub; groups may outlive it (their calls then end with
// `aborted`). Every `done` is called exactly once, if need be after its group was destroyed; the
// notice callback never is.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/reactor.h"
#include "src/base/result.h"
#include "src/base/settings.h"

namespace weft {

using UniqueIdBytes = std::array<uint8_t, 128>;

// What ends a group for a reason outside of it.
struct Notice {
    enum class Kind : uint8_t { died, aborted, failed } kind = Kind::died;
    int32_t rank = -1;  // whose death, abort or failure (rank in the group)
    std::string text;   // one line: host, pid, cause
};

class ControlGroup {
  public:
    // Leaves in order if leave() was not called; returns when the peers' kernels can know.
    virtual ~ControlGroup() = default;
    virtual int32_t rank() const = 0;
    virtual int32_t rank_count() const = 0;
    virtual uint64_t id() const = 0;  // same on all ranks, unique per group
    // What every rank gave at join/derive, by rank.
    virtual const std::vector<std::string>& infos() const = 0;

    // Collective: everyone's blob (<= 64 KiB each) by rank. Matched by call order. Several may be
    // in flight.
    using GatherDone = std::function<void(Result<std::vector<std::string>>)>;
    virtual void all_gather(std::string blob, GatherDone done) = 0;

    // Tells every other rank, once, best effort in bounded time: this rank aborted or failed.
    // Idempotent.
    virtual void announce(Notice::Kind kind, std::string text) = 0;
    // Deaths (a control connection of that process broke without leaving), aborts and failures of
    // others; every survivor hears the same first cause where it can. Set once; a notice that came
    // before is delivered at once.
    virtual void on_notice(std::function<void(const Notice&)> callback) = 0;

    // Collective over `members` (ranks of this group, in the new order; this rank included): a
    // child group on the parent's control plane with derived keys. `tag` is equal on all members
    // and differs between calls on one parent (split count and colour).
    using DeriveDone = std::function<void(Result<std::unique_ptr<ControlGroup>>)>;
    virtual void derive(std::vector<int32_t> members, uint64_t tag, std::string info,
                        DeriveDone done) = 0;

    // Orderly end: peers do not take it for a death. Never blocks. Collective calls in flight end
    // with `aborted`.
    virtual void leave() = 0;
};

struct JoinRequest {
    UniqueIdBytes id{};
    int32_t rank = 0;
    int32_t rank_count = 1;
    std::string info;  // <= 8 KiB, given to every rank
    Nanos timeout = 600 * nanos_per_s;
};

class ControlHub {
  public:
    // Groups that were not left by then have died, to their peers.
    virtual ~ControlHub() = default;
    // Starts the root for a new id on this process's endpoint. Honour NCCL_COMM_ID
    // (settings.comm_id): then the id only says so.
    virtual Result<UniqueIdBytes> unique_id_make() = 0;
    // Joins. `done` is called exactly once unless the returned canceller was called first. Missing
    // ranks are logged every 10 s.
    using JoinDone = std::function<void(Result<std::unique_ptr<ControlGroup>>)>;
    virtual Result<std::function<void()>> join(JoinRequest request, JoinDone done) = 0;

    struct Counters {
        uint64_t strangers_dropped = 0;  // wrong secret, foreign protocol, half-open, garbage
        uint64_t connections = 0;        // open now, to other processes
        uint64_t frames = 0;
    };
    virtual Counters counters() const = 0;
};

std::unique_ptr<ControlHub> control_hub_make(Reactor& reactor, const Settings& settings);

// Names the library an id came from when it is not ours ("an id of NCCL", ...), for the error line.
// Empty: ours.
std::string unique_id_foreign(const UniqueIdBytes& id);

// Identity of this machine for locality: boot id + network namespace + host name, or the override
// (NCCL_HOSTID).
std::string host_key(const Settings& settings);

}  // namespace weft
