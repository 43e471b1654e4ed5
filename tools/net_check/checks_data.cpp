// Messages.
#include <algorithm>
#include <chrono>

#include "src/base/log.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

constexpr Nanos early = 200 * nanos_per_ms;

Transfer transfer_of(const std::vector<size_t>& sizes, const Limits& limits) {
    Transfer transfer;
    for (const size_t size : sizes) {
        if (size <= limits.bytes) {
            transfer.groups.push_back(single(size));
        }
    }
    return transfer;
}

// Groups of n receives, whose tags and sizes are all different.
Group group_of(int n, size_t index) {
    Group group;
    for (int i = 0; i < n; i++) {
        const auto place = static_cast<size_t>(i);
        const size_t size = (index * 977 + place * 4099) % 20'000;
        group.push_back({size, size + 100 * place, 1000 - 7 * i, 0});
    }
    return group;
}

// One side posts what it may and calls test or isend for a while before the other side begins.
Result<void> flow_lead(Bench& bench, Rig& rig, Flow& flow, bool leads, bool post_only) {
    if (!leads) {
        TRY(bench.channel.receive());
        return {};
    }
    TRY(rig.communicator->progress.run([&]() -> Result<void> {
        const Nanos until = clock_now() + early;
        while (clock_now() < until) {
            TRY(flow.step(post_only));
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
        return {};
    }));
    return bench.channel.send("your turn");
}

Result<void> lead_check(Bench& bench, const Transfer& transfer, int leader, bool post_only,
                        const std::function<Result<void>(const Flow&)>& after) {
    Rig rig = TRY(rig_open(bench));
    Flow flow(bench, rig.lines, 0, transfer);
    TRY(flow.prepare());
    TRY(flow_lead(bench, rig, flow, bench.rank == leader, post_only));
    if (bench.rank == leader) {
        TRY(after(flow));
    }
    TRY(flows_run(bench, *rig.communicator, {&flow}));
    TRY(flow.finish());
    return rig_close(bench, rig);
}

Result<int> recvs_max(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    const int most = std::min(communicator->properties().recvs_max, group_max);
    TRY(communicator->close());
    return most;
}

Result<void> nothing_more(const Flow&) {
    return {};
}

}  // namespace

Result<void> check_sizes(Bench& bench) {
    std::vector<size_t> sizes;
    for (size_t size = 1; size <= bench.limits.bytes; size *= 4) {
        sizes.insert(sizes.end(), {size, size + 1, size > 1 ? size - 1 : 3});
    }
    sizes.push_back(bench.limits.bytes);
    Transfer transfer = transfer_of(sizes, bench.limits);
    transfer.window = 4;
    return rig_check(bench, {}, transfer);
}

Result<void> check_unaligned(Bench& bench) {
    Transfer transfer;
    size_t skew = 0;
    for (const size_t size : {1, 5, 64, 1000, 4096, 8191, 70'001, 300'007, 1'000'003}) {
        for (int i = 0; i < 3; i++) {
            skew = (skew + 11) % 64;
            transfer.groups.push_back({Item{size, size, 0, skew}});
        }
    }
    return rig_check(bench, {}, transfer);
}

