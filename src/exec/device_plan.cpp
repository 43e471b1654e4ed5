#include "src/exec/device_plan.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/plan/algo_list.h"

namespace weft {

using gpu::device::Oneshot;
using plan::Algo;

namespace {

// Blocks of this many bytes and more are cut for several lanes: a block alone moves less than a
// device can, and starting more costs little.
constexpr uint64_t lane_bytes = 32 << 10;
constexpr uint64_t tile_bytes_first = 512 << 10;
constexpr uint64_t tile_bytes_min = 4096;

bool loads(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::all_gather ||
           coll == Coll::broadcast;
}

// Every peer is one hop away, so the direct plan is right unless the settings name another. Where
// inputs need no factor of their rank's, they are loaded where they lie: no scratch, one pass.
Result<plan::Way> way_of(const DeviceRequest& request, const DeviceLimits& limits) {
    const plan::AlgoWish wish = TRY(plan::algo_list_parse(limits.plan.algo, request.coll));
    plan::Way way;
    way.tile_bytes = limits.plan.tile_bytes > 0 ? limits.plan.tile_bytes : tile_bytes_first;
    const uint64_t bytes = request.count * request.elem_bytes;
    way.strands = 1;
    while (way.strands * 2 <= limits.lanes_max && way.strands * lane_bytes < bytes) {
        way.strands *= 2;
    }
    if (!wish.algos.empty() && wish.algos.front().algo != Algo::hier) {
        way.algo = wish.algos.front().algo;
    }
    way.loads = way.algo == Algo::direct && loads(request.coll) && !request.call.scale_inputs;
    return way;
}

Result<std::vector<Program>> programs_of(const DeviceRequest& request, const gpu::Layout& layout,
                                         const plan::Limits& limits, const plan::Way& way) {
    plan::Request wanted;
    wanted.coll = request.coll;
    wanted.rank_count = static_cast<int32_t>(layout.rank_count());
    wanted.root = request.root;
    wanted.count = request.count;
    wanted.elem_bytes = request.elem_bytes;
    wanted.peer_load = true;
    TRY(plan::request_check(wanted));
    plan::Limits granted = limits;
    granted.granted = ~0u;
    granted.tile_bytes = 0;
    granted.strands = 0;
    const plan::Choice choice = plan::choice_of(wanted, granted, way);
    std::vector<Program> parts;
    for (int32_t rank = 0; rank < wanted.rank_count; rank++) {
        const plan::RankPlan part = TRY(plan::generate(choice.shape, choice.lanes, rank));
        parts.push_back(TRY(program_build(choice, part, request.count, request.elem_bytes)));
    }
    return parts;
}

}  // namespace

DeviceRequest device_request(const Call& call) {
    const bool reduces = call.coll == Coll::all_reduce || call.coll == Coll::reduce_scatter ||
                         call.coll == Coll::reduce;
    DeviceRequest request;
    request.coll = call.coll;
    request.count = call.count;
    request.elem_bytes = static_cast<uint32_t>(size_of(call.type));
    request.root = call.root;
    const bool average = reduces && call.op == RedOp::avg;
    request.call.scale_inputs =
        reduces && (call.op == RedOp::pre_mul_sum || (average && is_float(call.type)));
    request.call.divide = average && !is_float(call.type);
    return request;
}

bool device_oneshot(const Call& call, DeviceOneshot& found) {
    const uint64_t bytes = call.count * size_of(call.type);
    if (bytes > gpu::device::oneshot_bytes_max) {
        return false;
    }
    found.bytes = static_cast<uint32_t>(bytes);
    switch (call.coll) {
        case Coll::all_reduce:
            found.what = Oneshot::reduce;
            return true;
        case Coll::all_gather:
            found.what = Oneshot::gather;
            return true;
        case Coll::broadcast:
            found.what = Oneshot::spread;
            return true;
        case Coll::reduce_scatter:
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            return false;
    }
    return false;
}

Result<DeviceProgram> device_plan(const DeviceRequest& request, uint32_t rank,
                                  const gpu::Layout& layout, const DeviceLimits& limits) {
    plan::Way way = TRY(way_of(request, limits));
    // What scratch a plan needs follows from its tile: the largest with which every rank's fits.
    while (true) {
        const std::vector<Program> parts = TRY(programs_of(request, layout, limits.plan, way));
        uint64_t needed = 0;
        for (const Program& part : parts) {
            needed = std::max(needed, device_scratch_bytes(part, request.call));
        }
        if (needed <= layout.scratch_bytes() || way.tile_bytes <= tile_bytes_min) {
            return device_lower(parts, rank, layout, request.call);
        }
        way.tile_bytes /= 2;
    }
}

}  // namespace weft
