// How a communicator comes to be, as a state machine on the service thread:
//
// 1. join: the control group of the id, with a PeerInfo of every rank.
// 2. check: versions and shared settings agree, else every rank fails with the same first cause.
// 3. attach: the wires this rank needs (only those), on the group's id.
// 4. tell: all-gather of the wires' addresses, and of what each host is where there are several; or
//    of why attaching failed.
// 5. plan: the cluster, its table of costs, plans of files; all-gather of their hashes, where they
//    could differ.
// 6. ready: routes to every peer, the shard.
//
// Each step ends in Communicator::fail() or leads to the next; an abort stops the next step.
// Thread-safe; never blocks.
#pragma once

#include <memory>

#include "src/bootstrap/control.h"
#include "src/comm/communicator.h"
#include "src/gpu/kind.h"

namespace weft {

void build_by_id(const std::shared_ptr<Communicator>& comm, const UniqueIdBytes& id);
// Children: the group was derived from the parent's.
void build_by_group(const std::shared_ptr<Communicator>& comm, std::unique_ptr<ControlGroup> group);

// The info every rank gives when it joins or derives a group.
std::string build_info(const gpu::KindFound& kind, int32_t device);

}  // namespace weft
