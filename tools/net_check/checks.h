// The clauses of the contract, one check each. Every check runs in two fresh processes, which call
// the same function with ranks 0 and 1. Sources of the clauses: NCCL's net plugin documentation
// (plugins/net/README.md), its headers, and what src/transport/net.cc and src/plugin/net.cc rely
// on. Failure rule: see bench.h.
#pragma once

#include <span>
#include <string>

#include "tools/net_check/flow.h"

namespace weft::netcheck {

struct Check {
    const char* name;
    const char* clause;
    Result<void> (*run)(Bench&);
    int oldest = netplugin::abi_oldest;
    bool loads = true;   // the plugin is loaded before it begins
    bool kills = false;  // rank 1 ends by SIGKILL
};
std::span<const Check> checks_all();
const Check* check_find(const std::string& name);

// What is played as checks are but is no clause: figures, and long load.
inline constexpr const char* bench_name = "bench";
inline constexpr const char* soak_name = "soak";
const Check* task_find(const std::string& name);  // of these and of all checks

// A communicator and lines on it, the usual beginning and end.
struct Rig {
    std::unique_ptr<Communicator> communicator;
    Lines lines;
};
Result<Rig> rig_open(Bench& bench, const Route& route = {});
Result<void> rig_close(Bench& bench, Rig& rig);  // when the other side is done, too
Result<void> rig_check(Bench& bench, const Route& route,
                       const Transfer& transfer);  // on every line

// A few messages of several sizes, to see that a connection works.
Transfer some_messages(uint64_t seed);

// measure.cpp and soak.cpp
Result<void> figures_take(Bench& bench);
Result<void> soak_run(Bench& bench);

// checks_process.cpp
Result<void> check_load(Bench& bench);
Result<void> check_devices(Bench& bench);
Result<void> check_properties_range(Bench& bench);
Result<void> check_properties_stable(Bench& bench);
Result<void> check_properties_path(Bench& bench);
Result<void> check_init_per_comm(Bench& bench);
Result<void> check_finalize(Bench& bench);
Result<void> check_reload(Bench& bench);
Result<void> check_virtual_device(Bench& bench);
Result<void> check_attributes(Bench& bench);

// checks_connect.cpp
Result<void> check_listen(Bench& bench);
Result<void> check_connect_first(Bench& bench);
Result<void> check_accept_first(Bench& bench);
Result<void> check_handle_copied(Bench& bench);
Result<void> check_interleave(Bench& bench);
Result<void> check_loopback(Bench& bench);
Result<void> check_each_device(Bench& bench);
Result<void> check_many(Bench& bench);

// checks_memory.cpp
Result<void> check_register(Bench& bench);
Result<void> check_register_sending(Bench& bench);
Result<void> check_register_global(Bench& bench);

// checks_data.cpp
Result<void> check_sizes(Bench& bench);
Result<void> check_unaligned(Bench& bench);
Result<void> check_zero(Bench& bench);
Result<void> check_room(Bench& bench);
Result<void> check_order(Bench& bench);
Result<void> check_groups(Bench& bench);
Result<void> check_in_flight(Bench& bench);
Result<void> check_recv_early(Bench& bench);
Result<void> check_send_early(Bench& bench);
Result<void> check_try_again(Bench& bench);
Result<void> check_null_sizes(Bench& bench);
Result<void> check_flush(Bench& bench);
Result<void> check_hint(Bench& bench);
Result<void> check_duplex(Bench& bench);
Result<void> check_communicators(Bench& bench);

// checks_failure.cpp
Result<void> check_close_after_done(Bench& bench);
Result<void> check_close_order(Bench& bench);
Result<void> check_close_in_flight(Bench& bench);
Result<void> check_killed_sender(Bench& bench);
Result<void> check_killed_receiver(Bench& bench);
Result<void> check_killed_listener(Bench& bench);

// checks_input.cpp
Result<void> check_oversize(Bench& bench);
Result<void> check_bad_device(Bench& bench);
Result<void> check_handle_zeros(Bench& bench);
Result<void> check_handle_random(Bench& bench);
Result<void> check_bad_kind(Bench& bench);
Result<void> check_group_size(Bench& bench);

}  // namespace weft::netcheck
