// The device side of a communicator, made on a thread of its own: CUDA calls may wait for kernels,
// which may wait for what the service thread does. Thread-safe. Failure rule: Result, to `done`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/comm/communicator.h"
#include "src/comm/device_clique.h"
#include "src/comm/device_streamed.h"
#include "src/comm/hosts_part.h"
#include "src/comm/peer_info.h"

namespace weft {

// clique: all ranks are of one process and one device, and so reach each other's memory and meet in
// one launch. board: all are on one host, and so may reach each other's memory. hosts: they are on
// several hosts, as many on each. relay: any others, which go through host memory.
enum class DeviceWay : uint8_t { clique, board, hosts, relay };

struct DeviceSeat {
    uint64_t group = 0;
    int32_t device = 0;
    int32_t rank = 0, rank_count = 1;
    DeviceWay way = DeviceWay::relay;  // the same on every rank
    HostsShape hosts;                  // by boards, those of `rank` are its host's
    bool one_process = true;           // these are of one process
    std::vector<int32_t> board_ranks() const;
};
// Of `fabric`, which may be null, if it reaches the ranks of all other hosts from device memory;
// else why not.
Result<Wire*> device_wire(const DeviceSeat& at, const std::vector<WireKind>& kinds, Wire* fabric);
// `hosts`: the ranks of every host, by their first.
DeviceSeat device_seat(const std::vector<PeerInfo>& infos,
                       const std::vector<std::vector<int32_t>>& hosts, int32_t rank,
                       uint64_t group);

// One of them; of a board that could not be made, why.
struct DeviceParts {
    std::shared_ptr<DeviceClique> clique;  // shared: see device_side.h
    std::shared_ptr<DeviceStreamed> board;
    std::shared_ptr<DeviceStreamed> relay;
    std::string why;
    // Lets go of what it has; not for callers that may wait.
    void release();
};

// `done` is called on the service thread.
void device_parts_make(const DeviceSeat& at, std::function<void(Result<DeviceParts>)> done);

// The boards of all ranks made, each maps those of its host and tells all whether it could. If
// one could not, all go by relay, and the first rank says why; likewise for NICs that reach the
// devices. `done` is called on the service
// thread, unless the communicator ends first.
struct BoardVote {
    DeviceSeat at;
    std::weak_ptr<Communicator> comm;  // weak: an abort may free it at any time
    std::vector<std::string> names;    // of the ranks
    std::vector<std::string> notes;    // what they told of their boards, for other processes
    Result<Wire*> nics;                // device_wire(), which is used before `done` only
};
using StreamedMade = std::function<void(std::shared_ptr<DeviceStreamed>)>;
void board_vote(BoardVote vote, DeviceParts parts, StreamedMade done);

// The communicator is ready: its side is served from now on.
struct StreamedReady {
    DeviceStreamed& side;
    const Communicator& ready;
    std::weak_ptr<Communicator> comm;  // weak: an abort may free it at any time
    Shard& shard;
    std::string name;  // of the rank
};
void streamed_serve(const StreamedReady& what);

}  // namespace weft
