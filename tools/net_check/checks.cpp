#include "tools/net_check/checks.h"

#include <algorithm>

namespace weft::netcheck {

namespace {

constexpr Check table[] = {
    {"load", "dlopen, a table, a name and every function NCCL calls", check_load, 8, false},
    {"devices", "devices is above 0 and stays", check_devices},
    {"properties-range", "properties have values NCCL can use", check_properties_range},
    {"properties-stable", "properties stay what they are, from any thread",
     check_properties_stable},
    {"properties-path", "pciPath is null or a folder", check_properties_path},
    {"init-per-comm", "init once a communicator, each with its context", check_init_per_comm, 11},
    {"finalize", "finalize leaves a plugin that can be initialised again", check_finalize, 11},
    {"reload", "load, use, finalize, unload, and all of it again", check_reload, 8, false},
    {"virtual-device", "makeVDevice merges devices into one that works", check_virtual_device, 9},
    {"attributes", "setNetAttr is null or takes hints", check_attributes, 11},
    {"listen", "listen gives a listener and at most 128 bytes", check_listen},
    {"connect-first", "connect does not block while nobody accepts", check_connect_first},
    {"accept-first", "accept does not block while nobody connects", check_accept_first},
    {"handle-copied", "a handle works wherever it is copied to", check_handle_copied},
    {"interleave", "connects and accepts of many pairs mix in any order", check_interleave},
    {"loopback", "a process connects to itself, without device handles", check_loopback},
    {"each-device", "every device carries messages", check_each_device},
    {"many", "64 connections at once", check_many},
    {"register", "one range registered twice, overlapping, in any order", check_register},
    {"register-sending", "regMr and deregMr while the progress thread sends",
     check_register_sending},
    {"register-global", "regIsGlobal: a registration serves other connections",
     check_register_global},
    {"sizes", "1 byte to the longest message", check_sizes},
    {"unaligned", "any address", check_unaligned},
    {"zero", "messages of zero bytes", check_zero},
    {"room", "a receive may be larger than the send", check_room},
    {"order", "matching is in the order of posting", check_order},
    {"groups", "grouped receives, tags in any order", check_groups},
    {"in-flight", "32 requests under way, times maxRecvs when sending", check_in_flight},
    {"recv-early", "irecv long before isend is not done", check_recv_early},
    {"send-early", "isend long before irecv arrives whole", check_send_early},
    {"try-again", "a null request means that nothing was done", check_try_again},
    {"null-sizes", "test without sizes", check_null_sizes},
    {"flush", "iflush gives null or a request that ends", check_flush},
    {"optional-completion", "irecv replaces the hint 0x1 in *request", check_hint, 9},
    {"duplex", "both directions at once", check_duplex},
    {"communicators", "several communicators, each with its threads", check_communicators},
    {"close-after-done", "what is done arrives though the sender closes", check_close_after_done},
    {"close-order", "connections close in any order", check_close_order},
    {"close-in-flight", "close with requests under way ends them", check_close_in_flight},
    {"killed-sender", "the receiver of a killed peer gets an error", check_killed_sender, 8, true,
     true},
    {"killed-receiver", "the sender to a killed peer gets an error", check_killed_receiver, 8, true,
     true},
    {"killed-listener", "connecting to a killed peer is an error", check_killed_listener, 8, true,
     true},
    {"oversize", "a message longer than its receive is an error", check_oversize},
    {"bad-device", "a device out of range is an error", check_bad_device},
    {"handle-zeros", "a handle of zeros is an error", check_handle_zeros},
    {"handle-random", "a handle of random bytes is an error", check_handle_random},
    {"bad-kind", "memory of a kind that ptrSupport lacks is an error", check_bad_kind},
    {"group-size", "more than maxRecvs receives in a group is an error", check_group_size},
};

constexpr Check loads[] = {
    {bench_name, "latency and rate", figures_take},
    {soak_name, "long load loses nothing and keeps nothing", soak_run},
};

const Check* find(std::span<const Check> checks, const std::string& name) {
    const auto at = std::find_if(checks.begin(), checks.end(),
                                 [&](const Check& one) { return name == one.name; });
    return at == checks.end() ? nullptr : &*at;
}

}  // namespace

std::span<const Check> checks_all() {
    return table;
}

const Check* check_find(const std::string& name) {
    return find(table, name);
}

const Check* task_find(const std::string& name) {
    const Check* const load = find(loads, name);
    return load != nullptr ? load : check_find(name);
}

Result<Rig> rig_open(Bench& bench, const Route& route) {
    Rig rig;
    rig.communicator = TRY(Communicator::open(bench));
    rig.lines = TRY(lines_open(bench, *rig.communicator, route));
    return rig;
}

Result<void> rig_close(Bench& bench, Rig& rig) {
    TRY(bench.channel.barrier());
    TRY(lines_close(rig.lines));
    return rig.communicator->close();
}

Result<void> rig_check(Bench& bench, const Route& route, const Transfer& transfer) {
    Rig rig = TRY(rig_open(bench, route));
    for (size_t i = 0; i < rig.lines.ends.size(); i++) {
        Transfer own = transfer;
        own.seed += i;
        TRY(transfer_run(bench, rig.lines, own, i));
    }
    return rig_close(bench, rig);
}

Transfer some_messages(uint64_t seed) {
    Transfer transfer;
    for (const size_t size : {8, 4096, 1, 70'000, 300'000, 64}) {
        transfer.groups.push_back(single(size));
    }
    transfer.seed = seed;
    return transfer;
}

}  // namespace weft::netcheck
