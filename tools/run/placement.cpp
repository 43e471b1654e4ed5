// Which rank lives on which host and core.
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <tuple>

#include "tools/run/ranks.h"

namespace weft::run {

namespace {

std::vector<int> cores_allowed() {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<int> cores;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int core = 0; core < CPU_SETSIZE; ++core) {
            if (CPU_ISSET(core, &set)) {
                cores.push_back(core);
            }
        }
    }
    return cores;
}

int topology_number(int core, const char* what) {
    int value = 0;
    std::ifstream("/sys/devices/system/cpu/cpu" + std::to_string(core) + "/topology/" + what) >>
        value;
    return value;
}

}  // namespace

std::vector<Place> places_make(int rank_count, int host_count) {
    std::vector<Place> places;
    const int base = rank_count / host_count;
    const int extra = rank_count % host_count;
    for (int host = 0; host < host_count; ++host) {
        const int local_count = base + (host < extra ? 1 : 0);
        for (int local = 0; local < local_count; ++local) {
            places.push_back({static_cast<int>(places.size()), host, local, local_count, {}});
        }
    }
    return places;
}

int cores_usable() {
    return std::max(1, static_cast<int>(cores_allowed().size()));
}

// Neighbours in the order (package, core, thread) go to the same rank: a rank shares no physical
// core with another unless there are more ranks than those.
void places_bind(std::vector<Place>& places) {
    std::vector<int> cores = cores_allowed();
    if (places.size() > cores.size()) {
        return;
    }
    std::vector<std::tuple<int, int, int>> order;
    order.reserve(cores.size());
    for (const int core : cores) {
        order.emplace_back(topology_number(core, "physical_package_id"),
                           topology_number(core, "core_id"), core);
    }
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < places.size(); ++i) {
        const size_t end = (i + 1) * order.size() / places.size();
        for (size_t at = i * order.size() / places.size(); at < end; ++at) {
            places[i].cores.push_back(std::get<2>(order[at]));
        }
    }
}

}  // namespace weft::run
