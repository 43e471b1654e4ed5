// The ranks of a job: where each lives, what it finds in its environment, and starting it.
// Thread rule: single-threaded. Failure rule: Result, one line.
#pragma once

#include <string>
#include <vector>

#include "tools/run/options.h"
#include "tools/run/process.h"

namespace weft::run {

class Efa;

struct Place {
    int rank = 0;
    int host = 0;
    int local_rank = 0;
    int local_rank_count = 1;
    std::vector<int> cores;  // empty: not bound
};

// Blocks of ranks per host; where they do not divide, the first hosts have one more.
std::vector<Place> places_make(int rank_count, int host_count);

// Gives each rank its share of the cores this process may use, if there are enough.
void places_bind(std::vector<Place>& places);
int cores_usable();

// How the ranks find each other.
struct Meeting {
    std::string address;    // rank 0's, as all ranks see it
    std::string comm_port;  // NCCL_COMM_ID's; empty where the user set NCCL_COMM_ID
    std::string torch_port;
    std::string secret;
    int rail_count = 0;  // 0: no virtual hosts
    int host_count = 1;
};
Result<Meeting> meeting_make(const Options& options, int host_count, bool virtual_hosts);

// `efa`: null, or borrowed for the call.
std::vector<std::string> rank_environment(const Options& options, const Place& place,
                                          const Meeting& meeting, const Efa* efa);

// A started rank; `out` and `err` are our ends of its output.
struct Rank {
    Place place;
    Process process;
    Fd out;
    Fd err;
};
Result<Rank> rank_start(const Options& options, const Place& place, const Meeting& meeting,
                        const Home& home, const Efa* efa);

}  // namespace weft::run
