#include "src/comm/device_launch.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/gpu/images.h"

namespace weft {

using gpu::Family;
namespace dev = gpu::device;

namespace {

constexpr uint32_t warp = 32;

struct Grid {
    Family family = Family::lanes;
    DataType type = DataType::uint8;
    RedOp op = RedOp::sum;
    uint32_t lanes = 1;  // of each rank
    uint32_t threads = 0;
    bool together = false;  // blocks of several ranks wait for each other
};

// One kernel of all the launch's ranks. What it was to leave its ends in ends with a failure.
template <class Argument>
Result<void> kernel_launch(const DeviceLaunch& launch, const Grid& grid, Argument& argument) {
    const gpu::Seat& seat = launch.ranks.front()->seat();
    const gpu::Driver& cuda = seat.driver();
    const gpu::Function kernel = seat.kernel(grid.family, grid.type, grid.op);
    const uint32_t blocks = argument.rank_count * grid.lanes;
    void* arguments[] = {&argument};
    const bool cooperative = grid.together && seat.facts().cooperative;
    const gpu::Status launched =
        cooperative ? cuda.cuLaunchCooperativeKernel(kernel, blocks, 1, 1, grid.threads, 1, 1, 0,
                                                     launch.stream, arguments)
                    : cuda.cuLaunchKernel(kernel, blocks, 1, 1, grid.threads, 1, 1, 0,
                                          launch.stream, arguments, nullptr);
    if (launched != gpu::status::success) {
        for (DeviceRank* rank : launch.ranks) {
            rank->flight_cancel();
        }
    }
    return gpu::driver_check(cuda, launched,
                             format("launching %s with %u blocks of %u threads on stream %p",
                                    gpu::kernel_name(grid.family, grid.type, grid.op).c_str(),
                                    blocks, grid.threads, static_cast<void*>(launch.stream)));
}

// By LL words, unless NCCL_PROTO leaves none.
bool is_small(const DeviceLaunch& launch, DeviceOneshot& found) {
    const Call& first = launch.calls.front();
    return device_oneshot(first, found) &&
           launch.ranks.front()->plan_limits().is_small(first.coll, found.bytes);
}

// The kernel of a collective, and whether it can run here.
Result<Grid> grid_of(const DeviceLaunch& launch) {
    const Call& first = launch.calls.front();
    Grid grid;
    grid.type = first.type;
    grid.op = gpu::kernel_op(first.op);
    grid.together = launch.ranks.size() > 1;
    grid.threads = launch.ranks.front()->seat().block_threads();
    DeviceOneshot small;
    if (is_small(launch, small)) {
        const uint32_t units = (small.bytes + 7) / 8;
        grid.family = Family::oneshot;
        grid.threads = std::min(grid.threads, std::max((units + warp - 1) / warp * warp, warp));
    } else {
        grid.lanes = TRY(launch.ranks.front()->program(device_request(first))).count;
    }
    const auto ranks = static_cast<uint32_t>(launch.ranks.size());
    TRY(launch.ranks.front()->seat().resident(grid.family, grid.type, grid.op, ranks * grid.lanes,
                                              grid.threads));
    return grid;
}

Result<void> oneshot_launch(const DeviceLaunch& launch, const Grid& grid,
                            const DeviceOneshot& small) {
    dev::OneshotLaunch argument{};
    for (size_t i = 0; i < launch.ranks.size(); i++) {
        DeviceRank& rank = *launch.ranks[i];
        const Call& call = launch.calls[i];
        dev::OneshotRank& own = argument.ranks[argument.rank_count++];
        own.part = rank.part(call);
        own.part.ends = TRY(rank.flight_begin(1, launch.graph, {}));
        own.part.ends->wait = dev::wait_small;
        own.inbox = rank.layout().inbox();
        own.epoch = 8ull * rank.layout().epoch_small();
        own.bytes = small.bytes;
        own.what = small.what;
        own.root = static_cast<uint32_t>(call.root);
        own.scales = device_request(call).call.scale_inputs ? 1 : 0;
    }
    return kernel_launch(launch, grid, argument);
}

Result<void> lanes_launch(const DeviceLaunch& launch, const Grid& grid) {
    dev::Launch argument{};
    argument.lane_count = grid.lanes;
    argument.loops = launch.ranks.front()->seat().loops();
    for (size_t i = 0; i < launch.ranks.size(); i++) {
        DeviceRank& rank = *launch.ranks[i];
        const Call& call = launch.calls[i];
        const DeviceLanes lanes = TRY(rank.program(device_request(call)));
        dev::LanesRank& own = argument.ranks[argument.rank_count++];
        own.part = rank.part(call);
        own.part.ends = TRY(rank.flight_begin(lanes.count, launch.graph, lanes));
        own.lanes = lanes.lanes;
    }
    return kernel_launch(launch, grid, argument);
}

// One of the programs of every rank's pairs.
Result<void> pair_programs_launch(const DeviceLaunch& launch, std::span<const DevicePairs> pairs,
                                  DeviceProgram DevicePairs::*which) {
    dev::Launch argument{};
    for (const DevicePairs& own : pairs) {
        argument.lane_count =
            std::max(argument.lane_count, static_cast<uint32_t>((own.*which).lanes.size()));
    }
    if (argument.lane_count == 0) {
        return {};
    }
    const gpu::Seat& seat = launch.ranks.front()->seat();
    argument.loops = seat.loops();
    for (size_t i = 0; i < launch.ranks.size(); i++) {
        DeviceRank& rank = *launch.ranks[i];
        dev::LanesRank& own = argument.ranks[argument.rank_count++];
        own.part = rank.part({});
        own.part.ends = TRY(rank.flight_begin(argument.lane_count, launch.graph, {}));
        const DeviceRank::Owned programs =
            TRY(rank.flight_programs(pairs[i].*which, argument.lane_count, pairs[i].more));
        own.lanes = programs.lanes.lanes;
        own.more = programs.more;
        own.more_count = pairs[i].more.size();
    }
    Grid grid;
    grid.lanes = argument.lane_count;
    grid.threads = seat.block_threads();
    return kernel_launch(launch, grid, argument);
}

// The i-th send to oneself goes to the i-th receive; what is left is with others.
Result<std::vector<DevicePair>> self_copy(const DeviceLaunch& launch, const DeviceRank& rank,
                                          const std::vector<Call>& calls) {
    std::vector<DevicePair> others;
    std::vector<const Call*> sends, receives;
    for (const Call& call : calls) {
        if (static_cast<uint32_t>(call.root) == rank.rank()) {
            (call.is_send ? sends : receives).push_back(&call);
        } else {
            others.push_back({static_cast<uint32_t>(call.root), call.is_send, call.send, call.recv,
                              call.count * size_of(call.type)});
        }
    }
    const gpu::Driver& cuda = rank.driver();
    for (size_t i = 0; i < sends.size() && i < receives.size(); i++) {
        const uint64_t bytes = sends[i]->count * size_of(sends[i]->type);
        const uint64_t room = receives[i]->count * size_of(receives[i]->type);
        if (bytes != room) {
            return make_error(Code::invalid_usage, Scope::call,
                              format("mismatched arguments: a send of %llu bytes to oneself and a "
                                     "receive of %llu",
                                     static_cast<unsigned long long>(bytes),
                                     static_cast<unsigned long long>(room)));
        }
        if (bytes > 0 && sends[i]->send != receives[i]->recv) {
            TRY(gpu::driver_check(
                cuda,
                cuda.cuMemcpyAsync(reinterpret_cast<gpu::Address>(receives[i]->recv),
                                   reinterpret_cast<gpu::Address>(sends[i]->send), bytes,
                                   launch.stream),
                "copying a send to oneself"));
        }
    }
    return others;
}

}  // namespace

Result<void> collective_check(const DeviceLaunch& launch) {
    TRY(grid_of(launch));
    return {};
}

Result<void> collective_launch(const DeviceLaunch& launch) {
    const Grid grid = TRY(grid_of(launch));
    DeviceOneshot small;
    if (is_small(launch, small)) {
        return oneshot_launch(launch, grid, small);
    }
    return lanes_launch(launch, grid);
}

Result<void> pairs_launch(const DeviceLaunch& launch, std::vector<std::vector<Call>> calls) {
    std::vector<std::vector<DevicePair>> left;
    for (size_t i = 0; i < calls.size(); i++) {
        left.push_back(TRY(self_copy(launch, *launch.ranks[i], calls[i])));
    }
    const auto more = [&] {
        return std::ranges::any_of(left, [](const auto& pairs) { return !pairs.empty(); });
    };
    while (more()) {
        std::vector<DevicePairs> pairs;
        for (size_t i = 0; i < left.size(); i++) {
            const auto count = static_cast<std::ptrdiff_t>(pairs_fit(left[i]));
            const DeviceRank& rank = *launch.ranks[i];
            pairs.push_back(device_lower_pairs(std::span(left[i]).first(static_cast<size_t>(count)),
                                               rank.rank(), rank.layout(), rank.lanes_max()));
            left[i].erase(left[i].begin(), left[i].begin() + count);
        }
        TRY(pair_programs_launch(launch, pairs, &DevicePairs::cards));
        TRY(pair_programs_launch(launch, pairs, &DevicePairs::sends));
        TRY(pair_programs_launch(launch, pairs, &DevicePairs::receives));
    }
    return {};
}

}  // namespace weft