Result<void> check_zero(Bench& bench) {
    return rig_check(bench, {}, transfer_of({0, 0, 100, 0, 200'000, 0, 0, 1, 0}, bench.limits));
}

Result<void> check_room(Bench& bench) {
    Transfer transfer;
    for (const size_t size : {0, 1, 100, 5000, 100'000, 1'000'000}) {
        transfer.groups.push_back({Item{size, size + 1, 0, 0}});
        transfer.groups.push_back({Item{size, 2 * size + 4096, 0, 0}});
    }
    return rig_check(bench, {}, transfer);
}

// Small ones may not overtake large ones: all have the same tag.
Result<void> check_order(Bench& bench) {
    Transfer transfer;
    for (size_t i = 0; i < 200; i++) {
        const size_t size = i % 5 == 0 ? 150'000 + i : 1 + (i * 131) % 3000;
        transfer.groups.push_back({Item{size, 200'000, 7, 0}});
    }
    transfer.window = 16;
    return rig_check(bench, {}, transfer);
}

Result<void> check_groups(Bench& bench) {
    const int most = TRY(recvs_max(bench));
    if (most == 1) {
        return skipped("maxRecvs is 1");
    }
    for (const bool reversed : {false, true}) {
        for (int n = 2; n <= most; n++) {
            Transfer transfer;
            for (size_t i = 0; i < 6; i++) {
                transfer.groups.push_back(group_of(n, i));
            }
            transfer.reversed = reversed;
            TRY(rig_check(bench, {}, transfer));
        }
    }
    return {};
}

Result<void> check_in_flight(Bench& bench) {
    const int most = TRY(recvs_max(bench));
    Transfer transfer;
    for (size_t i = 0; i < 96; i++) {
        transfer.groups.push_back(group_of(most, i));
    }
    transfer.window = netplugin::requests_max;
    const auto all_taken = [](const Flow& flow) {
        return expect(flow.posted() >= netplugin::requests_max,
                      format("irecv takes %zu requests at once, NCCL has %d", flow.posted(),
                             netplugin::requests_max));
    };
    TRY(lead_check(bench, transfer, 1, true, all_taken));
    return lead_check(bench, transfer, 0, true, nothing_more);
}

Result<void> check_recv_early(Bench& bench) {
    Transfer transfer = transfer_of({100, 0, 5000, 500'000}, bench.limits);
    transfer.sizes = false;  // NCCL would use what it got: that it is done at all is wrong
    return lead_check(bench, transfer, 1, false, [](const Flow& flow) {
        return expect(flow.finished() == 0, "a receive is done before anything was sent");
    });
}

Result<void> check_send_early(Bench& bench) {
    return lead_check(bench, transfer_of({1, 0, 5000, 500'000, 20}, bench.limits), 0, false,
                      nothing_more);
}

// So many that a plugin that has no room says so.
Result<void> check_try_again(Bench& bench) {
    Transfer transfer;
    for (size_t i = 0; i < 64; i++) {
        transfer.groups.push_back(single(i % 2 == 0 ? 200'000 : 1000 + i));
    }
    transfer.window = netplugin::requests_max;
    return lead_check(bench, transfer, 0, false, nothing_more);
}

Result<void> check_null_sizes(Bench& bench) {
    Transfer transfer = some_messages(1);
    transfer.sizes = false;
    return rig_check(bench, {}, transfer);
}

Result<void> check_flush(Bench& bench) {
    const int most = TRY(recvs_max(bench));
    Transfer transfer = some_messages(1);
    transfer.flush = true;
    TRY(rig_check(bench, {}, transfer));
    transfer.groups = {group_of(most, 1), group_of(most, 2)};
    return rig_check(bench, {}, transfer);
}

Result<void> check_hint(Bench& bench) {
    Transfer transfer = some_messages(1);
    transfer.hint = true;
    return rig_check(bench, {}, transfer);
}

Result<void> check_duplex(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    Lines lines[2];
    for (const int sender : {0, 1}) {
        lines[sender] = TRY(lines_open(bench, *communicator, {0, sender, 1}));
    }
    Transfer transfer;
    for (size_t i = 0; i < 40; i++) {
        transfer.groups.push_back(single(i % 4 == 0 ? 500'000 : 3000 + i));
    }
    Flow first(bench, lines[0], 0, transfer);
    transfer.seed = 2;
    Flow second(bench, lines[1], 0, transfer);
    TRY(first.prepare());
    TRY(second.prepare());
    TRY(flows_run(bench, *communicator, {&first, &second}));
    TRY(first.finish());
    TRY(second.finish());
    TRY(bench.channel.barrier());
    TRY(lines_close(lines[0]));
    TRY(lines_close(lines[1]));
    return communicator->close();
}

Result<void> check_communicators(Bench& bench) {
    constexpr size_t count = 3;
    std::vector<Rig> rigs;
    std::vector<std::unique_ptr<Flow>> flows;
    for (size_t i = 0; i < count; i++) {
        const Route route{0, static_cast<int>(i % 2), 1};
        Rig rig = TRY(rig_open(bench, route));
        rigs.push_back(std::move(rig));
    }
    for (size_t i = 0; i < count; i++) {
        Transfer transfer;
        for (size_t j = 0; j < 100; j++) {
            transfer.groups.push_back(single(j % 4 == 0 ? 100'000 : 500 + j));
        }
        transfer.seed = i;
        flows.push_back(std::make_unique<Flow>(bench, rigs[i].lines, 0, transfer));
        TRY(flows.back()->prepare());
    }
    for (size_t i = 0; i < count; i++) {
        rigs[i].communicator->progress.start(flows_work(bench, {flows[i].get()}));
    }
    Result<void> all;
    for (const Rig& rig : rigs) {
        Result<void> one = rig.communicator->progress.finish();
        if (all.ok() && !one.ok()) {
            all = std::move(one);
        }
    }
    TRY(std::move(all));
    for (size_t i = 0; i < count; i++) {
        TRY(flows[i]->finish());
        TRY(rig_close(bench, rigs[i]));
    }
    return {};
}

}  // namespace weft::netcheck
